//! Hierophant's configuration: one TOML file, every key with a default. `hierophant init` writes
//! [`TEMPLATE`].

mod bucket;
mod calls;
mod clients;
mod dashboard;
mod limits;
mod operators;
mod profile;
mod proofs;
mod retention;
mod secrets;
mod sharding;
mod storage;
mod tls;
mod webhooks;
mod workers;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use alloy_primitives::Address;
use network_lib::config::{Faults, Settings};
use network_lib::logging::LogFormat;
use network_lib::secret::Secret;
use serde::{Deserialize, Serialize};

pub use bucket::BucketSettings;
pub use calls::{CallsConfig, ListAccess};
pub use clients::{ClientConfig, Network, QuotasConfig};
pub use dashboard::DashboardConfig;
pub use limits::LimitsConfig;
pub use operators::{OperatorsConfig, TOKEN_VARIABLE};
pub use profile::Profile;
pub use proofs::ProofsConfig;
pub use retention::RetentionConfig;
pub use sharding::ShardingConfig;
pub use storage::{StorageConfig, WrongSetting};
pub use tls::{PeerCertificates, TlsConfig};
pub use webhooks::{Ending, WebhookConfig};
pub use workers::WorkerRegistryConfig;

/// The commented file that `hierophant init` writes.
pub const TEMPLATE: &str = include_str!("../hierophant.example.toml");

/// File that is read without `--config`.
pub const DEFAULT_FILE: &str = "hierophant.toml";

/// Client authentication mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// All requests; signatures are not checked, the requester is the address they recover to, if any.
    None,
    /// Requests with a valid signature.
    #[default]
    Verify,
    /// Requests signed by a listed address: `allowlist` and `[[clients]]`.
    Allowlist,
    /// Requests with a client token and a valid signature; reads need the token too.
    Token,
}

/// Workers that may get private inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivateInputs {
    /// All admitted workers.
    #[default]
    AllWorkers,
    /// Workers with a token of their own of role `private-worker`.
    PrivateWorkers,
}

/// The complete configuration: plain data, without side effects.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// How careful the start is with what it opens to other machines. Default `standard`.
    pub profile: Profile,
    /// Address to listen on. Default `0.0.0.0`: clients are on other machines.
    pub bind_address: IpAddr,
    /// Port for SDK clients. Default 9000.
    pub grpc_port: u16,
    /// Port for uploads, proofs, workers and operators. Default 9010.
    pub http_port: u16,
    /// Folder for database and artifacts. Default `hierophant-data`.
    pub data_dir: PathBuf,
    /// A Postgres database. Default none: an SQLite file in `data_dir`.
    pub database_url: Option<Secret>,
    /// URL at which clients reach the HTTP port. Default: the host name that they used for the gRPC port.
    pub public_http_url: Option<String>,
    /// Client authentication mode. Default `verify`.
    pub auth: AuthMode,
    /// Addresses for `allowlist`, in addition to those of `[[clients]]`. Default none.
    pub allowlist: Vec<Address>,
    /// Secret shared by all workers, in addition to tokens of individual workers. Default none: until such a
    /// token exists, only workers on this machine are admitted.
    pub worker_token: Option<Secret>,
    /// Workers that may get private inputs. Default `all_workers`.
    pub private_inputs: PrivateInputs,
    /// Whether workers that make mock proofs are admitted. Default no: mock proofs prove nothing.
    pub mock_mode: bool,
    /// Largest upload in bytes. Default 8 GiB.
    pub max_artifact_bytes: u64,
    /// Log lines for people or for programs. Default for people.
    pub log_format: LogFormat,
    /// Section `[proofs]`.
    pub proofs: ProofsConfig,
    /// Section `[sharding]`.
    pub sharding: ShardingConfig,
    /// Section `[worker_registry]`.
    pub worker_registry: WorkerRegistryConfig,
    /// Section `[limits]`.
    pub limits: LimitsConfig,
    /// Section `[tls]`.
    pub tls: TlsConfig,
    /// Section `[operators]`.
    pub operators: OperatorsConfig,
    /// Section `[retention]`.
    pub retention: RetentionConfig,
    /// Section `[storage]`.
    pub storage: StorageConfig,
    /// Receivers of webhooks, by `[[webhooks]]`. Default none.
    pub webhooks: Vec<WebhookConfig>,
    /// Section `[dashboard]`.
    pub dashboard: DashboardConfig,
    /// Section `[quotas]`.
    pub quotas: QuotasConfig,
    /// Section `[calls]`.
    pub calls: CallsConfig,
    /// Clients by name, by `[[clients]]`. Default none.
    pub clients: Vec<ClientConfig>,
    /// Program whose command `verify-proofs` checks proofs, in a process of its own. Not a key of the file. Default
    /// this program; `None` = proofs are checked in this process, without limits, for simulations.
    #[serde(skip)]
    pub check_program: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            grpc_port: 9000,
            http_port: 9010,
            data_dir: "hierophant-data".into(),
            database_url: None,
            public_http_url: None,
            auth: AuthMode::default(),
            allowlist: Vec::new(),
            worker_token: None,
            private_inputs: PrivateInputs::default(),
            mock_mode: false,
            max_artifact_bytes: 8 << 30,
            log_format: LogFormat::default(),
            proofs: ProofsConfig::default(),
            sharding: ShardingConfig::default(),
            worker_registry: WorkerRegistryConfig::default(),
            limits: LimitsConfig::default(),
            tls: TlsConfig::default(),
            operators: OperatorsConfig::default(),
            retention: RetentionConfig::default(),
            storage: StorageConfig::default(),
            webhooks: Vec::new(),
            dashboard: DashboardConfig::default(),
            quotas: QuotasConfig::default(),
            calls: CallsConfig::default(),
            clients: Vec::new(),
            // It is found even after its file has been replaced.
            check_program: Some("/proc/self/exe".into()),
        }
    }
}

