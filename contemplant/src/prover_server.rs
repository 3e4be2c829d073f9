//! GPU prover servers: SP1's `sp1-gpu-server`, or a compatible program, on a Unix socket.
//!
//! This module alone decides where a server runs: externally ([`external`]), as a child process ([`command`]) or in a
//! container ([`docker`]). The protocol on the socket belongs to [`crate::executor::cuda`].

pub mod command;
pub mod docker;
pub mod external;
pub mod log;
mod server;

use std::sync::Arc;

use self::command::CommandServer;
use self::docker::DockerServer;
use self::external::ExternalServer;
pub use self::server::{Connection, Death, ProverServer, RunningServer, Unavailable};
use crate::config::{Config, socket_of};

/// The configured servers, one for each GPU.
#[must_use]
pub fn servers(config: &Config) -> Vec<Arc<dyn ProverServer>> {
    if let Some(endpoint) = &config.prover_endpoint {
        return vec![Arc::new(ExternalServer::new(socket_of(endpoint)))];
    }
    let gpus = config.wanted_gpus();
    gpus.iter()
        .map(|gpu| match &config.prover_command {
            Some(command) => {
                Arc::new(CommandServer::new(command, *gpu, &gpus, &config.data_dir)) as _
            }
            None => Arc::new(DockerServer::new(&config.docker, *gpu, &gpus, &config.data_dir)) as _,
        })
        .collect()
}
