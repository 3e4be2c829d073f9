//! Hierophant's configuration: one TOML file, every key with a default. `hierophant init` writes
//! [`TEMPLATE`].

mod limits;
mod tls;
mod webhooks;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use network_lib::config::{Faults, Settings};
use network_lib::ids::WorkerId;
use network_lib::job::ProofMode;
use network_lib::logging::LogFormat;
use serde::{Deserialize, Serialize};

use crate::artifacts::blobs::bucket::BucketSettings;
use crate::artifacts::retention;
use crate::proofs::actor::millis;
use crate::proofs::core::Limits;
use crate::registry::core::Rules;

pub use limits::LimitsConfig;
pub use tls::{PeerCertificates, TlsConfig};
pub use webhooks::{Ending, WebhookConfig};

/// The commented file that `hierophant init` writes.
pub const TEMPLATE: &str = include_str!("../hierophant.template.toml");

/// File that is read when `--config` names none.
pub const DEFAULT_FILE: &str = "hierophant.toml";

/// Shorter times in `[retention]` are refused: slow uploads and retried calls take minutes.
const SHORTEST_RETENTION: Duration = Duration::from_secs(600);

/// Whose requests are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Anybody's; signatures are not looked at, the requester is whoever they recover to, if anybody.
    None,
    /// Anybody's with a valid signature.
    #[default]
    Verify,
    /// Only those of listed addresses.
    Allowlist,
}

/// A secret that does not show in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Address to listen on. Default `0.0.0.0`: clients are elsewhere.
    pub bind_address: IpAddr,
    /// Port for SDK clients. Default 9000.
    pub grpc_port: u16,
    /// Port for uploads, proofs, Contemplants and status. Default 9010.
    pub http_port: u16,
    /// Folder for database and artifacts. Default `hierophant-data`.
    pub data_dir: PathBuf,
    /// A Postgres database instead of the file in `data_dir`, which is the default.
    pub database_url: Option<Secret>,
    /// How clients reach the HTTP port. Default: the name by which they called the gRPC port.
    pub public_http_url: Option<String>,
    /// Whose requests are accepted. Default `verify`.
    pub auth: AuthMode,
    /// Addresses for `allowlist`. Default none.
    pub allowlist: Vec<Address>,
    /// Secret that Contemplants present. Default none: only those on this machine are admitted.
    pub worker_token: Option<Secret>,
    /// Whether mock proofs are taken. Default no: they prove nothing.
    pub mock_mode: bool,
    /// Largest upload in bytes. Default 8 GiB.
    pub max_artifact_bytes: u64,
    /// Log lines for people or for programs. Default for people.
    pub log_format: LogFormat,
    /// Section `[proofs]`.
    pub proofs: ProofsConfig,
    /// Section `[worker_registry]`.
    pub worker_registry: WorkerRegistryConfig,
    /// Section `[limits]`.
    pub limits: LimitsConfig,
    /// Section `[tls]`.
    pub tls: TlsConfig,
    /// Section `[retention]`.
    pub retention: RetentionConfig,
    /// Section `[storage]`.
    pub storage: StorageConfig,
    /// Who is told when requests end, by `[[webhooks]]`. Default nobody.
    pub webhooks: Vec<WebhookConfig>,
    /// Section `[dashboard]`.
    pub dashboard: DashboardConfig,
}

/// Section `[proofs]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ProofsConfig {
    /// How often a job may fail by its Contemplant's fault. Default 3.
    pub max_attempts: NonZeroU32,
    /// How many jobs may wait. Default 10,000.
    pub max_waiting: NonZeroUsize,
    /// Kinds of proof that go before all others. Default PLONK and Groth16: an aggregation waits for
    /// nothing but itself, and what it aggregates is proved already.
    pub urgent_modes: Vec<ProofMode>,
    /// An attempt that has taken, or by its own progress will still take, so many times as long as such
    /// proofs usually do is raced by an idle Contemplant; 0 = never, which is the default: a race spends
    /// a second machine's power on the same proof.
    pub race_after: f64,
    /// How long an attempt may take; 0 = no limit. Default 4 h, the longest time that SDK clients wait.
    #[serde(with = "humantime_serde")]
    pub attempt_limit: Duration,
    /// How long content that was given up is not tried again when somebody asks for it. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub quarantine: Duration,
}

