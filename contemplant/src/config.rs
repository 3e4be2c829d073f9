//! Configuration: one TOML file, `contemplant.toml`, overridden by `CONTEMPLANT_…` variables.

mod docker;
mod endpoints;
mod mock;
mod tls;
mod validation;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use network_lib::job::ProofMode;
use network_lib::logging::LogFormat;
use network_lib::secret::Secret;
use network_lib::wire::WEBSOCKET_PATH;
use serde::{Deserialize, Serialize};

pub use self::docker::DockerSettings;
pub use self::endpoints::{Endpoints, endpoints, socket_of};
pub use self::mock::MockShards;
pub use self::tls::TlsSettings;
use crate::gpu;

/// The commented file that `contemplant init` writes.
pub const TEMPLATE: &str = include_str!("../contemplant.example.toml");

/// Variables of a prover server's environment that this program sets.
pub const SERVER_VARIABLES: [&str; 6] =
    ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "RUST_LOG", "NO_COLOR", "HOME", "TMPDIR"];

/// Smallest value of `exit_when_idle`.
pub const MIN_EXIT_WHEN_IDLE: Duration = Duration::from_secs(1);

/// The configuration of a Contemplant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The WebSocket of the Hierophant to work for. Default: `ws://127.0.0.1:9010/ws`, a Hierophant on
    /// the same machine with its own defaults.
    pub hierophant_ws_address: String,
    /// Name of this worker, shown to Hierophant's operator. Default: a name from the Old Testament, chosen by
    /// the worker id, since names are easier to tell apart than ids.
    pub name: Option<String>,
    /// The machine that it runs on, such as a pod or the id of a rented machine, shown beside the name.
    /// Default: none.
    pub instance: Option<String>,
    /// The prover. Default: `cpu`, which works on any machine.
    pub backend: BackendChoice,
    /// Kinds of proof to offer. Default: core and compressed for `cpu` and `cuda`, as the others need
    /// gigabytes of circuit files; all for `mock`.
    pub modes: Option<Vec<ProofMode>>,
    /// Whether one job is leased ahead for each slot, to be prepared while the slot proves. Default: that of the
    /// backend, see [`Config::prefetches`].
    pub prefetch: Option<bool>,
    /// With `cpu` and `mock`: most shards of a proof that are traced or proved at the same time. Default: 4, as in SP1's
    /// own prover. Fewer take less memory, up to 2 GB for each.
    pub shards_at_once: u32,
    /// With `cpu` and Core as the only mode: whether shards of Compressed, PLONK and Groth16 proofs that several workers
    /// make are proved as well. Default: false, as it takes more memory.
    pub recursive_shards: bool,
    /// With `cpu`: most bytes of finished shards in `data_dir`, from which a proof goes on after a crash. Default: 8 GiB,
    /// about six thousand shards. 0 keeps none.
    pub max_shard_bytes: u64,
    /// Whether tasks of proofs that many workers make are taken, if the prover can make them. Default: true, so that large
    /// proofs use the whole fleet.
    pub take_tasks: bool,
    /// Most bytes of records in the depot in `data_dir`, where shards wait until they are proved. Default: 16 GiB, about
    /// three hundred records of the usual size, up to 60 MB.
    pub max_depot_bytes: u64,
    /// With `cuda`: the socket of a prover server that is already running, such as
    /// `unix:///tmp/sp1-cuda-0.sock`. Also read as `moongate_endpoint`. Default: none, servers are started.
    #[serde(alias = "moongate_endpoint")]
    pub prover_endpoint: Option<String>,
    /// With `cuda`: the program of a prover server and its arguments, started once for each GPU.
    /// Default: none, servers run in Docker.
    pub prover_command: Option<Vec<String>>,
    /// With `cuda`: additional environment variables of the prover servers that are started, in Docker or by
    /// `prover_command`. Default: none.
    pub prover_environment: BTreeMap<String, String>,
    /// With `cuda`: numbers of the GPUs to use, one prover server for each. Default: all that the driver
    /// reports, else number 0.
    pub gpus: Option<Vec<u32>>,
    /// With `cuda`: time limit for a prover server from its start to its first answer, and again for each step of its
    /// self-test. Default: 5 min, since the self-test builds the server's prover.
    #[serde(with = "humantime_serde")]
    pub prover_start_limit: Duration,
    /// With `cuda`: how a prover server is tested before jobs are accepted. Default: `setup`, which takes no longer
    /// than the same step of the first job would.
    pub prover_self_test: SelfTest,
    /// With `cuda`: how long a prover server may be silent while it proves before it is replaced. Default: 2 min. A
    /// busy server may be slow to respond, and a false alarm costs the proof; a server that fails and still
    /// responds is recognised by its log within seconds.
    #[serde(with = "humantime_serde")]
    pub prover_silence_limit: Duration,
    /// Folder for the identity of this installation, finished proofs until Hierophant has stored them, finished shards of
    /// unfinished proofs, the depot, verifying keys, and downloads while they are needed. Default: `contemplant-data` in
    /// the working folder, so that no setup is needed.
    pub data_dir: PathBuf,
    /// This worker's token, or the shared one. Default: none, which Hierophant accepts from the same
    /// machine.
    pub token: Option<Secret>,
    /// Duration of a mock proof. Default: 2 s, long enough to be seen and short enough to wait for.
    #[serde(with = "humantime_serde")]
    pub mock_proof_time: Duration,
    /// Longest pause between two attempts to connect to Hierophant. Default: 30 s, so that a fleet is back
    /// soon after Hierophant is, without overloading it.
    #[serde(with = "humantime_serde")]
    pub reconnect_max_delay: Duration,
    /// How long work may continue after SIGTERM or SIGINT before it is handed back; 0 hands it back at once.
    /// Default: that of the backend, see [`Config::shutdown_grace`].
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Option<Duration>,
    /// Time without an attempt, connected and ready and with an empty depot, after which the program ends. Default: none,
    /// it waits for work without end.
    #[serde(with = "humantime_serde")]
    pub exit_when_idle: Option<Duration>,
    /// How long a transfer may stall before it is tried again. Default: 30 s.
    #[serde(with = "humantime_serde")]
    pub http_timeout: Duration,
    /// Largest program or input after decompression, in bytes. Default: 4 GiB, far beyond real inputs and
    /// within the memory of a proving machine.
    pub max_decompressed_bytes: u64,
    /// Address of the metrics for Prometheus (`/metrics`) and of the health pages (`/health`, `/ready`), such as
    /// `0.0.0.0:9020`. Default: none, no port is opened.
    pub metrics_address: Option<SocketAddr>,
    /// Address of gRPC's health service, such as `0.0.0.0:9021`. Default: none, no port is opened.
    pub grpc_health_address: Option<SocketAddr>,
    /// Format of log lines. Default: `human`.
    pub log_format: LogFormat,
    /// With a `wss://` address: trusted authorities and the client certificate.
    pub tls: TlsSettings,
    /// With `cuda`: prover servers in Docker.
    pub docker: DockerSettings,
    /// With `mock`: pseudo shards of proofs that several workers make.
    pub mock_shards: MockShards,
    /// First pause after an answer to a finished proof that does not come from Hierophant; later ones are longer. 15 s,
    /// because an operator has to change something first. Not a key of the file: tests change it.
    #[serde(skip)]
    pub foreign_pause: Duration,
}

