//! What a process costs, as the operating system tells from outside (`/proc`).

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use network_lib::task;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Clock ticks in a second, the unit of CPU times in `/proc`: the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// How often the charts' samples are taken.
const SAMPLING: Duration = Duration::from_millis(500);

/// What a process has used since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds of CPU time, of user and system together.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Most resident memory in bytes since the start, or since [`forget_peak`].
    pub peak_rss: u64,
    /// Bytes written to disk, the page cache's writing back included.
    pub disk_written: u64,
    /// Bytes over the machine's loopback, of all programs.
    pub loopback: u64,
}

impl Usage {
    /// Looks at a process.
    ///
    /// # Errors
    ///
    /// When it does not run, or this is not Linux.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let stat = read("stat")?;
        let status = read("status")?;
        let written = read("io")?;
        Ok(Self {
            cpu_seconds: (field(&stat, 11)? + field(&stat, 12)?) as f64 / TICKS,
            rss: number_after(&status, "VmRSS:")? * 1024,
            peak_rss: number_after(&status, "VmHWM:")? * 1024,
            disk_written: number_after(&written, "write_bytes:")?,
            loopback: loopback().unwrap_or(0),
        })
    }

    /// What was used since an `earlier` look; memory is that of now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            disk_written: self.disk_written.saturating_sub(earlier.disk_written),
            loopback: self.loopback.saturating_sub(earlier.loopback),
            ..self
        }
    }
}

/// Seconds of CPU time that a process has used, with all processes that it has started and those that they have started,
/// also those that have ended and were waited for.
///
/// # Errors
///
/// When it does not run, or this is not Linux.
pub fn cpu_of_family(pid: u32) -> Result<f64> {
    let processes: Vec<Times> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        // What ends meanwhile is counted by its parent.
        .filter_map(|pid| Times::of(pid).ok())
        .collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let known = family.len();
        let children = processes.iter().filter(|process| family.contains(&process.parent));
        let children: Vec<u32> = children.map(|process| process.pid).collect();
        family.extend(children);
        if family.len() == known {
            break;
        }
    }
    let others = processes.iter().filter(|process| family.contains(&process.pid));
    let ticks: u64 = others.filter(|other| other.pid != pid).map(|other| other.ticks).sum();
    // Last, so that a child that has ended since is not missed.
    Ok((ticks + Times::of(pid)?.ticks) as f64 / TICKS)
}

/// Clock ticks of a process, those of its ended children included.
#[derive(Debug, Clone, Copy)]
struct Times {
    pid: u32,
    parent: u32,
    ticks: u64,
}

impl Times {
    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let parent = u32::try_from(field(&stat, 1)?)?;
        let ticks = (11..=14).map(|number| field(&stat, number)).sum::<Result<u64>>()?;
        Ok(Self { pid, parent, ticks })
    }
}

/// A field of `/proc/PID/stat`, counted from the one after the program's name in brackets, which may hold anything.
fn field(stat: &str, number: usize) -> Result<u64> {
    let fields = stat.rsplit_once(") ").context("an odd /proc/PID/stat")?.1;
    let text = fields.split(' ').nth(number).unwrap_or_default();
    text.parse().context("an odd /proc/PID/stat")
}

/// Has a process's highest memory counted from now on.
///
/// # Errors
///
/// When it does not run, or belongs to another user.
pub fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset a process's peak")
}

/// Load of the machine over the last minute.
#[must_use]
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

fn number_after(text: &str, key: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {key} in /proc"))
}

fn loopback() -> Option<u64> {
    let devices = fs::read_to_string("/proc/net/dev").ok()?;
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A moment in the life of a process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the watch began.
    pub second: f64,
    /// Part of one core that it used since the sample before.
    pub cores: f64,
    /// Resident memory in bytes.
    pub rss: u64,
}

/// Takes samples of a process until it is asked for them.
#[derive(Debug)]
pub struct Watch {
    samples: Arc<Mutex<Vec<Sample>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts to look.
    #[must_use]
    pub fn start(pid: u32) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&samples);
        let task = task::spawn("watch", async move {
            let began = Instant::now();
            let mut clock = interval(SAMPLING);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut before: Option<(Instant, f64)> = None;
            loop {
                clock.tick().await;
                let Ok(usage) = Usage::of(pid) else { return };
                let now = Instant::now();
                if let Some((then, cpu)) = before {
                    let cores = (usage.cpu_seconds - cpu) / (now - then).as_secs_f64();
                    let second = (now - began).as_secs_f64();
                    let sample = Sample { second, cores, rss: usage.rss };
                    taken.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                }
                before = Some((now, usage.cpu_seconds));
            }
        });
        Self { samples, task }
    }

    /// Stops to look; what was seen.
    #[must_use]
    pub fn stop(self) -> Vec<Sample> {
        self.task.abort();
        std::mem::take(&mut self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_to_use_memory_and_time() {
        let before = Usage::of(std::process::id()).expect("runs");
        let kept = vec![1_u8; 64 << 20];
        let mut sum = 0_u64;
        while Usage::of(std::process::id()).expect("runs").since(before).cpu_seconds < 0.05 {
            sum = kept.iter().fold(sum, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        }
        let after = Usage::of(std::process::id()).expect("runs");
        assert!(after.rss > before.rss + (32 << 20), "{before:?} {after:?} {sum}");
        assert!(after.peak_rss >= after.rss);
    }

    #[test]
    fn the_time_of_processes_that_have_ended_counts_for_who_started_them() {
        let pid = std::process::id();
        let before = cpu_of_family(pid).expect("runs");
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        // In a shell of a shell: a grandchild, which has ended like its parent.
        let nested = format!("sh -c '{busy}'; true");
        let ended = std::process::Command::new("sh").args(["-c", &nested]).status();
        assert!(ended.expect("sh can be run").success());
        let after = cpu_of_family(pid).expect("runs");
        let alone = Usage::of(pid).expect("runs").cpu_seconds;
        assert!(after - before > 0.05, "{before} {after}");
        assert!(after - alone > 0.05, "{after} {alone}");
    }

    #[test]
    fn the_time_of_a_running_child_counts_for_who_started_it() {
        let child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        let mut child = child.expect("sh can be run");
        let family = || cpu_of_family(std::process::id()).expect("runs");
        let own = |pid| Usage::of(pid).expect("runs").cpu_seconds;
        while own(child.id()) < 0.2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (all, parent) = (family(), own(std::process::id()));
        child.kill().expect("is killed");
        child.wait().expect("ends");
        assert!(all - parent > 0.15, "{all} {parent}");
    }
}
