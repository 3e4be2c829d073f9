//! What is held for whom: open tickets and kept bytes, against their quotas.
//!
//! It is counted anew from the store at each start. What it knows is no more than what is stored, so strangers
//! cannot make it grow beyond that.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use hierophant_model::clients::{Clients, OverQuota, has_room};
use network_lib::ids::ArtifactId;

use hierophant_store::{JobStore, StoreError};

/// Tickets and bytes by owner.
#[derive(Debug)]
pub(super) struct Held {
    clients: Clients,
    tickets: BTreeMap<ArtifactId, Address>,
    tickets_of: BTreeMap<Address, u64>,
    strangers_tickets: u64,
    bytes: BTreeMap<Address, u64>,
}

impl Held {
    /// Counts what is stored.
    pub(super) async fn read(clients: Clients, store: &dyn JobStore) -> Result<Self, StoreError> {
        let mut held = Self::new(clients);
        held.bytes = store.bytes_by_owner().await?.into_iter().collect();
        for (id, owner) in store.open_tickets().await? {
            held.opened(id, owner);
        }
        Ok(held)
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
    /// The quota that is used up.
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

    /// How many more bytes an owner may have kept, `None` if there is no limit.
    pub(super) fn room(&self, owner: Address) -> Option<u64> {
        let most = self.clients.quota(owner).stored_bytes;
        let kept = self.bytes.get(&owner).copied().unwrap_or_default();
        (most != 0).then(|| most.saturating_sub(kept))
    }

    /// Whether so many bytes more may be kept for an owner.
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

    /// A ticket is open now.
    pub(super) fn opened(&mut self, id: ArtifactId, owner: Address) {
        if self.tickets.insert(id, owner).is_none() {
            *self.tickets_of.entry(owner).or_default() += 1;
            self.strangers_tickets += u64::from(self.is_stranger(owner));
        }
    }

    /// A ticket is not open any more: something was uploaded to it, or its time is over.
    pub(super) fn closed(&mut self, id: ArtifactId) {
        let Some(owner) = self.tickets.remove(&id) else { return };
        less(&mut self.tickets_of, owner, 1);
        if self.is_stranger(owner) {
            self.strangers_tickets = self.strangers_tickets.saturating_sub(1);
        }
    }

    /// So many bytes more are kept for an owner.
    pub(super) fn grew(&mut self, owner: Address, bytes: u64) {
        *self.bytes.entry(owner).or_default() += bytes;
    }

    /// So many bytes of an owner are gone.
    pub(super) fn shrank(&mut self, owner: Address, bytes: u64) {
        less(&mut self.bytes, owner, bytes);
    }

    fn is_stranger(&self, owner: Address) -> bool {
        self.clients.name(owner).is_none()
    }
}

/// Takes something off a count; what is at zero is forgotten.
fn less(counts: &mut BTreeMap<Address, u64>, owner: Address, by: u64) {
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

    fn held() -> Held {
        let others = Quota { open_tickets: 2, stored_bytes: 100, ..Quota::default() };
        let own = Quota { stored_bytes: 0, ..others };
        Held::new(Clients::new([(ROLLUP, "rollup".into(), own)], others, 3))
    }

    #[test]
    fn strangers_together_leave_tickets_to_configured_clients() {
        let mut held = held();
        for number in 0..3 {
            let stranger = Address::repeat_byte(10 + number);
            assert_eq!(held.may_open(stranger), Ok(()));
            held.opened(ArtifactId([number; 16]), stranger);
        }
        let next = Address::repeat_byte(20);
        assert_eq!(held.may_open(next), Err(OverQuota::StrangersTickets(3)));
        assert_eq!(held.may_open(ROLLUP), Ok(()));
        held.closed(ArtifactId([1; 16]));
        held.closed(ArtifactId([1; 16]));
        assert_eq!(held.may_open(next), Ok(()));
        assert_eq!(held.tickets_of.len(), 2);
    }

    #[test]
    fn bytes_are_kept_up_to_the_quota_and_given_back() {
        let mut held = held();
        let stranger = Address::repeat_byte(9);
        assert_eq!(held.may_keep(stranger, 100), Ok(()));
        held.grew(stranger, 60);
        assert_eq!(held.may_keep(stranger, 41), Err(OverQuota::StoredBytes(100)));
        held.grew(stranger, 40);
        assert_eq!(held.may_open(stranger), Err(OverQuota::StoredBytes(100)));
        held.shrank(stranger, 100);
        assert_eq!((held.room(stranger), held.bytes.len()), (Some(100), 0));
        held.grew(ROLLUP, u64::MAX / 2);
        assert_eq!((held.room(ROLLUP), held.may_open(ROLLUP)), (None, Ok(())));
    }
}