/// A prover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendChoice {
    /// SP1 on the processor.
    Cpu,
    /// SP1 on CUDA GPUs, through prover servers.
    Cuda,
    /// Real execution and a mock proof.
    Mock,
}

/// A test of a prover server with the example program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfTest {
    /// The server sets it up, for which it builds its prover, and must derive the same verifying key.
    Setup,
    /// The server also makes a Core proof, which is verified.
    Prove,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hierophant_ws_address: format!("ws://127.0.0.1:9010{WEBSOCKET_PATH}"),
            name: None,
            instance: None,
            backend: BackendChoice::Cpu,
            modes: None,
            prefetch: None,
            shards_at_once: 4,
            recursive_shards: false,
            max_shard_bytes: 8 << 30,
            take_tasks: true,
            max_depot_bytes: 16 << 30,
            prover_endpoint: None,
            prover_command: None,
            prover_environment: BTreeMap::new(),
            gpus: None,
            prover_start_limit: Duration::from_secs(300),
            prover_self_test: SelfTest::Setup,
            prover_silence_limit: Duration::from_secs(120),
            data_dir: PathBuf::from("contemplant-data"),
            token: None,
            mock_proof_time: Duration::from_secs(2),
            reconnect_max_delay: Duration::from_secs(30),
            shutdown_grace: None,
            exit_when_idle: None,
            http_timeout: Duration::from_secs(30),
            max_decompressed_bytes: 4 << 30,
            metrics_address: None,
            grpc_health_address: None,
            log_format: LogFormat::Human,
            tls: TlsSettings::default(),
            docker: DockerSettings::default(),
            mock_shards: MockShards::default(),
            foreign_pause: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// Defaults for a test: the given Hierophant and data folder, a mock backend without delay, and no wait at
    /// the end.
    #[must_use]
    pub fn for_test(
        hierophant_ws_address: impl Into<String>,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            hierophant_ws_address: hierophant_ws_address.into(),
            data_dir: data_dir.into(),
            backend: BackendChoice::Mock,
            mock_proof_time: Duration::ZERO,
            reconnect_max_delay: Duration::from_millis(200),
            shutdown_grace: Some(Duration::ZERO),
            ..Self::default()
        }
    }

    /// Whether the prover servers that this program starts need GPUs.
    #[must_use]
    pub fn uses_gpus(&self) -> bool {
        self.docker.gpu_request || self.prover_command.is_some()
    }

    /// The GPUs to use, by their numbers.
    #[must_use]
    pub fn wanted_gpus(&self) -> Vec<u32> {
        let found = || {
            let count = gpu::look().ok()?.devices.len();
            u32::try_from(count).ok().filter(|count| *count > 0)
        };
        self.gpus.clone().unwrap_or_else(|| (0..found().unwrap_or(1)).collect())
    }

    /// How long work may continue after a signal. By default as long as most proofs of the backend take, because a
    /// proof that is handed back begins again elsewhere: hours of a GPU, many minutes of processors, seconds of a mock.
    #[must_use]
    pub fn shutdown_grace(&self) -> Duration {
        let default = match self.backend {
            BackendChoice::Cuda => Duration::from_secs(2 * 3600),
            BackendChoice::Cpu => Duration::from_secs(15 * 60),
            BackendChoice::Mock => Duration::from_secs(30),
        };
        self.shutdown_grace.unwrap_or(default)
    }

    /// Whether one job is leased ahead for each slot. By default only with `cuda`: with the others, execution and proof
    /// share the processors, so that preparing the next job would only delay the current one.
    #[must_use]
    pub fn prefetches(&self) -> bool {
        self.prefetch.unwrap_or(self.backend == BackendChoice::Cuda)
    }

    /// The kinds of proof to offer, as far as the machine can make them.
    #[must_use]
    pub fn wanted_modes(&self) -> Vec<ProofMode> {
        let default = match self.backend {
            BackendChoice::Cpu | BackendChoice::Cuda => &ProofMode::ALL[..2],
            BackendChoice::Mock => &ProofMode::ALL[..],
        };
        self.modes.clone().unwrap_or_else(|| default.to_vec())
    }
}

