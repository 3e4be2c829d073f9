//! Limits of clients' calls: `[calls]`.

use std::time::Duration;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

use super::Network;

/// Minimum of `max_message_bytes`: the registration of a program with its verifying key.
const MIN_MESSAGE: usize = 128 * 1024;

/// Minimum of `max_deadline`: the default of SDK clients.
const MIN_DEADLINE: Duration = Duration::from_secs(4 * 3600);

/// Section `[calls]`: limits of clients' calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct CallsConfig {
    /// Maximum size of a gRPC message in bytes. Default 256 KiB: the largest message of an SDK is the registration of
    /// a program with its verifying key, of at most 64 KiB.
    pub max_message_bytes: usize,
    /// Maximum time from a request to its deadline. Default 30 days; its proof is kept for longer.
    #[serde(with = "humantime_serde")]
    pub max_deadline: Duration,
    /// Average calls per second from one IP address; a quarter of it for requests to the HTTP port; 0 = no limit.
    /// Default 200: a hundred open requests, each polled by two calls every two seconds, take a hundred. Behind a proxy
    /// all clients share its address.
    pub per_ip_per_second: u64,
    /// Maximum burst of calls from one IP address. Default 2000: a client that starts again with 400 requests at
    /// once, of five calls each. The HTTP port has a burst of one second of calls, at least 100 requests.
    pub per_ip_burst: u64,
    /// Callers to whom `GetFilteredProofRequests` answers. Default `token`: no SDK lists requests in order to prove.
    pub lists: ListAccess,
    /// Whether `GetFilteredProofRequests` returns whole entries to every caller that may list. Default no: anyone
    /// with a request's id can fetch its proof.
    pub list_ids: bool,
    /// Networks from which the gRPC port is reached. Default none listed: from all.
    pub grpc_networks: Vec<Network>,
    /// Networks from which artifacts are uploaded and downloaded on the HTTP port. Default none listed: from all.
    pub artifact_networks: Vec<Network>,
}

/// Callers to whom `GetFilteredProofRequests` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListAccess {
    /// Callers with a client token.
    #[default]
    Token,
    /// All callers.
    Open,
    /// No caller.
    Off,
}

impl Default for CallsConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 256 * 1024,
            max_deadline: Duration::from_secs(30 * 24 * 3600),
            per_ip_per_second: 200,
            per_ip_burst: 2000,
            lists: ListAccess::default(),
            list_ids: false,
            grpc_networks: Vec::new(),
            artifact_networks: Vec::new(),
        }
    }
}

impl CallsConfig {
    /// Checks the section.
    pub(super) fn validate(&self, faults: &mut Faults) {
        if self.max_message_bytes < MIN_MESSAGE {
            faults.add(
                "calls.max_message_bytes",
                "is too small to register programs: expected at least 131072",
            );
        }
        if self.max_deadline < MIN_DEADLINE {
            faults.add(
                "calls.max_deadline",
                "is shorter than the default of SDK clients: expected at least \"4h\"",
            );
        }
        if self.per_ip_burst == 0 {
            faults.add(
                "calls.per_ip_burst",
                "is 0, so every call would be refused: expected a number of calls",
            );
        }
    }
}
