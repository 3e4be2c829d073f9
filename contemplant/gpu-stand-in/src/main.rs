//! The program `gpu-stand-in`: takes its device, and with it its socket, as `sp1-gpu-server` does.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use gpu_stand_in::{BEHAVIOUR_VARIABLE, Source, behaviour_file};

/// Stands in for sp1-gpu-server where there is no GPU.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen [default: /tmp/sp1-cuda-N.sock, N being CUDA_VISIBLE_DEVICES]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where proofs come from
    #[arg(long, value_enum, default_value_t = Source::Recorded)]
    prover: Source,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let device = std::env::var("CUDA_VISIBLE_DEVICES");
    let socket = match arguments.socket {
        Some(socket) => socket,
        None => {
            let device: u32 = device
                .context("CUDA_VISIBLE_DEVICES must be set")?
                .parse()
                .context("CUDA_VISIBLE_DEVICES must be one number")?;
            PathBuf::from(format!("/tmp/sp1-cuda-{device}.sock"))
        }
    };
    let behaviour = match std::env::var_os(BEHAVIOUR_VARIABLE) {
        Some(file) => PathBuf::from(file),
        None => behaviour_file(&socket),
    };
    gpu_stand_in::serve_with(&socket, arguments.prover, &behaviour).await
}
