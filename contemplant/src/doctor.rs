//! `contemplant doctor`: what works on this machine and what does not, each with its remedy.
//!
//! Nothing is changed and nothing that works is disturbed; only a test proof, if it is asked for, needs
//! the machine for itself.

mod network;
mod proof;
mod servers;

use crate::config::{BackendChoice, Config};
use crate::executor::memory_bytes;
use crate::gpu;

/// Main memory below which SP1's CPU prover does not get through a proof: 16 GB as machines are sold.
const LEAST_MEMORY: u64 = 15 << 30;

/// Free disk below which programs, inputs and proofs may not fit.
const LEAST_DISK: u64 = 10 << 30;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, in one word or two.
    pub what: &'static str,
    /// How it is; as an error, what is wrong and what to do.
    pub outcome: Result<String, String>,
}

/// Looks at everything that `config` needs, and `told` as it goes on; with `prove` also makes a proof.
pub async fn examine(config: &Config, prove: bool, mut told: impl FnMut(&Finding)) {
    let mut tell = |what, outcome| told(&Finding { what, outcome });
    tell("hierophant", network::hierophant(config).await);
    tell("memory", memory(config));
    tell("disk", disk(config));
    if config.backend == BackendChoice::Cuda {
        // A server that runs already may have its GPU elsewhere.
        if config.prover_endpoint.is_none() {
            tell("gpu", gpus(config));
        }
        for (what, outcome) in servers::look(config).await {
            tell(what, outcome);
        }
    }
    if prove {
        tell("proof", proof::make(config).await);
    }
}

fn memory(config: &Config) -> Result<String, String> {
    let bytes = memory_bytes();
    let text = format!("{} GiB", bytes >> 30);
    match config.backend {
        BackendChoice::Cpu if bytes < LEAST_MEMORY => Err(format!(
            "{text}; a Core proof on CPU takes 10 GB and a Compressed one 18 GB: use a larger machine"
        )),
        _ => Ok(text),
    }
}

fn disk(config: &Config) -> Result<String, String> {
    // The folder may not be there yet, but what it will be in is.
    let folder = config.data_dir.ancestors().find(|folder| folder.exists());
    let folder = folder.map_or_else(|| ".".into(), ToOwned::to_owned);
    let free = fs4::available_space(&folder)
        .map_err(|error| format!("{} cannot be looked at: {error}", folder.display()))?;
    let text = format!("{} GiB free for {}", free >> 30, config.data_dir.display());
    if free < LEAST_DISK {
        return Err(format!("{text}; make room, or set `data_dir` to a larger disk"));
    }
    Ok(text)
}

fn gpus(config: &Config) -> Result<String, String> {
    if !config.docker.gpu_request && config.prover_command.is_none() {
        return Ok("none is asked for (`docker.gpu_request` is off)".to_owned());
    }
    let remedy = "install NVIDIA's driver, and see whether `nvidia-smi` shows the GPU";
    let found = gpu::look().map_err(|reason| format!("{reason}; {remedy}"))?;
    if let Some(missing) =
        config.wanted_gpus().into_iter().find(|gpu| *gpu as usize >= found.devices.len())
    {
        let count = found.devices.len();
        return Err(format!("there are {count} GPUs and no number {missing}; correct `gpus`"));
    }
    let devices: Vec<String> = found
        .devices
        .iter()
        .map(|device| format!("{} ({} GiB)", device.model, device.memory_bytes >> 30))
        .collect();
    let (driver, cuda) = (found.driver, found.cuda);
    Ok(format!("{}; driver {driver}, CUDA {cuda}", devices.join(", ")))
}
