//! Clients and quotas: `[[clients]]` and `[quotas]`.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Maximum length of a client's name in characters.
const MAX_NAME: usize = 64;

/// One entry of `[[clients]]`, an address that counts as part of the allowlist. Omitted quotas are those of
/// `[quotas]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientConfig {
    /// Address that signs the client's requests.
    pub address: Address,
    /// Name shown with the address in lists, logs and metrics; several addresses may share one.
    pub name: String,
    /// See [`QuotasConfig::requests_per_minute`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// See [`QuotasConfig::open_requests`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_requests: Option<u64>,
    /// See [`QuotasConfig::cycles_per_day`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles_per_day: Option<u64>,
    /// See [`QuotasConfig::stored_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// See [`QuotasConfig::open_tickets`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_tickets: Option<u64>,
    /// See [`QuotasConfig::programs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<u64>,
}

/// Section `[quotas]`: quotas of each address; 0 = no limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotasConfig {
    /// Requests accepted per minute. Default 6000.
    pub requests_per_minute: u64,
    /// Requests that have not ended. Default 5000: half of `max_waiting`, so that one address cannot fill the queue.
    pub open_requests: u64,
    /// Cycles of programs executed within 24 hours. Default 0.
    pub cycles_per_day: u64,
    /// Bytes of kept programs and inputs. Default 0: only the disk limits them.
    pub stored_bytes: u64,
    /// Upload tickets without an upload. Default 1000.
    pub open_tickets: u64,
    /// Registered programs, which are never removed. Default 1000.
    pub programs: u64,
    /// Tickets of all addresses together that are not in `[[clients]]`. Default 100,000, about 20 MB in the database.
    pub strangers_tickets: u64,
}

impl QuotasConfig {
    /// No limits.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            requests_per_minute: 0,
            open_requests: 0,
            cycles_per_day: 0,
            stored_bytes: 0,
            open_tickets: 0,
            programs: 0,
            strangers_tickets: 0,
        }
    }
}

impl Default for QuotasConfig {
    fn default() -> Self {
        Self {
            requests_per_minute: 6000,
            open_requests: 5000,
            cycles_per_day: 0,
            stored_bytes: 0,
            open_tickets: 1000,
            programs: 1000,
            strangers_tickets: 100_000,
        }
    }
}

/// Checks the entries.
pub(super) fn validate(clients: &[ClientConfig], faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (number, client) in clients.iter().enumerate() {
        let key = |name: &str| format!("clients[{number}].{name}");
        if !seen.insert(client.address) {
            faults.add(key("address"), "is listed twice: expected one entry for each address");
        }
        let length = client.name.chars().count();
        if length == 0 || length > MAX_NAME || client.name.chars().any(char::is_control) {
            faults.add(
                key("name"),
                format!("invalid name: expected 1 to {MAX_NAME} printable characters"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn every_fault_of_a_client_is_found() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("hierophant.toml");
        let address = "address = \"0x70997970C51812dc3A010C7d01b50e0d17dc79C8\"";
        let text = format!(
            "data_dir = {:?}\n[[clients]]\n{address}\nname = \"\"\n[[clients]]\n{address}\nname = \"rollup\"\n\
             open_requests = 5\n",
            folder.path()
        );
        std::fs::write(&file, text).expect("writes");
        let error = network_lib::config::load::<Config>(Some(&file), []).expect_err("must fail");
        let keys: Vec<&str> = error.faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["clients[0].name", "clients[1].address"]);
    }
}
