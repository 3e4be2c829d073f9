//! Access keys, with which workers fetch the data of their attempts.
//!
//! Each admitted connection receives a new key in its welcome. The key is valid until the worker reconnects or is
//! removed, thus also while its connection is broken. Keys are kept in memory only, so that a restart replaces
//! them.

use std::collections::BTreeMap;

use network_lib::ids::{Sha256Digest, WorkerId};
use network_lib::secret::Secret;
use sha2::{Digest, Sha256};

/// Access keys of all workers that are connected or may reconnect, as digests.
///
/// The time of a look-up depends on the SHA-256 of the presented key. Since no one can choose keys whose digests
/// approach a stored one, that time reveals nothing about a key.
#[derive(Debug, Default)]
pub struct Keys {
    digests: BTreeMap<WorkerId, Sha256Digest>,
    holders: BTreeMap<Sha256Digest, WorkerId>,
}

impl Keys {
    /// Issues a key that replaces an earlier one of the same worker.
    pub fn issue(&mut self, worker: WorkerId) -> Secret {
        self.withdraw(worker);
        let key = Secret::random();
        let digest = digest(key.reveal());
        self.digests.insert(worker, digest);
        self.holders.insert(digest, worker);
        key
    }

    /// Withdraws the key of a worker.
    pub fn withdraw(&mut self, worker: WorkerId) {
        if let Some(digest) = self.digests.remove(&worker) {
            self.holders.remove(&digest);
        }
    }

    /// The worker that holds this key.
    #[must_use]
    pub fn holder(&self, key: &str) -> Option<WorkerId> {
        self.holders.get(&digest(key)).copied()
    }
}

fn digest(key: &str) -> Sha256Digest {
    Sha256Digest(Sha256::digest(key).into())
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
