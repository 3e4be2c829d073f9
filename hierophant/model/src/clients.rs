//! Clients and quotas.
//!
//! A client is configured by name, with the addresses that sign its calls; every other address is a client of its
//! own. A token can be bound to a named client, and what is requested with it belongs to that client, whatever
//! address signs it. Artifacts, programs and requests therefore store their address and, if a bound token was
//! presented, the client's name.
//!
//! Quotas count stored facts, so that a restart resets only the count of requests that were accepted within the
//! last minute and have ended, and short-lived addresses take no memory for long. Each owner of facts enforces its
//! quotas: `proofs` those of requests and cycles, `artifacts` those of tickets and bytes.

mod key;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use alloy_primitives::Address;
use ipnet::IpNet;
use network_lib::ids::TokenId;

pub use key::ClientKey;

/// Name of a client.
pub type ClientName = Arc<str>;

/// Owner of a stored record: its address, and the client's name if a bound token was presented.
pub type Owner = (Address, Option<ClientName>);

/// A client, to which artifacts, programs, requests and quotas belong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// A client with a name.
    Named(ClientName),
    /// An address that belongs to no client with a name.
    Address(Address),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The signer of a call, with the token that was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Address that has signed the call.
    pub address: Address,
    /// Client to which the presented token is bound.
    pub client: Option<ClientName>,
    /// The presented token.
    pub token: Option<TokenId>,
}

impl Signer {
    /// A signer without a token.
    #[must_use]
    pub const fn without_token(address: Address) -> Self {
        Self { address, client: None, token: None }
    }
}

/// How stored records of a client are recognised: by the stored name, or by the address where no name is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRecords {
    /// Name that records store if a bound token was presented.
    pub name: Option<ClientName>,
    /// Addresses of records without a name.
    pub addresses: Vec<Address>,
}

/// A configured client.
#[derive(Debug, Clone, Default)]
pub struct NamedClient {
    /// Name; several entries with one name are one client.
    pub name: String,
    /// Addresses that sign its calls.
    pub addresses: Vec<Address>,
    /// Networks from which it calls; empty = all.
    pub networks: Vec<IpNet>,
    /// Its quota. Of several entries the largest limits count.
    pub quota: Quota,
}

/// Limits of one client; 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests accepted per minute.
    pub requests_per_minute: u64,
    /// Open requests.
    pub open_requests: u64,
    /// Cycles executed for it within 24 hours.
    pub cycles_per_day: u64,
    /// Bytes of its stored programs and inputs.
    pub stored_bytes: u64,
    /// Upload tickets that are unused.
    pub open_tickets: u64,
    /// Registered programs.
    pub programs: u64,
}

/// Exhausted quota, with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverQuota {
    /// See [`Quota::requests_per_minute`].
    #[error("quota exhausted: {0} requests per minute; try again later")]
    RequestsPerMinute(u64),
    /// See [`Quota::open_requests`].
    #[error("quota exhausted: {0} open requests; try again when some have ended")]
    OpenRequests(u64),
    /// See [`Quota::cycles_per_day`].
    #[error(
        "quota exhausted: {0} cycles within 24 hours; try again tomorrow, or ask the network's \
         operator"
    )]
    CyclesPerDay(u64),
    /// See [`Quota::stored_bytes`].
    #[error(
        "quota exhausted: {0} bytes of programs and inputs; try again tomorrow, or ask the \
         network's operator"
    )]
    StoredBytes(u64),
    /// See [`Quota::open_tickets`].
    #[error("quota exhausted: {0} open upload tickets; upload to them, or try again later")]
    OpenTickets(u64),
    /// See [`Quota::programs`].
    #[error("quota exhausted: {0} registered programs; ask the network's operator")]
    Programs(u64),
    /// Limit of tickets for all addresses together that are not configured.
    #[error("too many open upload tickets: this network allows {0}; try again later")]
    StrangersTickets(u64),
    /// Limit of requests per minute for all addresses together that are not configured.
    #[error("too many requests: this network accepts {0} per minute; try again later")]
    StrangersRequests(u64),
}

impl OverQuota {
    /// Whether a retry within minutes may succeed.
    #[must_use]
    pub const fn passes_soon(self) -> bool {
        !matches!(self, Self::CyclesPerDay(_) | Self::StoredBytes(_) | Self::Programs(_))
    }

