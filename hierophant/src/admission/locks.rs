//! Locks by key: calls about one client or one program wait for each other, and for no others.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use hierophant_model::clients::Client;
use network_lib::ids::VkHash;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// What a lock protects. A call that takes both takes its client's first, so that no two calls wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LockKey {
    /// The quotas of a client.
    Client(Client),
    /// The registration of a program.
    Program(VkHash),
}

/// Locks by key. Only those that are held or waited for take memory.
#[derive(Debug, Default)]
pub struct Locks(Mutex<BTreeMap<LockKey, Weak<AsyncMutex<()>>>>);

impl Locks {
    /// Waits for the lock of a key.
    pub(super) async fn lock(&self, key: LockKey) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock();
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(key, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_calls_about_the_same_wait_for_each_other() {
        let (locks, key) = (Locks::default(), |byte| LockKey::Program(VkHash([byte; 32])));
        let first = locks.lock(key(1)).await;
        assert!(locks.lock(key(1)).now_or_never().is_none());
        drop(locks.lock(key(2)).now_or_never().expect("free"));
        drop(first);
        drop(locks.lock(key(1)).now_or_never().expect("free again"));
        drop(locks.lock(key(3)).await);
        assert_eq!(locks.0.lock().len(), 1, "those that are not held are removed");
    }
}
