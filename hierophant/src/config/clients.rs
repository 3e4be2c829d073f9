//! Clients and quotas: `[[clients]]` and `[quotas]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use alloy_primitives::Address;
use hierophant_scheduler::proofs::shards::policy::ShardingMode;
use ipnet::IpNet;
use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Maximum length of a client's name in characters.
const MAX_NAME: usize = 64;

/// A network of IP addresses: `10.0.0.0/8`, `fd00::/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network: IpNet| Self(network.trunc())).map_err(|_| {
            format!("invalid network {text:?}: expected one like \"10.0.0.0/8\" or an IP address")
        })
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

/// One entry of `[[clients]]`, whose addresses count as part of the allowlist. Several entries may share a name:
/// they are one client, with the largest of their quotas. Omitted quotas are those of `[quotas]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientConfig {
    /// Name of the client, shown in lists, logs and metrics; tokens can be bound to it.
    pub name: String,
    /// Address that signs the client's calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// More addresses that sign its calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Networks from which it calls; from elsewhere, what is the client's is refused or unknown. Default all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// See [`ShardingConfig::mode`](super::ShardingConfig::mode).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharding: Option<ShardingMode>,
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

impl ClientConfig {
    /// All addresses that sign the client's calls.
    pub fn all_addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.address.into_iter().chain(self.addresses.iter().copied())
    }
}

/// Section `[quotas]`: quotas of each client; 0 = no limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotasConfig {
    /// Requests accepted per minute. Default 6000.
    pub requests_per_minute: u64,
    /// Requests that have not ended. Default 5000: half of `max_waiting`, so that one client cannot fill the queue.
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
    /// Requests accepted per minute of all addresses together that are not in `[[clients]]`. Default 30,000, about 30
    /// MB in the database.
    pub strangers_requests_per_minute: u64,
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
            strangers_requests_per_minute: 0,
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
            strangers_requests_per_minute: 30_000,
        }
    }
}

/// Checks the entries.
pub(super) fn validate(clients: &[ClientConfig], faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    let (mut networks, mut modes) = (BTreeMap::new(), BTreeMap::new());
    for (number, client) in clients.iter().enumerate() {
        let key = |name: &str| format!("clients[{number}].{name}");
        for address in client.all_addresses() {
            if !seen.insert(address) {
                faults.add(key("address"), "is listed twice: expected one entry for each address");
            }
        }
        if *networks.entry(&client.name).or_insert(&client.networks) != &client.networks {
            // Merged, an entry without networks would open those of the others to all, or the reverse.
            faults
                .add(key("networks"), "differs from another entry of this name: expected the same");
        }
        if *modes.entry(&client.name).or_insert(client.sharding) != client.sharding {
            faults
                .add(key("sharding"), "differs from another entry of this name: expected the same");
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
    use super::*;
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

    #[test]
    fn networks_are_read_or_named_as_invalid() {
        let parse = |text: &str| Network::try_from(text.to_owned()).map(String::from);
        assert_eq!(parse("10.1.2.3/8").as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(parse("fd00::/8").as_deref(), Ok("fd00::/8"));
        assert_eq!(parse("10.1.2.3").as_deref(), Ok("10.1.2.3/32"));
        for wrong in ["", "10.0.0.0/33", "example.org", "10.0.0.0/", "10.0.0/8"] {
            assert!(
                parse(wrong).is_err_and(|error| error.contains("expected one like")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn entries_of_one_name_have_the_same_networks_and_mode() {
        let open = ClientConfig { name: "rollup".into(), ..ClientConfig::default() };
        let near = Network("10.0.0.0/8".parse().expect("a network"));
        let closed = ClientConfig { networks: vec![near], ..open.clone() };
        let faults_of = |clients: &[ClientConfig]| {
            let mut faults = Faults::default();
            validate(clients, &mut faults);
            format!("{faults:?}")
        };
        assert!(faults_of(&[open.clone(), closed.clone()]).contains("clients[1].networks"));
        assert!(!faults_of(&[closed.clone(), closed]).contains("networks"));
        let whole = ClientConfig { sharding: Some(ShardingMode::Never), ..open.clone() };
        assert!(faults_of(&[open, whole.clone()]).contains("clients[1].sharding"));
        assert!(!faults_of(&[whole.clone(), whole]).contains("sharding"));
    }
}