    /// Key of the quota in the configuration.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::RequestsPerMinute(_) => "requests_per_minute",
            Self::OpenRequests(_) => "open_requests",
            Self::CyclesPerDay(_) => "cycles_per_day",
            Self::StoredBytes(_) => "stored_bytes",
            Self::OpenTickets(_) => "open_tickets",
            Self::Programs(_) => "programs",
            Self::StrangersTickets(_) => "strangers_tickets",
            Self::StrangersRequests(_) => "strangers_requests_per_minute",
        }
    }
}

impl Quota {
    /// The larger of each limit.
    fn or_larger(self, other: Self) -> Self {
        let larger = |one: u64, other: u64| if one == 0 || other == 0 { 0 } else { one.max(other) };
        Self {
            requests_per_minute: larger(self.requests_per_minute, other.requests_per_minute),
            open_requests: larger(self.open_requests, other.open_requests),
            cycles_per_day: larger(self.cycles_per_day, other.cycles_per_day),
            stored_bytes: larger(self.stored_bytes, other.stored_bytes),
            open_tickets: larger(self.open_tickets, other.open_tickets),
            programs: larger(self.programs, other.programs),
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    addresses: Vec<Address>,
    networks: Vec<IpNet>,
    quota: Quota,
}

#[derive(Debug, Clone, Default)]
struct Table {
    named: BTreeMap<ClientName, Entry>,
    by_address: BTreeMap<Address, ClientName>,
    others: Quota,
    strangers_tickets: u64,
    strangers_requests: u64,
}

/// Configured clients and the quota of all other addresses. Clones share the data.
#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Table>);

impl Clients {
    /// Configured clients, and the limits of every other address.
    #[must_use]
    pub fn new(
        clients: impl IntoIterator<Item = NamedClient>,
        others: Quota,
        strangers_tickets: u64,
    ) -> Self {
        let mut table = Table { others, strangers_tickets, ..Table::default() };
        for NamedClient { name, addresses, networks, quota } in clients {
            let name = ClientName::from(name);
            table.by_address.extend(addresses.iter().map(|address| (*address, name.clone())));
            match table.named.get_mut(&name) {
                Some(entry) => {
                    entry.addresses.extend(addresses);
                    entry.networks.extend(networks);
                    entry.quota = entry.quota.or_larger(quota);
                }
                None => drop(table.named.insert(name, Entry { addresses, networks, quota })),
            }
        }
        Self(Arc::new(table))
    }

    /// The same clients, with a limit of requests per minute for all other addresses together; 0 = no limit.
    #[must_use]
    pub fn with_strangers_requests(mut self, per_minute: u64) -> Self {
        Arc::make_mut(&mut self.0).strangers_requests = per_minute;
        self
    }

    /// Whether any client is configured.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.0.named.is_empty()
    }

    /// Client of a record with this address, and with the name that it stores if a bound token was presented.
    #[must_use]
    pub fn of(&self, address: Address, stored: Option<&ClientName>) -> Client {
        match stored.or_else(|| self.0.by_address.get(&address)) {
            Some(name) => Client::Named(name.clone()),
            None => Client::Address(address),
        }
    }

    /// Client to which a signer belongs.
    #[must_use]
    pub fn of_signer(&self, signer: &Signer) -> Client {
        self.of(signer.address, signer.client.as_ref())
    }

    /// The configured client of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<ClientName> {
        self.0.named.get_key_value(name).map(|(name, _)| name.clone())
    }

    /// Name of an address, if it is configured.
    #[must_use]
    pub fn name(&self, address: Address) -> Option<&str> {
        self.0.by_address.get(&address).map(|name| &**name)
    }

    /// Name of the client of a record with this address and stored name, if it has one.
    #[must_use]
    pub fn stored_name(&self, address: Address, stored: Option<&ClientName>) -> Option<String> {
        match self.of(address, stored) {
            Client::Named(name) => Some(name.to_string()),
            Client::Address(_) => None,
        }
    }

