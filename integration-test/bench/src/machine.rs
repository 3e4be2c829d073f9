//! Description of the machine and the commit of a run.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use crate::report::Machine;

/// This machine.
#[must_use]
pub fn this() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let memory = after(&read("/proc/meminfo"), "MemTotal");
    let kibibytes = memory.split(' ').next().and_then(|number| number.parse::<u64>().ok());
    Machine {
        processor: after(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory: kibibytes.unwrap_or(0) * 1024,
        system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
    }
}

/// The commit that is checked out here, with a mark if files differ from it.
#[must_use]
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, changed"),
    }
}

/// The time, for people.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "nothing is decided by it")]
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
