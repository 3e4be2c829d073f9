//! How the `cuda` backend runs its prover servers in Docker.

use serde::{Deserialize, Serialize};
use sp1_primitives::SP1_CRATE_VERSION;

/// The section `[docker]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DockerSettings {
    /// The engine's socket, such as `unix:///var/run/docker.sock`. Default: what `DOCKER_HOST` says, else
    /// that one.
    pub engine: Option<String>,
    /// The prover server's image. Default: `sp1-gpu-server` with the version of SP1 that this Contemplant
    /// is built with, since both must have the same.
    pub image: String,
    /// Whether a missing image is pulled. Default: true.
    pub pull: bool,
    /// Most main memory of a container, in bytes. Default: no limit of its own.
    pub memory_bytes: Option<u64>,
    /// Size of a container's `/dev/shm` in bytes, through which SP1 hands traces between processes; it
    /// takes memory only as it fills. Default: 16 GiB.
    pub shm_bytes: u64,
    /// Network of the container. Default: the engine's own choice. A server needs one only to fetch
    /// circuit files for PLONK and Groth16.
    pub network: Option<String>,
    /// Whether a GPU is asked for. Default: true; false is for trials with a server that needs none.
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
