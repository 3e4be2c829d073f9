//! Processes of this machine, read from `/proc`, and their end.

use std::ops::Range;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;

/// Start of the names of this program's own variables.
pub(crate) const OWN_VARIABLES: &str = "CONTEMPLANT_";

/// Ticks of the clock in which Linux counts a process's time, in a second (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) id: u32,
    /// Its program, of which Linux keeps 15 bytes.
    pub(crate) name: String,
    /// The number of its process group.
    pub(crate) group: u32,
    /// Processor time that it has used.
    pub(crate) processor_time: Duration,
}

/// The processes of a group.
pub(crate) fn of_group(group: u32) -> Vec<Process> {
    let all = ids().into_iter().filter_map(look);
    all.filter(|process| process.group == group).collect()
}

/// Processor time that this process and its ended children have used.
pub(crate) fn own_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    ticks(&stat, 11..15).unwrap_or_default()
}

/// Processes that have the variable `name` in their environment, with a value that is `wanted`. A process inherits the
/// environment of its parent, so a variable identifies all processes that a program has started, from their first
/// moment on.
pub(crate) fn with_variable(name: &str, wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let has = |id: &u32| {
        // An ended process has no environment.
        let Ok(environment) = std::fs::read(format!("/proc/{id}/environ")) else { return false };
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| {
            str::from_utf8(variable).ok()?.strip_prefix(name)?.strip_prefix('=')
        });
        value.is_some_and(&wanted)
    };
    ids().into_iter().filter(has).collect()
}

/// Withholds this program's own variables from a command: one is its token, and none concerns another program.
pub(crate) fn withhold_own_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(OWN_VARIABLES.as_bytes()) {
            command.env_remove(name);
        }
    }
}

/// Kills a process; one that has ended already is left.
pub(crate) fn kill(id: u32) {
    if let Some(id) = pid(id) {
        let _ = kill_process(id, Signal::KILL);
    }
}

/// Kills all processes of a group; one that has ended already is left.
pub(crate) fn kill_group(group: u32) {
    if let Some(group) = pid(group) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// Numbers of all processes that this one can see.
pub(crate) fn ids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn look(id: u32) -> Option<Process> {
    parse(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Parses a `/proc/ID/stat`. A name may contain spaces and parentheses, so the last parenthesis ends it.
fn parse(stat: &str) -> Option<Process> {
    let (id, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    Some(Process {
        id: id.parse().ok()?,
        name: name.to_owned(),
        group: rest.split(' ').nth(2)?.parse().ok()?,
        processor_time: ticks(stat, 11..13)?,
    })
}

/// The sum of these fields after the name, which are in ticks: of the process itself from the 11th on, of its ended
/// children from the 13th.
fn ticks(stat: &str, fields: Range<usize>) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let values = rest.split(' ').skip(fields.start).take(fields.len());
    let ticks = values.map(|value| value.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND)))
}

/// Main memory that a process uses now, in bytes; none if it has ended.
#[must_use]
pub(crate) fn resident_bytes(id: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = kib.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_understood_whatever_the_program_is_called() {
        let line = "77 (a) b (c) S 1 70 70 0 -1 4194560 2 0 0 0 150 50 0 0 20 0 1 0 5 1 1";
        let process = parse(line).unwrap();
        assert_eq!((process.id, process.name.as_str(), process.group), (77, "a) b (c", 70));
        assert_eq!(process.processor_time, Duration::from_secs(2));
        let with_children = "77 (a) S 1 70 70 0 -1 4194560 2 0 0 0 150 50 100 100 20 0 1 0 5 1 1";
        assert_eq!(ticks(with_children, 11..15), Some(Duration::from_secs(4)));
        assert_eq!(parse("77 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_found_by_its_group() {
        let this = look(std::process::id()).unwrap();
        assert!(of_group(this.group).iter().any(|process| process.id == this.id));
    }
}
