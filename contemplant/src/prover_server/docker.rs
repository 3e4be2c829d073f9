//! A server in a container, one for each GPU, managed by the Contemplant: image found or pulled, container created,
//! watched, replaced and removed.

mod container;
mod credentials;
mod image;
mod info;
mod leftovers;
mod watch;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use network_lib::job::ProofMode;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::container::HostPaths;
pub use self::info::{Engine, Gpus, describe, shows_folder};
use self::watch::Watch;
use super::log::ServerLog;
use super::server::{Connection, Death, ProverServer, RunningServer, Unavailable};
use super::temp;
use crate::circuits;
use crate::config::DockerSettings;
use crate::gpu;

/// Time limit in seconds for a call of the engine, except pulling, waiting and logs.
const CALL_SECONDS: u64 = 60;

/// How long the removal of a container may delay the end of the program.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);

/// Time limit for the driver to describe the GPUs.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Longest path of a Unix socket.
const MAX_SOCKET_BYTES: usize = 107;

/// The server in a container of its own, for one GPU.
#[derive(Debug)]
pub struct DockerServer {
    settings: DockerSettings,
    environment: BTreeMap<String, String>,
    gpu: u32,
    all_gpus: Vec<u32>,
    data_dir: PathBuf,
    modes: Vec<ProofMode>,
    fetching: Fetching,
}

/// Held while circuit files are fetched, which all servers of a data folder share.
pub type Fetching = Arc<Mutex<()>>;

impl DockerServer {
    /// The server with this additional `environment` for a GPU of `gpus`, the one and all of this worker, for proofs of
    /// `modes`. Its socket and circuit files are in `data_dir`, which must be on the engine's machine.
    #[must_use]
    pub fn new(
        settings: &DockerSettings,
        environment: &BTreeMap<String, String>,
        (gpu, all_gpus): (u32, &[u32]),
        data_dir: &Path,
        modes: &[ProofMode],
        fetching: &Fetching,
    ) -> Self {
        Self {
            settings: settings.clone(),
            environment: environment.clone(),
            gpu,
            all_gpus: all_gpus.to_vec(),
            data_dir: data_dir.to_owned(),
            modes: modes.to_vec(),
            fetching: Arc::clone(fetching),
        }
    }

    /// Fetches missing circuit files for a server that cannot fetch them.
    async fn provide_circuits(&self, paths: &HostPaths) -> Result<(), Unavailable> {
        if self.settings.has_network() {
            return Ok(());
        }
        let _alone = self.fetching.lock().await;
        let provided = circuits::provide(&paths.home, &self.modes, circuits::fetch).await;
        provided.map_err(|reason| {
            Unavailable(format!(
                "{reason}, or set `docker.network` so that the server fetches them"
            ))
        })
    }

    /// Creates the folders that are mounted into the container.
    fn host_paths(&self) -> Result<HostPaths, Unavailable> {
        let make = || {
            std::fs::create_dir_all(&self.data_dir)?;
            let data_dir = self.data_dir.canonicalize()?;
            let sockets = temp::folder(&data_dir, self.gpu);
            let home = data_dir.join("sp1-home");
            std::fs::create_dir_all(&sockets)?;
            std::fs::create_dir_all(&home)?;
            let owner = std::fs::metadata(&sockets)?;
            let user = format!("{}:{}", owner.uid(), owner.gid());
            Ok(HostPaths { data_dir, sockets, home, user })
        };
        let paths = make().map_err(|error: std::io::Error| {
            Unavailable(format!(
                "the folder of the prover server's socket cannot be created: {error}"
            ))
        })?;
        let length = paths.socket().as_os_str().len();
        if length > MAX_SOCKET_BYTES {
            return Err(Unavailable(format!(
                "{} is too long for a socket ({length} bytes): expected at most {MAX_SOCKET_BYTES}, set `data_dir` \
                 to a shorter path",
                paths.socket().display()
            )));
        }
        Ok(paths)
    }

    async fn create(&self, engine: &Docker, paths: &HostPaths) -> Result<String, Unavailable> {
        let name = paths.name(self.gpu);
        let body = container::body(&self.settings, &self.environment, self.gpu, paths);
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        let created = engine.create_container(Some(options), body).await.map_err(|error| {
            Unavailable(format!("no container can be created: {}", message_of(&error)))
        })?;
        // The name is unique, so no earlier container is left that could use the folder.
        temp::empty(&paths.sockets).await;
        if let Err(error) = engine.start_container(&created.id, None).await {
            remove(engine, &created.id).await;
            let gpus = look_at_gpus().await;
            let answer = message_of(&error);
            return Err(Unavailable(could_not_start(self.gpu, &answer, gpus.as_ref())));
        }
        tracing::info!(name, image = self.settings.image, gpu = self.gpu, "container started");
        Ok(created.id)
    }
}

#[async_trait]
impl ProverServer for DockerServer {
    fn describe(&self) -> String {
        format!("container of {} on GPU {}", self.settings.image, self.gpu)
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn memory_limit(&self) -> Option<u64> {
        self.settings.memory_bytes
    }

    async fn start(&self) -> Result<Box<dyn RunningServer>, Unavailable> {
        let engine = connect(&self.settings).await?;
        let paths = self.host_paths()?;
        leftovers::sweep(&engine, &paths, self.gpu, &self.all_gpus).await?;
        image::provide(&engine, &self.settings).await?;
        self.provide_circuits(&paths).await?;
        let id = self.create(&engine, &paths).await?;
        let log = ServerLog::default();
        let (watch, tasks) = watch::start(&engine, &id, &log);
        let connection = Connection { socket: paths.socket(), log };
        Ok(Box::new(Running { engine, id, connection, watch, tasks }))
    }
}

struct Running {
    engine: Docker,
    id: String,
    connection: Connection,
    watch: Watch,
    tasks: Vec<JoinHandle<()>>,
}

#[async_trait]
impl RunningServer for Running {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.watch.memory_bytes()
    }

