//! Leases whose proofs are being stored: the same proof is not stored twice at once.
//!
//! Storing in a distant bucket may take minutes, and a worker, or a proxy in between, may not wait that long.

use std::collections::BTreeSet;
use std::sync::Arc;

use network_lib::ids::LeaseId;
use parking_lot::Mutex;

/// Leases whose proofs are being stored. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Storing(Arc<Mutex<BTreeSet<LeaseId>>>);

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
        self.0.lock().contains(&lease)
    }

    /// Begins to store a proof of this lease; `None` if one is being stored.
    #[must_use]
    pub fn begin(&self, lease: LeaseId) -> Option<Turn> {
        self.0.lock().insert(lease).then(|| Turn { storing: self.clone(), lease })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.storing.0.lock().remove(&self.lease);
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
}
