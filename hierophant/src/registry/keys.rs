//! Access keys: what opens the bytes of attempts to the Contemplants that work on them.
//!
//! Each admitted connection gets a new one with its welcome. It holds until the Contemplant connects anew or
//! is gone, so also while its connection is broken and it may come back. Keys are in memory only: after a
//! restart every Contemplant gets another.

use std::collections::BTreeMap;

use network_lib::ids::WorkerId;
use network_lib::secret::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The keys of all Contemplants that are connected or may come back, by their digests.
#[derive(Debug, Default)]
pub struct Keys(BTreeMap<WorkerId, [u8; 32]>);

impl Keys {
    /// Makes a key, in place of an earlier one of the same Contemplant.
    pub fn issue(&mut self, worker: WorkerId) -> Secret {
        let key = Secret::random();
        self.0.insert(worker, Sha256::digest(key.reveal()).into());
        key
    }

    /// A Contemplant's key opens nothing any more.
    pub fn withdraw(&mut self, worker: WorkerId) {
        self.0.remove(&worker);
    }

    /// Whose key this is. The time it takes does not depend on it.
    #[must_use]
    pub fn holder(&self, key: &str) -> Option<WorkerId> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut found = None;
        for (worker, known) in &self.0 {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(*worker);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_holders_until_the_next_one_or_the_end() {
        let mut keys = Keys::default();
        let (one, other) = (WorkerId([1; 16]), WorkerId([2; 16]));
        let (first, theirs) = (keys.issue(one), keys.issue(other));
        assert_eq!(keys.holder(first.reveal()), Some(one));
        assert_eq!(keys.holder(theirs.reveal()), Some(other));
        assert_eq!(keys.holder(""), None);
        let second = keys.issue(one);
        assert_eq!(keys.holder(first.reveal()), None);
        assert_eq!(keys.holder(second.reveal()), Some(one));
        keys.withdraw(one);
        assert_eq!(keys.holder(second.reveal()), None);
        assert_eq!(keys.holder(theirs.reveal()), Some(other));
    }
}
