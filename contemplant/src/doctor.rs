//! `contemplant doctor`: checks of this machine, and the remedy of each fault.
//!
//! The checks change nothing and do not disturb a running worker; only the optional test proof needs the
//! machine alone.

mod network;
mod proof;
mod servers;

use crate::config::{BackendChoice, Config};
use crate::executor::memory_bytes;
use crate::gpu;

/// Least main memory for a proof with SP1's CPU prover: 16 GB as machines are sold.
const MIN_MEMORY: u64 = 15 << 30;

/// Least free disk for programs, inputs and proofs.
const MIN_DISK: u64 = 10 << 30;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check, in one word or two.
    pub what: &'static str,
    /// What was found; as an error, what is wrong and what to do.
    pub outcome: Result<String, String>,
}

/// Runs every check that applies to `config`, each reported by `report`; with `prove` also makes a proof.
pub async fn examine(config: &Config, prove: bool, mut report: impl FnMut(&Finding)) {
    let mut finding = |what, outcome| report(&Finding { what, outcome });
    finding("hierophant", network::hierophant(config).await);
    finding("memory", memory(config));
    finding("disk", disk(config));
    if config.backend == BackendChoice::Cuda {
        // An external server may have its GPU on another machine.
        if config.prover_endpoint.is_none() {
            finding("gpu", gpus(config));
        }
        for (what, outcome) in servers::look(config).await {
            finding(what, outcome);
        }
    }
    if prove {
        finding("proof", proof::make(config).await);
    }
}

fn memory(config: &Config) -> Result<String, String> {
    let bytes = memory_bytes();
    let text = format!("{} GiB", bytes >> 30);
    match config.backend {
        BackendChoice::Cpu if bytes < MIN_MEMORY => Err(format!(
            "{text}; a Core proof on CPU takes 10 GB and a Compressed one 18 GB: use a larger machine"
        )),
        _ => Ok(text),
    }
}

fn disk(config: &Config) -> Result<String, String> {
    // The folder may not exist yet, but one of its parents does.
    let folder = config.data_dir.ancestors().find(|folder| folder.exists());
    let folder = folder.map_or_else(|| ".".into(), ToOwned::to_owned);
    let free = fs4::available_space(&folder)
        .map_err(|error| format!("{} cannot be examined: {error}", folder.display()))?;
    let text = format!("{} GiB free for {}", free >> 30, config.data_dir.display());
    if free < MIN_DISK {
        return Err(format!("{text}; make room, or set `data_dir` to a larger disk"));
    }
    Ok(text)
}

fn gpus(config: &Config) -> Result<String, String> {
    if !config.docker.gpu_request && config.prover_command.is_none() {
        return Ok("not requested (`docker.gpu_request` is off)".to_owned());
    }
    let remedy = "install NVIDIA's driver, and see whether `nvidia-smi` shows the GPU";
    let found = gpu::look().map_err(|reason| format!("{reason}; {remedy}"))?;
    if let Some(missing) =
        config.wanted_gpus().into_iter().find(|gpu| *gpu as usize >= found.devices.len())
    {
        let count = found.devices.len();
        return Err(format!(
            "GPU {missing} does not exist: expected numbers below {count} in `gpus`"
        ));
    }
    let devices: Vec<String> = found
        .devices
        .iter()
        .map(|device| format!("{} ({} GiB)", device.model, device.memory_bytes >> 30))
        .collect();
    let (driver, cuda) = (found.driver, found.cuda);
    Ok(format!("{}; driver {driver}, CUDA {cuda}", devices.join(", ")))
}
