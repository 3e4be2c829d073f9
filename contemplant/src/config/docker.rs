//! The section `[docker]`: prover servers of the `cuda` backend in containers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sp1_primitives::SP1_CRATE_VERSION;

/// The engine's name for a container without a network.
const NO_NETWORK: &str = "none";

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
    /// File with credentials for the image's registry, in the format of Docker's `config.json` (`auths`).
    /// Default: the file that `docker login` writes, if it exists.
    pub registry_auth: Option<PathBuf>,
    /// User and group of the container, such as `0:0` for a rootless engine, where that is the user who runs it.
    /// Default: the owner of the data folder.
    pub user: Option<String>,
    /// Memory limit of a container, in bytes. Default: none.
    pub memory_bytes: Option<u64>,
    /// Size of a container's `/dev/shm` in bytes, through which SP1 hands traces between processes; it
    /// takes memory only as it fills. Default: 16 GiB.
    pub shm_bytes: u64,
    /// Network of the container. Default: `none`, because a server needs none: the Contemplant fetches the
    /// circuit files for PLONK and Groth16.
    pub network: String,
    /// Whether the container gets a GPU. Default: true; false is for trials with a server that needs none.
    pub gpu_request: bool,
    /// Whether the GPU is requested by its CDI name, `nvidia.com/gpu=N`. Default: false, it is requested as
    /// `docker run --gpus` does. Rootless engines and Podman need CDI.
    pub cdi: bool,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            engine: None,
            image: format!("sp1-gpu-server:{SP1_CRATE_VERSION}"),
            pull: true,
            registry_auth: None,
            user: None,
            memory_bytes: None,
            shm_bytes: 16 << 30,
            network: NO_NETWORK.to_owned(),
            gpu_request: true,
            cdi: false,
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

    /// Whether a container can reach other machines.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.network != NO_NETWORK
    }
}

/// Whether `text` is a user that an engine accepts without looking into an image: `UID` or `UID:GID`.
pub(super) fn is_user(text: &str) -> bool {
    let is_id = |id: &str| !id.is_empty() && id.parse::<u32>().is_ok();
    match text.split_once(':') {
        Some((user, group)) => is_id(user) && is_id(group),
        None => is_id(text),
    }
}
