//! What this process costs: elapsed time, processor time, memory.

use std::fs;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

/// Ticks of a second in `/proc/self/stat`, the same on every Linux of today.
const TICKS: f64 = 100.0;

/// What a step has cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// Elapsed time.
    pub(crate) seconds: f64,
    /// Processor time of this process and its ended children.
    pub(crate) processor_seconds: f64,
    /// Most resident memory of this process during the step.
    pub(crate) peak_bytes: u64,
    /// Resident memory of this process after the step.
    pub(crate) bytes_after: u64,
}

/// A step that is being measured.
pub(crate) struct Step {
    start: Instant,
    processor_seconds: f64,
}

impl Step {
    /// A step that begins now.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        // Resets the peak of resident memory.
        fs::write("/proc/self/clear_refs", "5").context("/proc/self/clear_refs")?;
        Ok(Self { start: Instant::now(), processor_seconds: processor_seconds()? })
    }

    /// What it has cost.
    pub(crate) fn end(self) -> anyhow::Result<Cost> {
        Ok(Cost {
            seconds: self.start.elapsed().as_secs_f64(),
            processor_seconds: processor_seconds()? - self.processor_seconds,
            peak_bytes: memory("VmHWM:")?,
            bytes_after: memory("VmRSS:")?,
        })
    }
}

fn processor_seconds() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in parentheses, may have spaces.
    let (_, fields) = text.rsplit_once(')').context("/proc/self/stat")?;
    let times = fields.split_whitespace().skip(11).take(4);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / TICKS)
}

fn memory(name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).context("/proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