impl Config {
    /// Defaults for tests: everything on this machine, in `data_dir`.
    #[must_use]
    pub fn for_test(data_dir: PathBuf) -> Self {
        Self {
            bind_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            grpc_port: 0,
            http_port: 0,
            data_dir,
            // Tests do not depend on how full the disk is.
            storage: StorageConfig { min_free_bytes: 0, ..StorageConfig::default() },
            // Nor on how fast the client's machine is.
            quotas: QuotasConfig::unlimited(),
            calls: CallsConfig { per_ip_per_second: 0, ..CallsConfig::default() },
            // This program is a test, which has no such command.
            check_program: None,
            ..Self::default()
        }
    }

    /// The addresses admitted by `auth = "allowlist"`.
    pub fn listed(&self) -> impl Iterator<Item = Address> {
        let clients = self.clients.iter().flat_map(ClientConfig::all_addresses);
        self.allowlist.iter().copied().chain(clients)
    }
}

impl Settings for Config {
    const ENV_PREFIX: &'static str = "HIEROPHANT";
    const OTHER_VARIABLES: &'static [&'static str] = &[TOKEN_VARIABLE];

    fn validate(&self, faults: &mut Faults) {
        if self.grpc_port == self.http_port && self.grpc_port != 0 {
            let port = self.http_port;
            faults.add("http_port", format!("{port} is also `grpc_port`: expected another port"));
        }
        if let Some(url) = &self.database_url
            && let Err(fault) = hierophant_store::postgres::check_url(url.reveal())
        {
            faults.add(
                "database_url",
                format!(
                    "{fault}: expected one like \"postgres://user:password@host:5432/database\""
                ),
            );
        }
        if let Some(url) = &self.public_http_url {
            let scheme = url.starts_with("http://") || url.starts_with("https://");
            if !scheme || url.parse::<axum::http::Uri>().is_err() {
                faults.add(
                    "public_http_url",
                    format!(
                        "invalid URL {url:?}: expected an http:// or https:// URL like \
                         \"https://proofs.example.org\""
                    ),
                );
            }
        }
        if self.auth == AuthMode::Allowlist && self.listed().next().is_none() {
            faults.add(
                "allowlist",
                "is empty, so with `auth = \"allowlist\"` every client would be refused: expected \
                 addresses here or in `[[clients]]`",
            );
        }
        if self.worker_token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
            faults.add("worker_token", "is empty: expected a secret, or no such key");
        }
        if self.max_artifact_bytes == 0 {
            faults.add(
                "max_artifact_bytes",
                "is 0, so every upload would be refused: expected a size in bytes",
            );
        }
        self.proofs.validate(faults);
        self.sharding.validate(faults);
        self.worker_registry.validate(faults);
        self.limits.validate(faults);
        self.tls.validate(faults);
        self.retention.validate(self.proofs.quarantine, faults);
        self.storage.validate(self.max_artifact_bytes, faults);
        self.dashboard.validate(faults);
        self.calls.validate(faults);
        webhooks::validate(&self.webhooks, &self.clients, faults);
        clients::validate(&self.clients, faults);
        secrets::validate(self, faults);
        profile::validate(self, faults);
    }
}

