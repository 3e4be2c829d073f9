//! Numbers of undelivered notices to a receiver, and their limits.
//!
//! The limits count by client, so that no client takes another's places. A stranger can sign with any number of fresh
//! keys: therefore all addresses without a name also share a limit, which leaves the places of named clients alone.

use std::collections::BTreeMap;

use hierophant_model::clients::ClientKey;

/// Maximum number of undelivered notices to a receiver about the requests of one client; further ones are dropped.
pub const MAX_UNDELIVERED: u64 = 10_000;

/// Maximum number of undelivered notices to a receiver about the requests of all addresses together that belong to no
/// named client; further ones are dropped.
pub const MAX_OF_STRANGERS: u64 = 50_000;

/// Undelivered notices, counted by the client whose requests they are about.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    by_client: BTreeMap<ClientKey, u64>,
    total: u64,
    of_strangers: u64,
}

impl Undelivered {
    /// Number of all notices.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Adds notices about the requests of a client.
    pub(super) fn add(&mut self, client: ClientKey, count: u64) {
        *self.by_client.entry(client).or_default() += count;
        self.total += count;
        if is_stranger(client) {
            self.of_strangers += count;
        }
    }

    /// Removes a notice about a request of a client.
    pub(super) fn remove(&mut self, client: ClientKey) {
        let Some(count) = self.by_client.get_mut(&client) else { return };
        *count -= 1;
        if *count == 0 {
            self.by_client.remove(&client);
        }
        self.total -= 1;
        if is_stranger(client) {
            self.of_strangers -= 1;
        }
    }

    /// Whether one more notice about the requests of a client is within the limits, beside `others`.
    pub(super) fn has_room(&self, client: ClientKey, others: &Self) -> bool {
        let theirs = self.of(client) + others.of(client);
        let of_strangers = self.of_strangers + others.of_strangers;
        theirs < MAX_UNDELIVERED && (!is_stranger(client) || of_strangers < MAX_OF_STRANGERS)
    }

    /// Number of notices about the requests of a client.
    pub(super) fn of(&self, client: ClientKey) -> u64 {
        self.by_client.get(&client).copied().unwrap_or(0)
    }
}

const fn is_stranger(client: ClientKey) -> bool {
    matches!(client, ClientKey::Address(_))
}
