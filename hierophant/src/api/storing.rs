//! What is being received or stored: one proof of a lease at a time, and one copy of a task's blob from each worker.
//!
//! A worker that sends a proof again has lost the connection over which it sent it before, so the later upload ends the
//! earlier one. Storing in a distant bucket may take minutes, and a worker, or a proxy in between, may not wait that
//! long; a proof that is being stored is not received again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use network_lib::ids::LeaseId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What is being received or stored, by lease or another key. Clones share it.
#[derive(Debug, Clone)]
pub struct Storing<K: Ord = LeaseId>(Arc<Mutex<Current<K>>>);

impl<K: Ord> Default for Storing<K> {
    fn default() -> Self {
        let none = Current { storing: BTreeSet::new(), receiving: BTreeMap::new(), uploads: 0 };
        Self(Arc::new(Mutex::new(none)))
    }
}

#[derive(Debug)]
struct Current<K> {
    storing: BTreeSet<K>,
    /// The latest upload of each key, by number.
    receiving: BTreeMap<K, (u64, CancellationToken)>,
    uploads: u64,
}

/// An upload, until this is dropped.
#[derive(Debug)]
pub struct Receiving<K: Ord = LeaseId> {
    storing: Storing<K>,
    key: K,
    number: u64,
    replaced: CancellationToken,
}

impl<K: Ord> Receiving<K> {
    /// Waits until a later upload with the same key begins.
    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl<K: Ord> Drop for Receiving<K> {
    fn drop(&mut self) {
        let receiving = &mut self.storing.0.lock().receiving;
        if receiving.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            receiving.remove(&self.key);
        }
    }
}

/// What is being stored, until this is dropped.
#[derive(Debug)]
pub struct Turn<K: Ord = LeaseId> {
    storing: Storing<K>,
    key: K,
}

impl<K: Ord + Copy> Storing<K> {
    /// Whether bytes with this key are being stored.
    #[must_use]
    pub fn contains(&self, key: K) -> bool {
        self.0.lock().storing.contains(&key)
    }

    /// Begins to receive bytes with this key, which ends an earlier upload.
    #[must_use]
    pub fn receive(&self, key: K) -> Receiving<K> {
        let replaced = CancellationToken::new();
        let current = &mut *self.0.lock();
        current.uploads += 1;
        let number = current.uploads;
        let earlier = current.receiving.insert(key, (number, replaced.clone()));
        if let Some((_, earlier)) = earlier {
            earlier.cancel();
        }
        Receiving { storing: Self(Arc::clone(&self.0)), key, number, replaced }
    }

    /// Begins to store bytes with this key; `None` if some are being stored.
    #[must_use]
    pub fn begin(&self, key: K) -> Option<Turn<K>> {
        let begins = self.0.lock().storing.insert(key);
        begins.then(|| Turn { storing: Self(Arc::clone(&self.0)), key })
    }
}

impl<K: Ord> Drop for Turn<K> {
    fn drop(&mut self) {
        self.storing.0.lock().storing.remove(&self.key);
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