#[cfg(test)]
mod tests {
    use network_lib::config::template;

    use super::*;

    /// What the template does not call an example is a default, and no key is left out.
    #[test]
    fn the_template_shows_every_key_with_its_default() {
        let mut defaults = toml::Table::try_from(Config::default()).expect("serializes");
        for list in ["allowlist", "clients", "webhooks"] {
            defaults.remove(list);
        }
        let wrong = template::differences(TEMPLATE, &defaults);
        assert!(
            wrong.is_empty(),
            "hierophant.example.toml:{}",
            wrong.join("\nhierophant.example.toml:")
        );
        let sections = template::sections(TEMPLATE);
        let keys = sections.iter().flat_map(|section| &section.keys);
        let examples: Vec<&str> =
            keys.filter(|key| key.default.is_some()).map(|key| key.name.as_str()).collect();
        assert_eq!(
            examples,
            [
                "database_url",
                "public_http_url",
                "allowlist",
                "worker_token",
                "certificate",
                "key",
                "client_ca",
                "admin_address",
                "on_public_port",
                "records",
                "max_bytes",
                "artifacts_url",
                "s3_endpoint",
                "s3_region",
                "s3_access_key_id",
                "s3_secret_access_key",
                "clients",
                "address",
                "networks",
                "sharding",
            ]
        );
    }

    /// A command that only asks a running Hierophant leaves the file system as it is.
    #[test]
    fn validation_writes_nothing() {
        let folder = tempfile::tempdir().expect("temp dir");
        let text = format!("data_dir = \"{}/data\"\n", folder.path().display());
        let config: Config = network_lib::config::parse(&text, "test", []).expect("valid");
        assert!(!config.data_dir.exists());
        assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 0);
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("hierophant.toml");
        let text = format!(
            "grpc_port = 9010\nauth = \"allowlist\"\npublic_http_url = \"example.org\"\n\
             max_artifact_bytes = 0\nworker_token = \"\"\ndata_dir = \"{}/hierophant.toml/x\"\n\
             database_url = \"sqlite:x\"\nmock = true\n[proofs]\nrace_after = 0.5\n[worker_registry]\nsilence_limit = \"1s\"\nmax_workers = 0\n\
             [retention]\nunused_uploads = \"1s\"\naudit = \"1s\"\nrecords = \"1s\"\n[dashboard]\nprice_per_hour = -1.0\n\
             [storage]\nartifacts_url = \"bucket\"\n[sharding]\nwindow_bytes = 1\n[limits]\nupload_window = \"1ms\"\n",
            folder.path().display()
        );
        std::fs::write(&file, text).expect("writes");
        let error = network_lib::config::load::<Config>(Some(&file), []).expect_err("must fail");
        let mut keys: Vec<&str> = error.faults.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "allowlist",
                "dashboard.price_per_hour",
                "database_url",
                "http_port",
                "limits.upload_window",
                "max_artifact_bytes",
                "mock",
                "proofs.race_after",
                "public_http_url",
                "retention.audit",
                "retention.records",
                "retention.unused_uploads",
                "sharding.max_blob_bytes",
                "sharding.window_bytes",
                "storage.artifacts_url",
                "worker_registry.max_workers",
                "worker_registry.silence_limit",
                "worker_token",
            ]
        );
    }
}
