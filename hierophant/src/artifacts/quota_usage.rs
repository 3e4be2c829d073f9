//! Quota usage per owner: open tickets and kept bytes.
//!
//! The counts are read from the store at each start. They are bounded by what is stored, so unknown clients cannot
//! make them grow further.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use hierophant_model::clients::{Clients, OverQuota, has_room};
use network_lib::ids::ArtifactId;

use hierophant_store::{JobStore, StoreError};

/// Open tickets and kept bytes by owner.
#[derive(Debug)]
pub(super) struct QuotaUsage {
    clients: Clients,
    tickets: BTreeMap<ArtifactId, Address>,
    tickets_of: BTreeMap<Address, u64>,
    strangers_tickets: u64,
    bytes: BTreeMap<Address, u64>,
}

impl QuotaUsage {
    /// Reads the counts from the store.
    pub(super) async fn read(clients: Clients, store: &dyn JobStore) -> Result<Self, StoreError> {
        let mut usage = Self::new(clients);
        usage.bytes = store.bytes_by_owner().await?.into_iter().collect();
        for (id, owner) in store.open_tickets().await? {
            usage.opened(id, owner);
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

    /// Whether an owner may open one more ticket.
    ///
    /// # Errors
    ///
    /// The exhausted quota.
    pub(super) fn may_open(&self, owner: Address) -> Result<(), OverQuota> {
        let quota = self.clients.quota(owner);
        if self.room(owner) == Some(0) {
            return Err(OverQuota::StoredBytes(quota.stored_bytes));
        }
        let open = self.tickets_of.get(&owner).copied().unwrap_or_default();
        if !has_room(open, quota.open_tickets) {
            return Err(OverQuota::OpenTickets(quota.open_tickets));
        }
        let most = self.clients.strangers_tickets();
        if self.is_stranger(owner) && !has_room(self.strangers_tickets, most) {
            return Err(OverQuota::StrangersTickets(most));
        }
        Ok(())
    }

    /// Bytes left in an owner's quota; `None` without a limit.
    pub(super) fn room(&self, owner: Address) -> Option<u64> {
        let most = self.clients.quota(owner).stored_bytes;
        let kept = self.bytes.get(&owner).copied().unwrap_or_default();
        (most != 0).then(|| most.saturating_sub(kept))
    }

    /// Checks that an owner's quota allows `bytes` more.
    ///
    /// # Errors
    ///
    /// The quota that would be exceeded.
    pub(super) fn may_keep(&self, owner: Address, bytes: u64) -> Result<(), OverQuota> {
        match self.room(owner) {
            Some(room) if bytes > room => {
                Err(OverQuota::StoredBytes(self.clients.quota(owner).stored_bytes))
            }
            _ => Ok(()),
        }
    }

    /// Counts an opened ticket.
    pub(super) fn opened(&mut self, id: ArtifactId, owner: Address) {
        if self.tickets.insert(id, owner).is_none() {
            *self.tickets_of.entry(owner).or_default() += 1;
            self.strangers_tickets += u64::from(self.is_stranger(owner));
        }
    }

    /// Counts a closed ticket: used by an upload, or expired.
    pub(super) fn closed(&mut self, id: ArtifactId) {
        let Some(owner) = self.tickets.remove(&id) else { return };
        subtract(&mut self.tickets_of, owner, 1);
        if self.is_stranger(owner) {
            self.strangers_tickets = self.strangers_tickets.saturating_sub(1);
        }
    }

    /// Adds kept bytes of an owner.
    pub(super) fn grew(&mut self, owner: Address, bytes: u64) {
        *self.bytes.entry(owner).or_default() += bytes;
    }

    /// Subtracts removed bytes of an owner.
    pub(super) fn shrank(&mut self, owner: Address, bytes: u64) {
        subtract(&mut self.bytes, owner, bytes);
    }

    fn is_stranger(&self, owner: Address) -> bool {
        self.clients.name(owner).is_none()
    }
}

/// Subtracts from a count, and drops it at zero.
fn subtract(counts: &mut BTreeMap<Address, u64>, owner: Address, by: u64) {
    if let Some(count) = counts.get_mut(&owner) {
        *count = count.saturating_sub(by);
        if *count == 0 {
            counts.remove(&owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hierophant_model::clients::Quota;

    const ROLLUP: Address = Address::repeat_byte(1);

    fn usage() -> QuotaUsage {
        let others = Quota { open_tickets: 2, stored_bytes: 100, ..Quota::default() };
        let own = Quota { stored_bytes: 0, ..others };
        QuotaUsage::new(Clients::new([(ROLLUP, "rollup".into(), own)], others, 3))
    }

    #[test]
    fn strangers_together_leave_tickets_to_configured_clients() {
        let mut usage = usage();
        for number in 0..3 {
            let stranger = Address::repeat_byte(10 + number);
            assert_eq!(usage.may_open(stranger), Ok(()));
            usage.opened(ArtifactId([number; 16]), stranger);
        }
        let next = Address::repeat_byte(20);
        assert_eq!(usage.may_open(next), Err(OverQuota::StrangersTickets(3)));
        assert_eq!(usage.may_open(ROLLUP), Ok(()));
        usage.closed(ArtifactId([1; 16]));
        usage.closed(ArtifactId([1; 16]));
        assert_eq!(usage.may_open(next), Ok(()));
        assert_eq!(usage.tickets_of.len(), 2);
    }

    #[test]
    fn bytes_are_kept_up_to_the_quota_and_given_back() {
        let mut usage = usage();
        let stranger = Address::repeat_byte(9);
        assert_eq!(usage.may_keep(stranger, 100), Ok(()));
        usage.grew(stranger, 60);
        assert_eq!(usage.may_keep(stranger, 41), Err(OverQuota::StoredBytes(100)));
        usage.grew(stranger, 40);
        assert_eq!(usage.may_open(stranger), Err(OverQuota::StoredBytes(100)));
        usage.shrank(stranger, 100);
        assert_eq!((usage.room(stranger), usage.bytes.len()), (Some(100), 0));
        usage.grew(ROLLUP, u64::MAX / 2);
        assert_eq!((usage.room(ROLLUP), usage.may_open(ROLLUP)), (None, Ok(())));
    }
}
