//! Configuration: one TOML file, `contemplant.toml`, overridden by `CONTEMPLANT_…` variables.

mod docker;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use network_lib::config::{Faults, Settings};
use network_lib::job::ProofMode;
use network_lib::logging::LogFormat;
use network_lib::secret::Secret;
use network_lib::wire::WEBSOCKET_PATH;
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::docker::DockerSettings;
pub use self::tls::TlsSettings;
use crate::gpu;
use crate::processes::OWN_VARIABLES;

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
    /// Folder for the identity of this installation, finished proofs until Hierophant has stored them,
    /// verifying keys, and downloads while they are needed. Default: `contemplant-data` in the working
    /// folder, so that no setup is needed.
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
    /// Time without an attempt, connected and ready, after which the program ends. Default: none, it waits for work
    /// without end.
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
            foreign_pause: Duration::from_secs(15),
        }
    }
}

impl Settings for Config {
    const ENV_PREFIX: &'static str = "CONTEMPLANT";

    fn validate(&self, faults: &mut Faults) {
        if let Err(message) = endpoints(&self.hierophant_ws_address) {
            faults.add("hierophant_ws_address", message);
        }
        for (key, text) in [("name", &self.name), ("instance", &self.instance)] {
            if let Some(text) = text
                && (text.trim().is_empty() || text.len() > 64 || text.chars().any(char::is_control))
            {
                faults.add(key, "must be 1 to 64 bytes without control characters");
            }
        }
        if let Some(modes) = &self.modes {
            let mut distinct = modes.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if modes.is_empty() || distinct.len() != modes.len() {
                faults.add("modes", "must name at least one kind of proof, each once");
            }
        }
        self.validate_servers(faults);
        tls::validate(&self.tls, faults);
        if self.data_dir.as_os_str().is_empty() {
            faults.add("data_dir", "must not be empty: expected a folder");
        }
        if self.token.as_ref().is_some_and(|token| token.reveal().trim().is_empty()) {
            faults.add("token", "must not be empty: omit it if Hierophant requires none");
        }
        if self.reconnect_max_delay < Duration::from_millis(100) {
            faults.add("reconnect_max_delay", "must be at least 100ms, to not overload Hierophant");
        }
        if self.exit_when_idle.is_some_and(|limit| limit < MIN_EXIT_WHEN_IDLE) {
            faults
                .add("exit_when_idle", "must be at least 1s: omit it to wait for work without end");
        }
        if self.http_timeout < Duration::from_secs(1) {
            faults.add("http_timeout", "must be at least 1s");
        }
        if self.max_decompressed_bytes < 1 << 20 {
            faults.add("max_decompressed_bytes", "must be at least 1048576 (1 MiB)");
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

    fn validate_servers(&self, faults: &mut Faults) {
        if let Some(endpoint) = &self.prover_endpoint {
            if !socket_of(endpoint).is_absolute() {
                faults.add(
                    "prover_endpoint",
                    "must be the path of a socket, such as unix:///tmp/sp1-cuda-0.sock",
                );
            }
            if self.prover_command.is_some() {
                faults.add("prover_command", "cannot be set together with `prover_endpoint`");
            }
        }
        if self.prover_command.as_ref().is_some_and(Vec::is_empty) {
            faults.add("prover_command", "must name a program, such as [\"sp1-gpu-server\"]");
        }
        if let Some(gpus) = &self.gpus {
            let distinct: BTreeSet<u32> = gpus.iter().copied().collect();
            if gpus.is_empty() || distinct.len() != gpus.len() {
                faults.add("gpus", "must name at least one GPU, each once");
            }
        }
        if self.prover_start_limit < Duration::from_secs(1) {
            faults.add("prover_start_limit", "must be at least 1s");
        }
        if self.prover_silence_limit < Duration::from_secs(1) {
            faults.add("prover_silence_limit", "must be at least 1s");
        }
        for (name, value) in &self.prover_environment {
            let message = if SERVER_VARIABLES.contains(&name.as_str()) {
                format!("must not set `{name}`: Contemplant sets it for each prover server")
            } else if name.starts_with(OWN_VARIABLES) {
                format!(
                    "must not set `{name}`: names that start with {OWN_VARIABLES} are Contemplant's own"
                )
            } else if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                format!("must not set {name:?}: expected a name without `=`, and no NUL characters")
            } else {
                continue;
            };
            faults.add("prover_environment", message);
        }
        if self.docker.image.trim().is_empty() {
            faults.add("docker.image", "must name an image");
        }
        if self.docker.engine.as_ref().is_some_and(|engine| !engine.starts_with("unix://")) {
            faults.add("docker.engine", "must be a socket, such as unix:///var/run/docker.sock");
        }
        if self.docker.user.as_ref().is_some_and(|user| !docker::is_user(user)) {
            faults.add("docker.user", "must be numbers, such as \"1000:1000\"");
        }
        if self.docker.network.trim().is_empty() {
            faults.add("docker.network", "must name a network, such as \"none\" or \"bridge\"");
        }
        // Docker accepts no less than 6 MiB, and no more than a signed 64-bit number holds.
        if self.docker.memory_bytes.is_some_and(|bytes| !(6 << 20..1 << 62).contains(&bytes)) {
            faults.add("docker.memory_bytes", "must be at least 6291456 (6 MiB)");
        }
        if !(1 << 20..1 << 62).contains(&self.docker.shm_bytes) {
            faults.add("docker.shm_bytes", "must be at least 1048576 (1 MiB)");
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

/// The path in an endpoint such as `unix:///tmp/sp1-cuda-0.sock`; a plain path is accepted too.
#[must_use]
pub fn socket_of(endpoint: &str) -> PathBuf {
    PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint))
}

/// Addresses of Hierophant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The WebSocket for control.
    pub websocket: Url,
    /// Base URL of the paths of programs, inputs and proofs; without a slash at its end.
    pub http: String,
}

/// Derives both addresses from the one that is configured.
///
/// # Errors
///
/// What is wrong with the address and what is expected.
pub fn endpoints(address: &str) -> Result<Endpoints, String> {
    let example = "expected an address like ws://10.0.0.1:9010/ws";
    let mut websocket =
        Url::parse(address).map_err(|error| format!("is not a URL ({error}): {example}"))?;
    let scheme = match websocket.scheme() {
        "ws" => "http",
        "wss" => "https",
        other => return Err(format!("must start with ws:// or wss://, not {other}://: {example}")),
    };
    let Some(host) = websocket.host_str().map(str::to_owned) else {
        return Err(format!("has no host: {example}"));
    };
    if websocket.path() == "/" {
        websocket.set_path(WEBSOCKET_PATH);
    }
    let port = websocket.port().map(|port| format!(":{port}")).unwrap_or_default();
    // Behind a reverse proxy both may have a common prefix.
    let prefix = websocket.path().strip_suffix(WEBSOCKET_PATH).unwrap_or_default();
    let http = format!("{scheme}://{host}{port}{prefix}");
    Ok(Endpoints { websocket, http })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use network_lib::config::{load, template};

    use super::*;

    fn load_text(text: &str) -> Result<Config, network_lib::config::ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("contemplant.toml");
        std::fs::write(&file, text).unwrap();
        load(Some(&file), [])
    }

