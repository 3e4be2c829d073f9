//! Leases whose proofs are being received or stored: one proof of a lease at a time.
//!
//! A worker that sends a proof again has lost the connection over which it sent it before, so the later upload ends the
//! earlier one. Storing in a distant bucket may take minutes, and a worker, or a proxy in between, may not wait that
//! long; a proof that is being stored is not received again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use network_lib::ids::LeaseId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Leases whose proofs are being received or stored. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Storing(Arc<Mutex<Leases>>);

#[derive(Debug, Default)]
struct Leases {
    storing: BTreeSet<LeaseId>,
    /// The latest upload of each lease, by number.
    receiving: BTreeMap<LeaseId, (u64, CancellationToken)>,
    uploads: u64,
}

/// An upload of a lease's proof, until this is dropped.
#[derive(Debug)]
pub struct Receiving {
    storing: Storing,
    lease: LeaseId,
    number: u64,
    replaced: CancellationToken,
}

impl Receiving {
    /// Waits until a later upload of the same lease begins.
    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let receiving = &mut self.storing.0.lock().receiving;
        if receiving.get(&self.lease).is_some_and(|(number, _)| *number == self.number) {
            receiving.remove(&self.lease);
        }
    }
}

/// A lease whose proof is being stored, until this is dropped.
#[derive(Debug)]
pub struct Turn {
    storing: Storing,
    lease: LeaseId,
}

impl Storing {
    /// Whether a proof of this lease is being stored.
    #[must_use]
    pub fn contains(&self, lease: LeaseId) -> bool {
        self.0.lock().storing.contains(&lease)
    }

    /// Begins to receive a proof of this lease, which ends an earlier upload.
    #[must_use]
    pub fn receive(&self, lease: LeaseId) -> Receiving {
        let replaced = CancellationToken::new();
        let leases = &mut *self.0.lock();
        leases.uploads += 1;
        let number = leases.uploads;
        let earlier = leases.receiving.insert(lease, (number, replaced.clone()));
        if let Some((_, earlier)) = earlier {
            earlier.cancel();
        }
        Receiving { storing: self.clone(), lease, number, replaced }
    }

    /// Begins to store a proof of this lease; `None` if one is being stored.
    #[must_use]
    pub fn begin(&self, lease: LeaseId) -> Option<Turn> {
        self.0.lock().storing.insert(lease).then(|| Turn { storing: self.clone(), lease })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.storing.0.lock().storing.remove(&self.lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_proof_of_a_lease_is_stored_at_a_time() {
        let storing = Storing::default();
        let [one, other] = [LeaseId([1; 16]), LeaseId([2; 16])];
        let turn = storing.begin(one).expect("free");
        assert!(storing.contains(one) && !storing.contains(other));
        assert!(storing.begin(one).is_none());
        let _other = storing.begin(other).expect("free");
        drop(turn);
        assert!(!storing.contains(one) && storing.contains(other));
        assert!(storing.begin(one).is_some());
    }

    #[test]
    fn a_later_upload_of_a_lease_ends_the_earlier_one() {
        let storing = Storing::default();
        let [one, other] = [LeaseId([1; 16]), LeaseId([2; 16])];
        let (first, theirs) = (storing.receive(one), storing.receive(other));
        let second = storing.receive(one);
        assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
        drop(first);
        let third = storing.receive(one);
        assert!(second.replaced.is_cancelled() && !third.replaced.is_cancelled());
        assert!(!theirs.replaced.is_cancelled());
        drop((second, third, theirs));
        assert!(storing.0.lock().receiving.is_empty());
    }
}