    /// Name of a client, if it is configured: a bounded number of values, for metrics.
    #[must_use]
    pub fn label<'a>(&self, client: &'a Client) -> Option<&'a str> {
        match client {
            Client::Named(name) => self.0.named.contains_key(name).then_some(&**name),
            Client::Address(_) => None,
        }
    }

    /// Quota of a client.
    #[must_use]
    pub fn quota(&self, client: &Client) -> Quota {
        self.entry(client).map_or(self.0.others, |entry| entry.quota)
    }

    /// How stored records of a client are recognised.
    #[must_use]
    pub fn records(&self, client: &Client) -> ClientRecords {
        match client {
            Client::Named(name) => {
                let addresses =
                    self.entry(client).map_or(Vec::new(), |entry| entry.addresses.clone());
                ClientRecords { name: Some(name.clone()), addresses }
            }
            Client::Address(address) => ClientRecords { name: None, addresses: vec![*address] },
        }
    }

    /// Whether a client calls from this peer. A client without networks calls from everywhere; one with networks
    /// only from these, and never from a peer without an address.
    #[must_use]
    pub fn calls_from(&self, client: &Client, peer: Option<IpAddr>) -> bool {
        self.entry(client).is_none_or(|entry| {
            entry.networks.is_empty() || peer.is_some_and(|peer| contains(&entry.networks, peer))
        })
    }

    /// Maximum requests per minute of all clients together that are not configured; 0 = no limit.
    #[must_use]
    pub fn strangers_requests(&self) -> u64 {
        self.0.strangers_requests
    }

    /// Maximum open tickets of all clients together that are not configured; 0 = no limit.
    #[must_use]
    pub fn strangers_tickets(&self) -> u64 {
        self.0.strangers_tickets
    }

    fn entry(&self, client: &Client) -> Option<&Entry> {
        match client {
            Client::Named(name) => self.0.named.get(name),
            Client::Address(_) => None,
        }
    }
}

/// Whether one of the networks contains a peer. An IPv4 address that is written as IPv6 is an IPv4 address.
#[must_use]
pub fn contains(networks: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

/// Whether `taken` allows one more under `max`; 0 = no limit.
#[must_use]
pub const fn has_room(taken: u64, max: u64) -> bool {
    max == 0 || taken < max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_limit() {
        assert!(has_room(u64::MAX, 0));
        assert!(has_room(4, 5));
        assert!(!has_room(5, 5));
    }

    const ONE: Address = Address::repeat_byte(1);
    const TWO: Address = Address::repeat_byte(2);
    const OTHER: Address = Address::repeat_byte(3);

    fn entry(address: Address, networks: &[&str], open_requests: u64) -> NamedClient {
        NamedClient {
            name: "rollup".into(),
            addresses: vec![address],
            networks: networks.iter().map(|text| text.parse().expect("a network")).collect(),
            quota: Quota { open_requests, ..Quota::default() },
        }
    }

    #[test]
    fn entries_of_one_name_are_one_client_with_all_its_addresses() {
        let clients = Clients::new([entry(ONE, &[], 4), entry(TWO, &[], 9)], Quota::default(), 0);
        let rollup = Client::Named("rollup".into());
        assert_eq!(
            [clients.of(ONE, None), clients.of(TWO, None)],
            [rollup.clone(), rollup.clone()]
        );
        assert_eq!(clients.quota(&rollup).open_requests, 9);
        let records = clients.records(&rollup);
        assert_eq!((records.name.as_deref(), records.addresses), (Some("rollup"), vec![ONE, TWO]));
        let unlimited = Clients::new([entry(ONE, &[], 4), entry(TWO, &[], 0)], Quota::default(), 0);
        assert_eq!(unlimited.quota(&rollup).open_requests, 0);
    }

    #[test]
    fn the_name_of_a_bound_token_precedes_the_address() {
        let clients = Clients::new([entry(ONE, &[], 0)], Quota::default(), 0);
        let other = ClientName::from("other");
        assert_eq!(clients.of(ONE, Some(&other)), Client::Named(other.clone()));
        assert_eq!(clients.of(OTHER, None), Client::Address(OTHER));
        let records = clients.records(&Client::Address(OTHER));
        assert_eq!((records.name, records.addresses), (None, vec![OTHER]));
        assert_eq!(clients.label(&Client::Named(other)), None, "it is not configured");
    }

    #[test]
    fn a_client_with_networks_calls_from_these_only() {
        let networks = ["10.1.0.0/16", "fd00::/8"];
        let clients = Clients::new([entry(ONE, &networks, 0)], Quota::default(), 0);
        let calls = |client: &Client, peer: Option<&str>| {
            clients.calls_from(client, peer.map(|text| text.parse().expect("an address")))
        };
        let rollup = Client::Named("rollup".into());
        for near in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1"] {
            assert!(calls(&rollup, Some(near)), "{near}");
        }
        for far in [Some("10.2.0.1"), Some("::1"), Some("::ffff:10.2.0.1"), None] {
            assert!(!calls(&rollup, far), "{far:?}");
        }
        assert!(calls(&Client::Address(OTHER), Some("10.2.0.1")));
        assert!(calls(&Client::Address(OTHER), None));
    }
}