    #[test]
    fn the_template_is_valid_and_changes_nothing() {
        assert_eq!(load_text(TEMPLATE).unwrap(), Config::default());
    }

    #[test]
    fn the_template_names_every_key_with_its_default() {
        let examples = [
            "name",
            "instance",
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
    fn all_faults_are_found_at_once() {
        let error = load_text(
            "prover_endpoint = \"sock\"\nprover_command = []\ngpus = [1, 1]\nprover_start_limit = \"0s\"\n\
             prover_silence_limit = \"0s\"\nprover_environment = { HOME = \"/x\" }\n\
             hierophant_ws_address = \"http://x\"\nmodes = []\ntoken = \"\"\nhttp_timeout = \"1ms\"\n\
             name = \"\"\ninstance = \" \"\nexit_when_idle = \"0s\"\nmax_decompressed_bytes = 1\nreconnect_max_delay = \"0s\"\nbackend = \"gpu\"\n\
             [tls]\ncertificate = \"x\"\n\
             [docker]\nimage = \"\"\nengine = \"tcp://x\"\nmemory_bytes = 1\nshm_bytes = 1\nuser = \"me\"\n\
             network = \"\"\n",
        )
        .unwrap_err();
        assert_eq!(error.faults.len(), 23, "{error}");
        assert!(error.to_string().contains("must start with ws:// or wss://"), "{error}");
    }

    #[test]
    fn a_server_s_environment_is_read_and_cannot_replace_what_contemplant_sets() {
        let config =
            load_text("[prover_environment]\nMEMORY_LIMIT = \"8\"\nA = \"x=y z\"").unwrap();
        let expected = [("MEMORY_LIMIT", "8"), ("A", "x=y z")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(config.prover_environment, BTreeMap::from(expected));
        let variable = "CONTEMPLANT_PROVER_ENVIRONMENT".to_owned();
        let by_variable: Config = load(None, [(variable, "{ A = \"x\" }".to_owned())]).unwrap();
        assert_eq!(by_variable.prover_environment["A"], "x");
        for (name, words) in [
            ("CUDA_VISIBLE_DEVICES", "Contemplant sets it for each prover server"),
            ("CONTEMPLANT_TOKEN", "are Contemplant's own"),
            ("A=B", "expected a name without `=`"),
            ("", "expected a name without `=`"),
        ] {
            let text = format!("prover_environment = {{ \"{name}\" = \"x\" }}");
            let error = load_text(&text).unwrap_err().to_string();
            assert!(error.contains("key `prover_environment`: must not set"), "{error}");
            assert!(error.contains(words), "{error}");
        }
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
    fn http_goes_where_the_websocket_goes() {
        let http = |address: &str| endpoints(address).unwrap().http;
        assert_eq!(http("ws://127.0.0.1:9010/ws"), "http://127.0.0.1:9010");
        assert_eq!(http("wss://prover.example.org/ws"), "https://prover.example.org");
        assert_eq!(http("wss://example.org:8443/prover/ws"), "https://example.org:8443/prover");
        assert_eq!(http("ws://[::1]:9010/ws"), "http://[::1]:9010");
        let bare = endpoints("ws://10.0.0.1:9010").unwrap();
        assert_eq!(bare.websocket.as_str(), "ws://10.0.0.1:9010/ws");
        assert!(endpoints("10.0.0.1:9010").is_err());
    }

    #[test]
    fn the_token_is_not_printed() {
        let token = Some(Secret::from("very secret"));
        let config = Config { token, ..Config::default() };
        assert!(!format!("{config:?}").contains("very secret"));
    }
}
