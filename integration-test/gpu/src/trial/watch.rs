//! What the machine says about itself: its GPU, its memory, and both under load.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use network_lib::task;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::figures::Gpu;

/// Milliseconds between two samples of the driver.
const INTERVAL: &str = "200";

/// A sample of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    at: Instant,
    memory_mib: u64,
    utilisation_percent: u64,
}

/// A GPU that is watched until this value is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    samples: Arc<Mutex<Vec<Sample>>>,
    _driver: Child,
}

/// Asks the driver what the GPU is.
///
/// # Errors
///
/// When there is no driver, or no such GPU.
pub(super) async fn gpu(number: u32) -> Result<Gpu> {
    let query = "--query-gpu=name,driver_version,memory.total,compute_cap";
    let output = Command::new("nvidia-smi")
        .arg(format!("--id={number}"))
        .args([query, "--format=csv,noheader,nounits"])
        .kill_on_drop(true)
        .output()
        .await
        .context("nvidia-smi cannot be run: expected NVIDIA's driver")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "nvidia-smi has failed ({}): {}{}",
        output.status,
        text.trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    described(&text).with_context(|| format!("nvidia-smi reports no GPU {number}: {}", text.trim()))
}

fn described(text: &str) -> Option<Gpu> {
    let mut fields = text.lines().next()?.split(',').map(str::trim);
    Some(Gpu {
        model: fields.next().filter(|model| !model.is_empty())?.to_owned(),
        driver: fields.next()?.to_owned(),
        memory_mib: fields.next()?.parse().ok()?,
        compute_capability: fields.next()?.to_owned(),
    })
}

impl Watch {
    /// Has the driver report the load of a GPU.
    ///
    /// # Errors
    ///
    /// When there is no driver.
    pub(super) fn start(number: u32) -> Result<Self> {
        let query = "--query-gpu=memory.used,utilization.gpu";
        let mut driver = Command::new("nvidia-smi")
            .arg(format!("--id={number}"))
            .args([query, "--format=csv,noheader,nounits", "-lms", INTERVAL])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("nvidia-smi cannot be run: expected NVIDIA's driver")?;
        let output = driver.stdout.take().context("nvidia-smi has no output")?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&samples);
        task::spawn("samples of the GPU", async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(sample) = sampled(&line, Instant::now()) {
                    taken.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                }
            }
        });
        Ok(Self { samples, _driver: driver })
    }

    /// Most memory in use so far, in MiB.
    pub(super) fn memory_peak_mib(&self) -> Option<u64> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().map(|sample| sample.memory_mib).max()
    }

    /// Mean of the driver's utilisation from `start` to `end`, in percent.
    pub(super) fn utilisation(&self, start: Instant, end: Instant) -> Option<f64> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        mean(&samples, start, end)
    }
}

fn mean(samples: &[Sample], start: Instant, end: Instant) -> Option<f64> {
    let within = samples.iter().filter(|sample| sample.at >= start && sample.at <= end);
    let (mut sum, mut count) = (0_u64, 0_u32);
    for sample in within {
        sum += sample.utilisation_percent;
        count += 1;
    }
    let sum = u32::try_from(sum).ok()?;
    (count > 0).then(|| f64::from(sum) / f64::from(count))
}

fn sampled(line: &str, at: Instant) -> Option<Sample> {
    let (memory, utilisation) = line.split_once(',')?;
    let memory_mib = memory.trim().parse().ok()?;
    Some(Sample { at, memory_mib, utilisation_percent: utilisation.trim().parse().ok()? })
}

/// Most main memory that a process has had, in MiB.
pub(super) fn process_peak_mib(id: u32) -> Option<u64> {
    let text =
        std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).ok()?;
    Some(kib_of(&text, "VmHWM:")? >> 10)
}

/// Main memory of this machine in bytes; 0 if unknown.
pub(super) fn main_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kib_of(&text, "MemTotal:").unwrap_or_default() << 10
}

/// Model of the processor.
pub(super) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".to_owned(), |(_, model)| model.to_owned())
}

fn kib_of(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_driver_prints_is_read() {
        let gpu = described("NVIDIA H200, 580.159.03, 143771, 9.0\n").expect("a GPU");
        assert_eq!((gpu.model.as_str(), gpu.memory_mib), ("NVIDIA H200", 143_771));
        assert_eq!((gpu.driver.as_str(), gpu.compute_capability.as_str()), ("580.159.03", "9.0"));
        for wrong in ["", "No devices were found", ", 580, 1, 9.0", "NVIDIA H200, 580, [N/A], 9.0"]
        {
            assert_eq!(described(wrong), None, "{wrong}");
        }
        let now = Instant::now();
        let sample = sampled("23456, 97", now).expect("a sample");
        assert_eq!((sample.memory_mib, sample.utilisation_percent), (23_456, 97));
        for wrong in ["", "23456", "[N/A], 97", "23456, [Not Supported]"] {
            assert_eq!(sampled(wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn the_mean_is_over_the_samples_of_that_time() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let sample = |seconds, utilisation_percent| Sample {
            at: at(seconds),
            memory_mib: 1,
            utilisation_percent,
        };
        let samples = [sample(0, 0), sample(1, 90), sample(2, 100), sample(9, 0)];
        assert_eq!(mean(&samples, at(1), at(3)), Some(95.0));
        assert_eq!(mean(&samples, at(3), at(8)), None);
    }

    #[test]
    fn this_process_and_this_machine_have_memory() {
        assert!(process_peak_mib(std::process::id()).is_some_and(|mib| mib > 0));
        assert!(main_memory_bytes() > 1 << 30);
        assert!(!processor().is_empty());
    }
}
