//! Liveness and admission of workers: `[worker_registry]`.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use network_lib::config::Faults;
use network_lib::ids::WorkerId;
use serde::{Deserialize, Serialize};

/// Section `[worker_registry]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerRegistryConfig {
    /// Maximum number of connected workers. Default 1000.
    pub max_workers: NonZeroUsize,
    /// Maximum number of workers by one token of `hierophant token create`; 0 = no limit. Default 1: a stolen token is
    /// then noticed. `worker_token` is not limited.
    pub max_workers_per_token: usize,
    /// Maximum number of slots of a worker; further ones do not count. Default 64.
    pub max_slots: NonZeroU32,
    /// Interval between a worker's heartbeats. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Silence after which a worker is considered lost. Default 20 s: four missed heartbeats.
    #[serde(with = "humantime_serde")]
    pub silence_limit: Duration,
    /// Time that workers with running attempts have to reconnect after a restart of Hierophant, before their
    /// attempts are rescheduled. Default 2 min: twice the longest pause between their attempts to connect.
    #[serde(with = "humantime_serde")]
    pub return_limit: Duration,
    /// Minutes without a finished step or other measured progress after which an attempt is rescheduled; 0 = never.
    /// Default 30.
    pub worker_required_progress_interval_mins: u32,
    /// Failed attempts blamed on a worker after which it is suspended; 0 = never. Default 5.
    pub max_strikes: usize,
    /// Time after which a strike expires. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub strike_decay: Duration,
    /// Worker ids and IP addresses that are refused. Default none.
    pub blocked: Vec<String>,
}

impl Default for WorkerRegistryConfig {
    fn default() -> Self {
        Self {
            max_workers: const { NonZeroUsize::new(1000).expect("not zero") },
            max_workers_per_token: 1,
            max_slots: const { NonZeroU32::new(64).expect("not zero") },
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

impl WorkerRegistryConfig {
    /// Checks the section.
    pub(super) fn validate(&self, faults: &mut Faults) {
        if self.heartbeat_interval.is_zero() {
            faults.add(
                "worker_registry.heartbeat_interval",
                "must not be 0: expected a time like \"5s\"",
            );
        }
        if self.silence_limit < self.heartbeat_interval * 2 {
            faults.add(
                "worker_registry.silence_limit",
                "is shorter than two heartbeat intervals, so healthy workers would be dropped: \
                 expected a longer time",
            );
        }
        for blocked in &self.blocked {
            if blocked.parse::<WorkerId>().is_err() && blocked.parse::<IpAddr>().is_err() {
                faults.add(
                    "worker_registry.blocked",
                    format!(
                        "invalid entry {blocked:?}: expected a worker id (32 hex digits) or an IP \
                         address"
                    ),
                );
            }
        }
    }
}
