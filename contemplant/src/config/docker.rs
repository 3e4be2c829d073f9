//! The section `[docker]`: prover servers of the `cuda` backend in containers.

use serde::{Deserialize, Serialize};
use sp1_primitives::SP1_CRATE_VERSION;

/// The section `[docker]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DockerSettings {
    /// The engine's socket, such as `unix:///var/run/docker.sock`. Default: the value of `DOCKER_HOST`,
    /// else that one.
    pub engine: Option<String>,
    /// The prover server's image. Default: `sp1-gpu-server` of the SP1 version that this Contemplant is built
    /// with, since the two versions must be equal.
    pub image: String,
    /// Whether a missing image is pulled. Default: true.
    pub pull: bool,
    /// Memory limit of a container, in bytes. Default: none.
    pub memory_bytes: Option<u64>,
    /// Size of a container's `/dev/shm` in bytes, through which SP1 hands traces between processes; it
    /// takes memory only as it fills. Default: 16 GiB.
    pub shm_bytes: u64,
    /// Network of the container. Default: the engine's. A server needs a network only to fetch circuit files
    /// for PLONK and Groth16.
    pub network: Option<String>,
    /// Whether the container gets a GPU. Default: true; false is for trials with a server that needs none.
    pub gpu_request: bool,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            engine: None,
            image: format!("sp1-gpu-server:{SP1_CRATE_VERSION}"),
            pull: true,
            memory_bytes: None,
            shm_bytes: 16 << 30,
            network: None,
            gpu_request: true,
        }
    }
}

impl DockerSettings {
    /// The engine's socket.
    #[must_use]
    pub fn address(&self) -> String {
        let inherited = || std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let address = self.engine.clone().or_else(inherited);
        address.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
    }
}