/// Loads this text as a file.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
fn load_text(text: &str) -> Result<Config, network_lib::config::ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("contemplant.toml");
    std::fs::write(&file, text).unwrap();
    network_lib::config::load(Some(&file), [])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use network_lib::config::{load, template};

    use super::*;

    #[test]
    fn the_template_is_valid_and_changes_nothing() {
        assert_eq!(load_text(TEMPLATE).unwrap(), Config::default());
    }

    #[test]
    fn the_template_names_every_key_with_its_default() {
        let examples = [
            "name",
            "instance",
            "prefetch",
            "token",
            "prover_command",
            "prover_environment",
            "prover_endpoint",
            "gpus",
            "shutdown_grace",
            "exit_when_idle",
            "metrics_address",
            "grpc_health_address",
        ];
        let docker_examples = ["engine", "memory_bytes", "registry_auth", "user"];
        let tls_examples = ["ca_certificate", "certificate", "key"];
        let is_example = |line: &str| {
            let key = line.split(" = ").next().unwrap_or_default();
            examples.contains(&key) || docker_examples.contains(&key) || tls_examples.contains(&key)
        };
        let uncommented: String = TEMPLATE
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .filter(|line| line.contains(" = ") || line.starts_with('['))
            .filter(|line| !is_example(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = load_text(&uncommented).unwrap();
        let modes = Some(Config::default().wanted_modes());
        assert_eq!(config, Config { modes, ..Config::default() });
        for key in examples.iter().chain(&docker_examples).chain(&tls_examples) {
            assert!(TEMPLATE.contains(&format!("# {key} = ")), "{key}");
        }
    }

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let defaults = toml::Table::try_from(Config::default()).unwrap();
        let wrong = template::differences(TEMPLATE, &defaults);
        assert!(
            wrong.is_empty(),
            "contemplant.example.toml:{}",
            wrong.join("\ncontemplant.example.toml:")
        );
    }

    #[test]
    fn the_grace_fits_the_backend_unless_it_is_set() {
        for (backend, minutes) in [("cuda", 120.0), ("cpu", 15.0), ("mock", 0.5)] {
            let config = load_text(&format!("backend = \"{backend}\"")).unwrap();
            assert_eq!(config.shutdown_grace().as_secs_f64(), 60.0 * minutes, "{backend}");
        }
        assert!(TEMPLATE.contains("Default: 2h with cuda, 15m with cpu, 30s with mock."));
        let set = load_text("backend = \"cuda\"\nshutdown_grace = \"0s\"").unwrap();
        assert_eq!(set.shutdown_grace(), Duration::ZERO);
    }

    #[test]
    fn jobs_are_leased_ahead_with_cuda_unless_it_is_set() {
        for (backend, default) in [("cuda", true), ("cpu", false), ("mock", false)] {
            let of = |key: &str| load_text(&format!("backend = \"{backend}\"\n{key}")).unwrap();
            assert_eq!(of("").prefetches(), default, "{backend}");
            assert!(of("prefetch = true").prefetches(), "{backend}");
            assert!(!of("prefetch = false").prefetches(), "{backend}");
        }
        assert!(TEMPLATE.contains("Default: true with cuda, false with cpu and mock"));
    }

    #[test]
    fn a_rented_machine_s_number_is_an_instance() {
        let number = [("CONTEMPLANT_INSTANCE".to_owned(), "12345678".to_owned())];
        let config = load::<Config>(None, number).unwrap();
        assert_eq!(config.instance.as_deref(), Some("12345678"));
    }

    #[test]
    fn the_original_s_key_for_an_endpoint_is_read() {
        let config = load_text("moongate_endpoint = \"unix:///run/prover.sock\"").unwrap();
        assert_eq!(config.prover_endpoint.as_deref(), Some("unix:///run/prover.sock"));
    }

    #[test]
    fn the_token_is_not_printed() {
        let token = Some(Secret::from("very secret"));
        let config = Config { token, ..Config::default() };
        assert!(!format!("{config:?}").contains("very secret"));
    }
}
