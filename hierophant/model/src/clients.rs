//! Who the clients are by name, and what each may take.
//!
//! A client is an address that signs. What counts is what is stored, so a restart forgives nothing but requests
//! of the minute before that have ended, and addresses that come and go take no memory for long. Whoever owns a
//! fact holds it against the quota: `proofs` requests and cycles, `artifacts` tickets and bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;

/// The most that an address may take; 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests accepted in a minute.
    pub requests_per_minute: u64,
    /// Requests that have not ended.
    pub open_requests: u64,
    /// Cycles of the programs executed for it within 24 hours.
    pub cycles_per_day: u64,
    /// Bytes of programs and inputs that are kept for it.
    pub stored_bytes: u64,
    /// Tickets to which nothing was uploaded yet.
    pub open_tickets: u64,
    /// Programs that it has registered.
    pub programs: u64,
}

/// A quota that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverQuota {
    /// See [`Quota::requests_per_minute`].
    #[error(
        "{0} requests of this address were accepted within a minute, which is its quota; try again later"
    )]
    RequestsPerMinute(u64),
    /// See [`Quota::open_requests`].
    #[error(
        "{0} requests of this address are open, which is its quota; try again when some have ended"
    )]
    OpenRequests(u64),
    /// See [`Quota::cycles_per_day`].
    #[error(
        "programs executed {0} cycles for this address within 24 hours, which is its quota; ask again \
         tomorrow, or the network's operator"
    )]
    CyclesPerDay(u64),
    /// See [`Quota::stored_bytes`].
    #[error(
        "{0} bytes of programs and inputs are kept for this address at most, and they are; ask again \
         tomorrow, or the network's operator"
    )]
    StoredBytes(u64),
    /// See [`Quota::open_tickets`].
    #[error(
        "{0} upload tickets of this address are open, which is its quota; upload to them, or try again later"
    )]
    OpenTickets(u64),
    /// See [`Quota::programs`].
    #[error(
        "{0} programs of this address are registered, which is its quota; ask the network's operator"
    )]
    Programs(u64),
    /// Of all addresses together that are not known by name.
    #[error("{0} upload tickets are open, as many as this network gives out; try again later")]
    StrangersTickets(u64),
}

impl OverQuota {
    /// Whether waiting for minutes may help.
    #[must_use]
    pub const fn passes_soon(self) -> bool {
        !matches!(self, Self::CyclesPerDay(_) | Self::StoredBytes(_) | Self::Programs(_))
    }

    /// The quota's key in the configuration.
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
struct Known {
    clients: BTreeMap<Address, (String, Quota)>,
    others: Quota,
    strangers_tickets: u64,
}

/// The clients of the configuration, and the quota of everybody else. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Known>);

impl Clients {
    /// Clients with a name and a quota of their own, and what applies to all other addresses.
    #[must_use]
    pub fn new(
        named: impl IntoIterator<Item = (Address, String, Quota)>,
        others: Quota,
        strangers_tickets: u64,
    ) -> Self {
        let named = named.into_iter().map(|(address, name, quota)| (address, (name, quota)));
        Self(Arc::new(Known { clients: named.collect(), others, strangers_tickets }))
    }

    /// The name of an address, if it is configured.
    #[must_use]
    pub fn name(&self, address: Address) -> Option<&str> {
        self.0.clients.get(&address).map(|(name, _)| name.as_str())
    }

    /// What an address may take.
    #[must_use]
    pub fn quota(&self, address: Address) -> Quota {
        self.0.clients.get(&address).map_or(self.0.others, |(_, quota)| *quota)
    }

    /// How many tickets all may have open together who are not configured; 0 = no limit.
    #[must_use]
    pub fn strangers_tickets(&self) -> u64 {
        self.0.strangers_tickets
    }
}

/// Whether `taken` leaves room for one more under `most`, where 0 = no limit.
#[must_use]
pub const fn has_room(taken: u64, most: u64) -> bool {
    most == 0 || taken < most
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
