//! Quota usage per client: open tickets and kept bytes.
//!
//! The counts are read from the store at each start. They are bounded by what is stored, so unknown clients cannot
//! make them grow further.

use std::collections::BTreeMap;

use hierophant_model::clients::{Client, Clients, OverQuota, has_room};
use network_lib::ids::ArtifactId;

use hierophant_store::{JobStore, StoreError};

/// Open tickets and kept bytes by client.
#[derive(Debug)]
pub(super) struct QuotaUsage {
    clients: Clients,
    tickets: BTreeMap<ArtifactId, Client>,
    tickets_of: BTreeMap<Client, u64>,
    strangers_tickets: u64,
    bytes: BTreeMap<Client, u64>,
}

impl QuotaUsage {
    /// Reads the counts from the store.
    pub(super) async fn read(clients: Clients, store: &dyn JobStore) -> Result<Self, StoreError> {
        let mut usage = Self::new(clients);
        let (bytes, tickets) = tokio::try_join!(store.bytes_by_owner(), store.open_tickets())?;
        for ((address, name), bytes) in bytes {
            usage.grew(usage.clients.of(address, name.as_ref()), bytes);
        }
        for (id, (address, name)) in tickets {
            usage.opened(id, usage.clients.of(address, name.as_ref()));
        }
        Ok(usage)
    }

    const fn new(clients: Clients) -> Self {
        Self {
            clients,
            tickets: BTreeMap::new(),
            tickets_of: BTreeMap::new(),
            strangers_tickets: 0,
            bytes: BTreeMap::new(),
        }
    }

    /// Whether a client may open one more ticket.
    ///
    /// # Errors
    ///
    /// The exhausted quota.
    pub(super) fn may_open(&self, owner: &Client) -> Result<(), OverQuota> {
        let quota = self.clients.quota(owner);
        if self.room(owner) == Some(0) {
            return Err(OverQuota::StoredBytes(quota.stored_bytes));
        }
        let open = self.tickets_of.get(owner).copied().unwrap_or_default();
        if !has_room(open, quota.open_tickets) {
            return Err(OverQuota::OpenTickets(quota.open_tickets));
        }
        let most = self.clients.strangers_tickets();
        if self.is_stranger(owner) && !has_room(self.strangers_tickets, most) {
            return Err(OverQuota::StrangersTickets(most));
        }
        Ok(())
    }

    /// Bytes left in a client's quota; `None` without a limit.
    pub(super) fn room(&self, owner: &Client) -> Option<u64> {
        let most = self.clients.quota(owner).stored_bytes;
        let kept = self.bytes.get(owner).copied().unwrap_or_default();
        (most != 0).then(|| most.saturating_sub(kept))
    }

    /// Checks that a client's quota allows `bytes` more.
    ///
    /// # Errors
    ///
    /// The quota that would be exceeded.
    pub(super) fn may_keep(&self, owner: &Client, bytes: u64) -> Result<(), OverQuota> {
        match self.room(owner) {
            Some(room) if bytes > room => {
                Err(OverQuota::StoredBytes(self.clients.quota(owner).stored_bytes))
            }
            _ => Ok(()),
        }
    }

    /// Counts an opened ticket.
    pub(super) fn opened(&mut self, id: ArtifactId, owner: Client) {
        if self.tickets.insert(id, owner.clone()).is_none() {
            self.strangers_tickets += u64::from(self.is_stranger(&owner));
            *self.tickets_of.entry(owner).or_default() += 1;
        }
    }

    /// Counts a closed ticket: used by an upload, or expired.
    pub(super) fn closed(&mut self, id: ArtifactId) {
        let Some(owner) = self.tickets.remove(&id) else { return };
        subtract(&mut self.tickets_of, &owner, 1);
        if self.is_stranger(&owner) {
            self.strangers_tickets = self.strangers_tickets.saturating_sub(1);
        }
    }

    /// Adds kept bytes of a client.
    pub(super) fn grew(&mut self, owner: Client, bytes: u64) {
        *self.bytes.entry(owner).or_default() += bytes;
    }

    /// Subtracts removed bytes of a client.
    pub(super) fn shrank(&mut self, owner: &Client, bytes: u64) {
        subtract(&mut self.bytes, owner, bytes);
    }

    fn is_stranger(&self, owner: &Client) -> bool {
        self.clients.label(owner).is_none()
    }
}

/// Subtracts from a count, and drops it at zero.
fn subtract(counts: &mut BTreeMap<Client, u64>, owner: &Client, by: u64) {
    if let Some(count) = counts.get_mut(owner) {
        *count = count.saturating_sub(by);
        if *count == 0 {
            counts.remove(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use hierophant_model::clients::{NamedClient, Quota};

    use super::*;

    fn rollup() -> Client {
        Client::Named("rollup".into())
    }

    fn stranger(byte: u8) -> Client {
        Client::Address(Address::repeat_byte(byte))
    }

    fn usage() -> QuotaUsage {
        let others = Quota { open_tickets: 2, stored_bytes: 100, ..Quota::default() };
        let own = Quota { stored_bytes: 0, ..others };
        let rollup = NamedClient { name: "rollup".into(), quota: own, ..NamedClient::default() };
        QuotaUsage::new(Clients::new([rollup], others, 3))
    }

    #[test]
    fn strangers_together_leave_tickets_to_configured_clients() {
        let mut usage = usage();
        for number in 0..3 {
            let stranger = stranger(10 + number);
            assert_eq!(usage.may_open(&stranger), Ok(()));
            usage.opened(ArtifactId([number; 16]), stranger);
        }
        let next = stranger(20);
        assert_eq!(usage.may_open(&next), Err(OverQuota::StrangersTickets(3)));
        assert_eq!(usage.may_open(&rollup()), Ok(()));
        usage.closed(ArtifactId([1; 16]));
        usage.closed(ArtifactId([1; 16]));
        assert_eq!(usage.may_open(&next), Ok(()));
        assert_eq!(usage.tickets_of.len(), 2);
    }

    #[test]
    fn bytes_are_kept_up_to_the_quota_and_given_back() {
        let mut usage = usage();
        let stranger = stranger(9);
        assert_eq!(usage.may_keep(&stranger, 100), Ok(()));
        usage.grew(stranger.clone(), 60);
        assert_eq!(usage.may_keep(&stranger, 41), Err(OverQuota::StoredBytes(100)));
        usage.grew(stranger.clone(), 40);
        assert_eq!(usage.may_open(&stranger), Err(OverQuota::StoredBytes(100)));
        usage.shrank(&stranger, 100);
        assert_eq!((usage.room(&stranger), usage.bytes.len()), (Some(100), 0));
        usage.grew(rollup(), u64::MAX / 2);
        assert_eq!((usage.room(&rollup()), usage.may_open(&rollup())), (None, Ok(())));
    }
}
