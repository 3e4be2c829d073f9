//! GPU prover servers: SP1's `sp1-gpu-server`, or a compatible program, on a Unix socket.
//!
//! This module alone decides where a server runs: externally ([`external`]), as a child process ([`command`]) or in a
//! container ([`docker`]). The protocol on the socket belongs to [`crate::executor::cuda`].

pub mod command;
pub mod docker;
pub mod external;
pub mod log;
mod server;
mod temp;
mod unfit;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::command::CommandServer;
use self::docker::{DockerServer, Fetching};
use self::external::ExternalServer;
pub use self::server::{Connection, Death, ProverServer, RunningServer, Unavailable};
use self::unfit::UnfitServer;
use crate::config::{Config, socket_of};

/// The server at `prover_endpoint`, else one for each of `gpus`. Those that are `unfit`, by their numbers, get a server
/// that never starts.
#[must_use]
pub fn servers(
    config: &Config,
    gpus: &[u32],
    unfit: &BTreeMap<u32, String>,
) -> Vec<Arc<dyn ProverServer>> {
    if let Some(endpoint) = &config.prover_endpoint {
        return vec![Arc::new(ExternalServer::new(socket_of(endpoint)))];
    }
    let (modes, fetching) = (config.wanted_modes(), Fetching::default());
    let server = |gpu: &u32| -> Arc<dyn ProverServer> {
        if let Some(reason) = unfit.get(gpu) {
            return Arc::new(UnfitServer::new(*gpu, reason.clone()));
        }
        let (environment, data_dir) = (&config.prover_environment, &config.data_dir);
        match &config.prover_command {
            Some(command) => {
                Arc::new(CommandServer::new(command, environment, *gpu, gpus, data_dir))
            }
            None => Arc::new(DockerServer::new(
                &config.docker,
                environment,
                (*gpu, gpus),
                data_dir,
                &modes,
                &fetching,
            )),
        }
    };
    gpus.iter().map(server).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gpu_that_cannot_prove_gets_no_server_and_its_reason_is_told() {
        let mut config = Config::for_test("ws://127.0.0.1:1/ws", "/data");
        config.prover_command = Some(vec!["sp1-gpu-server".to_owned()]);
        let unfit = BTreeMap::from([(1, "it is too small".to_owned())]);
        let servers = servers(&config, &[0, 1], &unfit);
        let described: Vec<String> = servers.iter().map(|server| server.describe()).collect();
        assert_eq!(described, ["sp1-gpu-server on GPU 0", "no server on GPU 1"]);
        let reason = servers[1].start().await.err().unwrap();
        assert_eq!(reason.to_string(), "GPU 1: it is too small");
    }
}