    async fn ended(&mut self) -> Death {
        self.watch.ended().await
    }

    async fn stop(self: Box<Self>) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if timeout(REMOVAL_LIMIT, remove(&self.engine, &self.id)).await.is_err() {
            tracing::warn!("a container could not be removed in time; the next start removes it");
        }
        let _ = std::fs::remove_file(self.socket());
    }
}

/// Connects to the engine and agrees with it on a version.
///
/// # Errors
///
/// Why it cannot be reached, and what to do.
pub async fn connect(settings: &DockerSettings) -> Result<Docker, Unavailable> {
    let address = settings.address();
    let unreachable = |error: Error| {
        Unavailable(format!(
            "the Docker engine at {address} cannot be reached ({}); start it, let this user use its \
             socket, or set `docker.engine`",
            message_of(&error)
        ))
    };
    let engine = Docker::connect_with_unix(&address, CALL_SECONDS, API_DEFAULT_VERSION)
        .map_err(unreachable)?;
    engine.negotiate_version().await.map_err(unreachable)
}

/// Whether the image is present or will be pulled.
///
/// # Errors
///
/// What is missing, with the remedy.
pub async fn image_state(engine: &Docker, settings: &DockerSettings) -> Result<String, String> {
    let image = &settings.image;
    match engine.inspect_image(image).await {
        Ok(_) => Ok(format!("{image} is present")),
        Err(_) if settings.pull => Ok(format!("{image} is missing and will be pulled")),
        Err(error) => Err(format!("{image}: {}; {}", message_of(&error), image::REMEDY)),
    }
}

/// Removes a container, running or not.
async fn remove(engine: &Docker, id: &str) {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    match engine.remove_container(id, Some(options)).await {
        Ok(()) => {}
        // Removed already, or being removed.
        Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => {}
        Err(error) => {
            tracing::warn!(error = message_of(&error), "a container could not be removed");
        }
    }
}

/// The engine's message, without the text that the client crate adds.
fn message_of(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
    }
}

/// This machine's GPUs and driver, unless the driver does not answer.
async fn look_at_gpus() -> Option<gpu::Gpus> {
    let look = tokio::task::spawn_blocking(gpu::look);
    timeout(LOOK_LIMIT, look).await.ok()?.ok()?.ok()
}

/// The text for a container that did not start, with the engine's answer and a remedy; `gpus` are this machine's.
fn could_not_start(gpu: u32, answer: &str, gpus: Option<&gpu::Gpus>) -> String {
    let refused = format!("Docker cannot give a container GPU {gpu}: {answer}");
    // NVIDIA's runtime compares what the image requires with the driver: "unsatisfied condition: cuda>=12.8".
    if let Some((_, condition)) = answer.split_once("unsatisfied condition: ") {
        let condition = condition.split([',', ' ', '\n']).next().unwrap_or(condition);
        let driver = gpus.map_or_else(
            || "the driver is too old".to_owned(),
            |gpus| format!("the driver is version {}, for CUDA {}", gpus.driver, gpus.cuda),
        );
        return format!(
            "{refused}; the image requires {condition} and {driver}: update NVIDIA's driver, or build the image on an \
             older CUDA (`--build-arg CUDA=…`)"
        );
    }
    if answer.contains("CDI") || answer.contains("cdi") {
        return format!(
            "{refused}; describe the GPUs for CDI (`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`), or set \
             `docker.cdi` to false"
        );
    }
    if ["device driver", "nvidia", "NVIDIA", "gpu"].iter().any(|word| answer.contains(word)) {
        return format!(
            "{refused}; install the NVIDIA driver and the NVIDIA Container Toolkit, or name another of this \
             machine's `gpus`"
        );
    }
    format!("the container cannot be started: {answer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_gpu_driver_is_named_with_the_engine_s_answer() {
        let answer = "could not select device driver \"\" with capabilities: [[gpu]]";
        let text = could_not_start(1, answer, None);
        assert!(text.contains(answer) && text.contains("NVIDIA Container Toolkit"), "{text}");
        assert!(!could_not_start(1, "no space left on device", None).contains("NVIDIA"));
    }

    #[test]
    fn a_driver_that_is_too_old_is_named_with_its_version() {
        let answer = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your \
                      driver to a newer version, or use an earlier cuda container: unknown";
        let driver = "550.54.15".to_owned();
        let gpus = gpu::Gpus { driver, cuda: "12.4".to_owned(), devices: Vec::new() };
        let text = could_not_start(0, answer, Some(&gpus));
        for part in [
            "requires cuda>=12.8 and",
            "version 550.54.15, for CUDA 12.4",
            "update NVIDIA's driver",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("Container Toolkit"), "{text}");
        let text = could_not_start(0, answer, None);
        assert!(text.contains("the driver is too old"), "{text}");
    }

    #[test]
    fn a_gpu_that_cdi_does_not_know_comes_with_the_command_that_describes_it() {
        let answer = "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0";
        let text = could_not_start(0, answer, None);
        assert!(text.contains("nvidia-ctk cdi generate"), "{text}");
    }
}
