//! What a prover server's container is like.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig};

use crate::config::DockerSettings;
use crate::prover_server::server::LOG_FILTER;

/// Label with the data folder of the Contemplant that a container belongs to.
pub(super) const OWNER_LABEL: &str = "io.hierophant.contemplant";
/// Label with the GPU's number.
pub(super) const GPU_LABEL: &str = "io.hierophant.gpu";

/// Where the server listens inside, having one GPU, whose number there is 0.
const SOCKET: &str = "sp1-cuda-0.sock";

/// What the container shares with this machine.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The Contemplant's data folder, for labels.
    pub(super) data_dir: PathBuf,
    /// Becomes `/tmp`, where the server makes its socket.
    pub(super) sockets: PathBuf,
    /// Becomes the home folder, where SP1 keeps circuit files.
    pub(super) home: PathBuf,
    /// User and group of this Contemplant, so that both may use the socket.
    pub(super) user: String,
}

impl Place {
    /// The socket, on this machine.
    pub(super) fn socket(&self) -> PathBuf {
        self.sockets.join(SOCKET)
    }

    /// The value of [`OWNER_LABEL`].
    pub(super) fn owner(&self) -> String {
        self.data_dir.display().to_string()
    }

    /// A name for people. It is never used twice at a time: the data folder is locked.
    pub(super) fn name(&self, gpu: u32) -> String {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(self.owner());
        format!("contemplant-{}-gpu{gpu}", hex::encode(&digest[..4]))
    }
}

/// What the engine is asked for.
pub(super) fn body(settings: &DockerSettings, gpu: u32, place: &Place) -> ContainerCreateBody {
    let labels = [(OWNER_LABEL, place.owner()), (GPU_LABEL, gpu.to_string())];
    let memory = settings.memory_bytes.map(u64::cast_signed);
    let rotation = [("max-size", "10m"), ("max-file", "3")];
    let host = HostConfig {
        device_requests: settings.gpu_request.then(|| vec![device_request(gpu)]),
        memory,
        // As much as memory means no swap on top of it.
        memory_swap: memory,
        shm_size: Some(settings.shm_bytes.cast_signed()),
        binds: Some(vec![
            format!("{}:/tmp", place.sockets.display()),
            format!("{}:/sp1", place.home.display()),
        ]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(strings(rotation)),
        }),
        network_mode: settings.network.clone(),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(settings.image.clone()),
        user: Some(place.user.clone()),
        env: Some(vec![
            "CUDA_VISIBLE_DEVICES=0".to_owned(),
            format!("RUST_LOG={LOG_FILTER}"),
            "NO_COLOR=1".to_owned(),
            "HOME=/sp1".to_owned(),
        ]),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        host_config: Some(host),
        ..Default::default()
    }
}

fn device_request(gpu: u32) -> DeviceRequest {
    DeviceRequest {
        device_ids: Some(vec![gpu.to_string()]),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..Default::default()
    }
}

fn strings<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            data_dir: "/data".into(),
            sockets: "/data/gpu-3".into(),
            home: "/data/sp1-home".into(),
            user: "1000:1000".to_owned(),
        }
    }

    #[test]
    fn one_gpu_is_asked_for_and_the_server_sees_it_as_its_first() {
        let body = body(&DockerSettings::default(), 3, &place());
        let host = body.host_config.unwrap();
        let request = &host.device_requests.unwrap()[0];
        assert_eq!(request.device_ids, Some(vec!["3".to_owned()]));
        assert!(body.env.unwrap().contains(&"CUDA_VISIBLE_DEVICES=0".to_owned()));
        assert_eq!(body.labels.unwrap()[GPU_LABEL], "3");
        assert_eq!(host.memory, None);
        assert_eq!(place().socket(), PathBuf::from("/data/gpu-3/sp1-cuda-0.sock"));
    }

    #[test]
    fn limits_are_passed_on_and_leave_no_swap() {
        let settings = DockerSettings {
            memory_bytes: Some(1 << 30),
            shm_bytes: 1 << 20,
            gpu_request: false,
            ..DockerSettings::default()
        };
        let host = body(&settings, 0, &place()).host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(1 << 30), Some(1 << 30)));
        assert_eq!(host.shm_size, Some(1 << 20));
        assert_eq!(host.device_requests, None);
    }
}