/// Section `[worker_registry]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerRegistryConfig {
    /// Most Contemplants at once. Default 1000.
    pub max_workers: NonZeroUsize,
    /// How often a Contemplant gives a sign of life. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Silence after which a Contemplant counts as gone. Default 20 s: four missed heartbeats.
    #[serde(with = "humantime_serde")]
    pub silence_limit: Duration,
    /// After a start: how long Contemplants that held attempts have to come back before their work
    /// goes elsewhere. Default 2 min: twice the longest pause between their attempts to connect.
    #[serde(with = "humantime_serde")]
    pub return_limit: Duration,
    /// Minutes without measured progress after which an attempt is taken away; 0 = never. Default 30.
    pub worker_required_progress_interval_mins: u32,
    /// Attempts that may fail by a Contemplant's fault before it is suspended; 0 = never. Default 5.
    pub max_strikes: usize,
    /// How long a strike counts. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub strike_decay: Duration,
    /// Worker ids and IP addresses that are turned away. Default none.
    pub blocked: Vec<String>,
}

/// Section `[retention]`: for how long bytes are kept. Records of requests and jobs are never removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RetentionConfig {
    /// A proof, after a client has fetched it and after the deadlines of its requests. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub proofs_after_delivery: Duration,
    /// A proof that was not fetched, after the deadlines of its requests. Default 30 days.
    #[serde(with = "humantime_serde")]
    pub proofs_undelivered: Duration,
    /// An input, after the last job that uses it has ended. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub inputs_after_end: Duration,
    /// An upload that nothing uses, and a ticket that is not used. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub unused_uploads: Duration,
}

/// Section `[storage]`: where uploads and proofs lie, and how much of it may be used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageConfig {
    /// Bytes that stay free on the disk of `data_dir`; when there are fewer, new uploads and requests
    /// are told to try again later. Default 2 GiB: room for the proofs of what was accepted.
    pub min_free_bytes: u64,
    /// Most bytes of uploads and proofs; beyond it likewise. Default none: as much as the disk holds.
    pub max_bytes: Option<u64>,
    /// Where uploads and proofs lie, `s3://bucket/prefix`. Default none: in the folder `artifacts` in
    /// `data_dir`, which then holds only what is being written.
    pub artifacts_url: Option<String>,
    /// Address of the service that has the bucket. Default none: `AWS_ENDPOINT_URL`, or Amazon's. Only an
    /// `http://` address is spoken to in plain.
    pub s3_endpoint: Option<String>,
    /// Region of the bucket. Default none: `AWS_REGION`, or `us-east-1`.
    pub s3_region: Option<String>,
    /// Access key id. Default none: `AWS_ACCESS_KEY_ID`, or the machine's role.
    pub s3_access_key_id: Option<Secret>,
    /// Secret access key. Default none: `AWS_SECRET_ACCESS_KEY`, or the machine's role.
    pub s3_secret_access_key: Option<Secret>,
    /// Whether the bucket's name is part of the host's name (`bucket.host`) instead of the path. Default no:
    /// every service knows it in the path.
    pub s3_virtual_host: bool,
}

/// Section `[dashboard]`: what operators are shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct DashboardConfig {
    /// What a Contemplant costs in an hour; 0 = not known, which is the default: no costs are shown.
    pub price_per_hour: f64,
    /// In which currency. Default `USD`.
    pub currency: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            grpc_port: 9000,
            http_port: 9010,
            data_dir: "hierophant-data".into(),
            database_url: None,
            public_http_url: None,
            auth: AuthMode::default(),
            allowlist: Vec::new(),
            worker_token: None,
            mock_mode: false,
            max_artifact_bytes: 8 << 30,
            log_format: LogFormat::default(),
            proofs: ProofsConfig::default(),
            worker_registry: WorkerRegistryConfig::default(),
            limits: LimitsConfig::default(),
            tls: TlsConfig::default(),
            retention: RetentionConfig::default(),
            storage: StorageConfig::default(),
            webhooks: Vec::new(),
            dashboard: DashboardConfig::default(),
        }
    }
}

impl Default for ProofsConfig {
    fn default() -> Self {
        Self {
            max_attempts: const { NonZeroU32::new(3).expect("not zero") },
            max_waiting: const { NonZeroUsize::new(10_000).expect("not zero") },
            urgent_modes: vec![ProofMode::Plonk, ProofMode::Groth16],
            race_after: 0.0,
            attempt_limit: Duration::from_secs(4 * 3600),
            quarantine: Duration::from_secs(3600),
        }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            proofs_after_delivery: DAY,
            proofs_undelivered: DAY * 30,
            inputs_after_end: DAY,
            unused_uploads: DAY,
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            min_free_bytes: 2 << 30,
            max_bytes: None,
            artifacts_url: None,
            s3_endpoint: None,
            s3_region: None,
            s3_access_key_id: None,
            s3_secret_access_key: None,
            s3_virtual_host: false,
        }
    }
}

