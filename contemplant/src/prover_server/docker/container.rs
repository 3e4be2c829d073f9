//! The configuration of a prover server's container.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig};

use crate::config::DockerSettings;
use crate::prover_server::server::LOG_FILTER;

/// Label with the data folder of the Contemplant that owns a container.
pub(super) const OWNER_LABEL: &str = "io.hierophant.contemplant";
/// Label with the GPU's number.
pub(super) const GPU_LABEL: &str = "io.hierophant.gpu";

/// The socket inside the container, where its one GPU has number 0.
const SOCKET: &str = "sp1-cuda-0.sock";

/// Paths of this machine that the container shares, and their user.
#[derive(Debug, Clone)]
pub(super) struct HostPaths {
    /// The data folder, for labels.
    pub(super) data_dir: PathBuf,
    /// Mounted as `/tmp`, where the server creates its socket.
    pub(super) sockets: PathBuf,
    /// Mounted as the home folder, where SP1 keeps circuit files.
    pub(super) home: PathBuf,
    /// User and group that own them, so that both programs can use the socket.
    pub(super) user: String,
}

impl HostPaths {
    /// The socket, on this machine.
    pub(super) fn socket(&self) -> PathBuf {
        self.sockets.join(SOCKET)
    }

    /// The value of [`OWNER_LABEL`].
    pub(super) fn owner(&self) -> String {
        self.data_dir.display().to_string()
    }

    /// Name of the container. It is unique, because the data folder is locked.
    pub(super) fn name(&self, gpu: u32) -> String {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(self.owner());
        format!("contemplant-{}-gpu{gpu}", hex::encode(&digest[..4]))
    }
}

/// The engine's request to create the container.
pub(super) fn body(
    settings: &DockerSettings,
    environment: &BTreeMap<String, String>,
    gpu: u32,
    paths: &HostPaths,
) -> ContainerCreateBody {
    let labels = [(OWNER_LABEL, paths.owner()), (GPU_LABEL, gpu.to_string())];
    let memory = settings.memory_bytes.map(u64::cast_signed);
    let rotation = [("max-size", "10m"), ("max-file", "3")];
    let host = HostConfig {
        device_requests: settings.gpu_request.then(|| vec![device_request(gpu, settings.cdi)]),
        memory,
        // A limit equal to that of memory allows no swap.
        memory_swap: memory,
        shm_size: Some(settings.shm_bytes.cast_signed()),
        // With `z` an engine with SELinux labels the folders so that containers may use them.
        binds: Some(vec![
            format!("{}:/tmp:z", paths.sockets.display()),
            format!("{}:/sp1:z", paths.home.display()),
        ]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(strings(rotation)),
        }),
        network_mode: Some(settings.network.clone()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..Default::default()
    };
    let configured = environment.iter().map(|(name, value)| format!("{name}={value}"));
    let own = [
        "CUDA_VISIBLE_DEVICES=0".to_owned(),
        format!("RUST_LOG={LOG_FILTER}"),
        "NO_COLOR=1".to_owned(),
        "HOME=/sp1".to_owned(),
    ];
    ContainerCreateBody {
        image: Some(settings.image.clone()),
        user: Some(settings.user.as_ref().unwrap_or(&paths.user).clone()),
        env: Some(configured.chain(own).collect()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        host_config: Some(host),
        ..Default::default()
    }
}

fn device_request(gpu: u32, cdi: bool) -> DeviceRequest {
    if cdi {
        return DeviceRequest {
            driver: Some("cdi".to_owned()),
            device_ids: Some(vec![format!("nvidia.com/gpu={gpu}")]),
            ..Default::default()
        };
    }
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
    use crate::config::SERVER_VARIABLES;

    fn paths() -> HostPaths {
        HostPaths {
            data_dir: "/data".into(),
            sockets: "/data/gpu-3".into(),
            home: "/data/sp1-home".into(),
            user: "1000:1000".to_owned(),
        }
    }

    #[test]
    fn one_gpu_is_asked_for_and_the_server_sees_it_as_its_first() {
        let body = body(&DockerSettings::default(), &BTreeMap::new(), 3, &paths());
        let host = body.host_config.unwrap();
        let request = &host.device_requests.unwrap()[0];
        assert_eq!(request.device_ids, Some(vec!["3".to_owned()]));
        assert!(body.env.unwrap().contains(&"CUDA_VISIBLE_DEVICES=0".to_owned()));
        assert_eq!(body.labels.unwrap()[GPU_LABEL], "3");
        assert_eq!(request.driver, None);
        assert_eq!(host.memory, None);
        assert_eq!(paths().socket(), PathBuf::from("/data/gpu-3/sp1-cuda-0.sock"));
    }

    #[test]
    fn limits_are_passed_on_and_leave_no_swap() {
        let settings = DockerSettings {
            memory_bytes: Some(1 << 30),
            shm_bytes: 1 << 20,
            gpu_request: false,
            ..DockerSettings::default()
        };
        let host = body(&settings, &BTreeMap::new(), 0, &paths()).host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(1 << 30), Some(1 << 30)));
        assert_eq!(host.shm_size, Some(1 << 20));
        assert_eq!(host.device_requests, None);
    }

    #[test]
    fn the_configured_environment_is_added_and_cannot_replace_ours() {
        let environment = BTreeMap::from([("MEMORY_LIMIT".to_owned(), "8 GiB".to_owned())]);
        let body = body(&DockerSettings::default(), &environment, 0, &paths());
        let set = body.env.unwrap();
        assert!(set.contains(&"MEMORY_LIMIT=8 GiB".to_owned()), "{set:?}");
        for variable in &set {
            let name = variable.split('=').next().unwrap();
            assert!(name == "MEMORY_LIMIT" || SERVER_VARIABLES.contains(&name), "{variable}");
        }
    }

    #[test]
    fn a_container_reaches_no_other_machine_unless_it_is_configured() {
        let network = |settings: &DockerSettings| {
            body(settings, &BTreeMap::new(), 0, &paths()).host_config.unwrap().network_mode.unwrap()
        };
        assert_eq!(network(&DockerSettings::default()), "none");
        let settings = DockerSettings { network: "bridge".to_owned(), ..DockerSettings::default() };
        assert_eq!(network(&settings), "bridge");
    }

    #[test]
    fn a_gpu_is_requested_by_its_cdi_name_where_that_is_configured() {
        let settings = DockerSettings { cdi: true, ..DockerSettings::default() };
        let host = body(&settings, &BTreeMap::new(), 3, &paths()).host_config.unwrap();
        let request = &host.device_requests.unwrap()[0];
        assert_eq!(request.driver.as_deref(), Some("cdi"));
        assert_eq!(request.device_ids, Some(vec!["nvidia.com/gpu=3".to_owned()]));
        assert_eq!(request.capabilities, None);
    }

    #[test]
    fn the_user_is_the_owner_of_the_folders_or_the_configured_one() {
        let user =
            |settings: &DockerSettings| body(settings, &BTreeMap::new(), 0, &paths()).user.unwrap();
        assert_eq!(user(&DockerSettings::default()), "1000:1000");
        let settings = DockerSettings { user: Some("0:0".to_owned()), ..DockerSettings::default() };
        assert_eq!(user(&settings), "0:0");
    }
}
