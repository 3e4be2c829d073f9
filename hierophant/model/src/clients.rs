//! Clients and quotas.
//!
//! A client is an address that signs its calls. Quotas count stored facts, so that a restart resets only the count
//! of requests that were accepted within the last minute and have ended, and short-lived addresses take no memory
//! for long. Each owner of facts enforces its quotas: `proofs` those of requests and cycles, `artifacts` those of
//! tickets and bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;

/// Limits of one address; 0 = no limit.
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
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    clients: BTreeMap<Address, (String, Quota)>,
    others: Quota,
    strangers_tickets: u64,
}

/// Configured clients and the quota of all other addresses. Clones share the data.
#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Table>);

impl Clients {
    /// Configured clients with names and quotas, and the limits of all other addresses.
    #[must_use]
    pub fn new(
        named: impl IntoIterator<Item = (Address, String, Quota)>,
        others: Quota,
        strangers_tickets: u64,
    ) -> Self {
        let named = named.into_iter().map(|(address, name, quota)| (address, (name, quota)));
        Self(Arc::new(Table { clients: named.collect(), others, strangers_tickets }))
    }

    /// Name of an address, if it is configured.
    #[must_use]
    pub fn name(&self, address: Address) -> Option<&str> {
        self.0.clients.get(&address).map(|(name, _)| name.as_str())
    }

    /// Quota of an address.
    #[must_use]
    pub fn quota(&self, address: Address) -> Quota {
        self.0.clients.get(&address).map_or(self.0.others, |(_, quota)| *quota)
    }

    /// Maximum open tickets of all addresses together that are not configured; 0 = no limit.
    #[must_use]
    pub fn strangers_tickets(&self) -> u64 {
        self.0.strangers_tickets
    }
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
}