impl Default for DashboardConfig {
    fn default() -> Self {
        Self { price_per_hour: 0.0, currency: "USD".to_owned() }
    }
}

impl Default for WorkerRegistryConfig {
    fn default() -> Self {
        Self {
            max_workers: const { NonZeroUsize::new(1000).expect("not zero") },
            heartbeat_interval: Duration::from_secs(5),
            silence_limit: Duration::from_secs(20),
            return_limit: Duration::from_secs(120),
            worker_required_progress_interval_mins: 30,
            max_strikes: 5,
            strike_decay: Duration::from_secs(3600),
            blocked: Vec::new(),
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
            ..Self::default()
        }
    }

    /// Bounds of the scheduler.
    #[must_use]
    pub fn proof_limits(&self) -> Limits {
        let registry = &self.worker_registry;
        Limits {
            max_attempts: self.proofs.max_attempts.get(),
            max_waiting: self.proofs.max_waiting.get(),
            urgent_modes: self.proofs.urgent_modes.clone(),
            race_after: self.proofs.race_after,
            attempt_limit_ms: millis(self.proofs.attempt_limit),
            stall_limit_ms: i64::from(registry.worker_required_progress_interval_mins) * 60_000,
            unlisted_limit_ms: millis(registry.silence_limit),
            return_limit_ms: millis(registry.return_limit),
            max_strikes: registry.max_strikes,
            strike_decay_ms: millis(registry.strike_decay),
        }
    }

    /// For how long bytes are kept.
    #[must_use]
    pub const fn retention_rules(&self) -> retention::Rules {
        let config = &self.retention;
        retention::Rules {
            proofs_after_delivery: config.proofs_after_delivery,
            proofs_undelivered: config.proofs_undelivered,
            inputs_after_end: config.inputs_after_end,
            unused_uploads: config.unused_uploads,
        }
    }

    /// Rules for Contemplants.
    #[must_use]
    pub fn registry_rules(&self) -> Rules {
        let silence = self.worker_registry.silence_limit.as_millis();
        Rules {
            max_workers: self.worker_registry.max_workers.get(),
            silence_limit_ms: u64::try_from(silence).unwrap_or(u64::MAX),
            mock_mode: self.mock_mode,
            token: self.worker_token.as_ref().map(|token| token.0.clone()),
            blocked: self.worker_registry.blocked.clone(),
        }
    }
}

impl Settings for Config {
    const ENV_PREFIX: &'static str = "HIEROPHANT";

    fn validate(&self, faults: &mut Faults) {
        if self.grpc_port == self.http_port && self.grpc_port != 0 {
            let port = self.http_port;
            faults.add("http_port", format!("{port} is also `grpc_port`; choose another port"));
        }
        if let Some(url) = &self.database_url
            && let Err(fault) = crate::store::postgres::check_url(&url.0)
        {
            faults.add(
                "database_url",
                format!("{fault}; write it like \"postgres://user:password@host:5432/database\""),
            );
        }
        if let Some(url) = &self.public_http_url {
            let scheme = url.starts_with("http://") || url.starts_with("https://");
            if !scheme || url.parse::<axum::http::Uri>().is_err() {
                faults.add(
                    "public_http_url",
                    format!("{url:?} is no http:// or https:// URL; write it like \"https://proofs.example.org\""),
                );
            }
        }
        if self.auth == AuthMode::Allowlist && self.allowlist.is_empty() {
            faults.add(
                "allowlist",
                "is empty, so with `auth = \"allowlist\"` nobody could ask for proofs; add addresses",
            );
        }
        if self.worker_token.as_ref().is_some_and(|token| token.0.is_empty()) {
            faults.add("worker_token", "is empty; remove the key or write a secret");
        }
        if self.max_artifact_bytes == 0 {
            faults.add(
                "max_artifact_bytes",
                "is 0, so nothing could be uploaded; write a size in bytes",
            );
        }
        let race_after = self.proofs.race_after;
        // Written so that "not a number" is a fault too.
        if race_after != 0.0 && !(1.0..=1000.0).contains(&race_after) {
            faults.add(
                "proofs.race_after",
                format!("{race_after} is neither 0 (never) nor 1 to 1000; write a number like 2.0"),
            );
        }
        if race_after != 0.0 && self.proofs.max_attempts.get() < 2 {
            faults.add(
                "proofs.race_after",
                "needs `max_attempts` of 2 or more, because each attempt of a race may fail; raise \
                 that or write 0",
            );
        }
        let registry = &self.worker_registry;
        if registry.heartbeat_interval.is_zero() {
            faults.add("worker_registry.heartbeat_interval", "is 0; write a time like \"5s\"");
        }
        if registry.silence_limit < registry.heartbeat_interval * 2 {
            faults.add(
                "worker_registry.silence_limit",
                "is shorter than two heartbeat intervals, so healthy Contemplants would be dropped; \
                 make it longer",
            );
        }
        for blocked in &registry.blocked {
            if blocked.parse::<WorkerId>().is_err() && blocked.parse::<IpAddr>().is_err() {
                faults.add(
                    "worker_registry.blocked",
                    format!("{blocked:?} is neither a worker id (32 hex digits) nor an IP address"),
                );
            }
        }
        let kept = &self.retention;
        for (key, time) in [
            ("retention.proofs_after_delivery", kept.proofs_after_delivery),
            ("retention.proofs_undelivered", kept.proofs_undelivered),
            ("retention.inputs_after_end", kept.inputs_after_end),
            ("retention.unused_uploads", kept.unused_uploads),
        ] {
            if time < SHORTEST_RETENTION {
                faults.add(
                    key,
                    "is shorter than 10 minutes, so bytes would go while somebody needs them; make \
                     it longer",
                );
            }
        }
        if self.storage.max_bytes.is_some_and(|most| most < self.max_artifact_bytes) {
            faults.add(
                "storage.max_bytes",
                "is less than `max_artifact_bytes`, which no upload could reach; make it larger",
            );
        }
        limits::validate(&self.limits, faults);
        tls::validate(&self.tls, faults);
        webhooks::validate(&self.webhooks, faults);
        let price = self.dashboard.price_per_hour;
        if !price.is_finite() || price < 0.0 {
            faults.add(
                "dashboard.price_per_hour",
                format!("{price} is no price; write a number like 2.5, or 0 if it is not known"),
            );
        }
        if let Err(wrong) = BucketSettings::of(&self.storage) {
            faults.add(wrong.key, wrong.fault);
        }
        if let Err(error) = std::fs::create_dir_all(&self.data_dir) {
            let folder = self.data_dir.display();
            faults.add(
                "data_dir",
                format!("{folder} cannot be created ({error}); choose a writable folder"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use network_lib::config::template;

    use super::*;

    /// What the template does not call an example is a default, and no key is left out.
    #[test]
    fn the_template_shows_every_key_with_its_default() {
        let shown: toml::Table =
            template::shown_defaults(TEMPLATE).parse().expect("a template holds TOML");
        let mut defaults = toml::Table::try_from(Config::default()).expect("serializes");
        for list in ["allowlist", "webhooks"] {
            defaults.remove(list);
        }
        assert_eq!(shown, defaults);
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
                "max_bytes",
                "artifacts_url",
                "s3_endpoint",
                "s3_region",
                "s3_access_key_id",
                "s3_secret_access_key",
            ]
        );
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("hierophant.toml");
        let text = format!(
            "grpc_port = 9010\nauth = \"allowlist\"\npublic_http_url = \"example.org\"\n\
             max_artifact_bytes = 0\nworker_token = \"\"\ndata_dir = \"{}/hierophant.toml/x\"\n\
             database_url = \"sqlite:x\"\nmock = true\n[proofs]\nrace_after = 0.5\n[worker_registry]\nsilence_limit = \"1s\"\nmax_workers = 0\n\
             [retention]\nunused_uploads = \"1s\"\n[dashboard]\nprice_per_hour = -1.0\n\
             [storage]\nartifacts_url = \"bucket\"\n[limits]\nupload_window = \"1ms\"\n",
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
                "data_dir",
                "database_url",
                "http_port",
                "limits.upload_window",
                "max_artifact_bytes",
                "mock",
                "proofs.race_after",
                "public_http_url",
                "retention.unused_uploads",
                "storage.artifacts_url",
                "worker_registry.max_workers",
                "worker_registry.silence_limit",
                "worker_token",
            ]
        );
    }
}
