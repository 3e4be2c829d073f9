//! Disk budget: admission of new work by free space and stored bytes.
//!
//! New work (tickets, uploads, requests) is refused before the disk is full, which leaves space for the proofs of
//! accepted requests and for the database. Proofs are refused later, so that what workers send leaves space for the
//! database. Reads are never refused.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hierophant_model::records::{StorageLow, Usage};
use network_lib::task;
use tokio_util::sync::CancellationToken;

/// Free space in bytes that proofs leave to the database.
const DATABASE_RESERVE: u64 = 256 << 20;

/// Interval of reading the free space; even a fast disk writes less than the default reserve in that time.
const INTERVAL: Duration = Duration::from_secs(1);

type ReadFree = dyn Fn() -> io::Result<u64> + Send + Sync;

struct Inner {
    read_free: Box<ReadFree>,
    min_free: u64,
    most: Option<u64>,
    free: AtomicU64,
    stored: AtomicU64,
    was_low: AtomicBool,
}

/// The disk budget. Clones share it.
#[derive(Clone)]
pub struct DiskBudget(Arc<Inner>);

impl fmt::Debug for DiskBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DiskBudget").field(&self.usage()).finish()
    }
}

/// Free space of a disk that cannot be queried.
const UNKNOWN: u64 = u64::MAX;

impl DiskBudget {
    /// A budget for the disk of `folder`, which already holds `stored` bytes of uploads and proofs.
    #[must_use]
    pub fn new(folder: &Path, min_free: u64, most: Option<u64>, stored: u64) -> Self {
        let folder = folder.to_owned();
        Self::with_reader(move || fs4::available_space(&folder), min_free, most, stored)
    }

    /// A budget that reads the free bytes by `read_free`.
    #[must_use]
    pub fn with_reader(
        read_free: impl Fn() -> io::Result<u64> + Send + Sync + 'static,
        min_free: u64,
        most: Option<u64>,
        stored: u64,
    ) -> Self {
        let budget = Self(Arc::new(Inner {
            read_free: Box::new(read_free),
            min_free,
            most,
            free: AtomicU64::new(UNKNOWN),
            stored: AtomicU64::new(stored),
            was_low: AtomicBool::new(false),
        }));
        budget.refresh();
        budget
    }

    /// Reads the free space every second until `stop` is cancelled.
    pub fn watch(&self, stop: CancellationToken) {
        let budget = self.clone();
        task::spawn("watch the disk", async move {
            while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
                let looking = budget.clone();
                // A hanging disk must not block the runtime.
                let _ = tokio::task::spawn_blocking(move || looking.refresh()).await;
            }
        });
    }

    /// Reads the free space; blocks until the disk answers.
    pub fn refresh(&self) {
        match (self.0.read_free)() {
            Ok(free) => self.0.free.store(free, Ordering::Relaxed),
            Err(error) => {
                self.0.free.store(UNKNOWN, Ordering::Relaxed);
                tracing::warn!(%error, "cannot read the free space of the disk");
            }
        }
        let low = self.admit(0).err();
        if self.0.was_low.swap(low.is_some(), Ordering::Relaxed) != low.is_some() {
            match low {
                Some(low) => tracing::error!("new work is refused: {low}"),
                None => tracing::info!("enough space again: new work is accepted"),
            }
        }
    }

    /// Admits new work that needs `bytes`.
    ///
    /// # Errors
    ///
    /// [`StorageLow`]; a later retry may succeed.
    pub fn admit(&self, bytes: u64) -> Result<(), StorageLow> {
        let Inner { min_free, most, .. } = *self.0;
        let free = self.0.free.load(Ordering::Relaxed);
        if free.saturating_sub(bytes) < min_free {
            return Err(StorageLow::Disk { free, min_free });
        }
        let stored = self.0.stored.load(Ordering::Relaxed);
        match most {
            Some(most) if stored.saturating_add(bytes.max(1)) > most => {
                Err(StorageLow::Quota { stored, max: most })
            }
            _ => Ok(()),
        }
    }

    /// Admits a proof of an accepted request that needs `bytes`, down to a smaller reserve than new work.
    ///
    /// # Errors
    ///
    /// [`StorageLow`]; a later retry may succeed.
    pub fn admit_proof(&self, bytes: u64) -> Result<(), StorageLow> {
        let min_free = self.0.min_free.min(DATABASE_RESERVE);
        let free = self.0.free.load(Ordering::Relaxed);
        if free.saturating_sub(bytes) < min_free {
            return Err(StorageLow::Disk { free, min_free });
        }
        Ok(())
    }

    /// Adds stored bytes.
    pub(super) fn grew(&self, bytes: u64) {
        self.0.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts removed bytes.
    pub(super) fn shrank(&self, bytes: u64) {
        let less = |stored: u64| Some(stored.saturating_sub(bytes));
        // Never fails: the function always returns a value.
        let _ = self.0.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Admits new work that has written `bytes`, which are no longer free, but do not count as stored yet.
    ///
    /// # Errors
    ///
    /// [`StorageLow`]; a later retry may succeed.
    pub fn admit_written(&self, bytes: u64) -> Result<(), StorageLow> {
        self.admit(0)?;
        let stored = self.0.stored.load(Ordering::Relaxed);
        match self.0.most {
            Some(max) if stored.saturating_add(bytes) > max => {
                Err(StorageLow::Quota { stored, max })
            }
            _ => Ok(()),
        }
    }

    /// Current usage.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let free = Some(self.0.free.load(Ordering::Relaxed)).filter(|free| *free != UNKNOWN);
        let stored = self.0.stored.load(Ordering::Relaxed);
        Usage { free, stored, low: self.admit(0).err() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget on a disk whose free bytes the test sets.
    fn budget(min_free: u64, most: Option<u64>) -> (DiskBudget, Arc<AtomicU64>) {
        let free = Arc::new(AtomicU64::new(1000));
        let disk = Arc::clone(&free);
        let read = move || match disk.load(Ordering::Relaxed) {
            UNKNOWN => Err(io::ErrorKind::TimedOut.into()),
            free => Ok(free),
        };
        (DiskBudget::with_reader(read, min_free, most, 50), free)
    }

    #[test]
    fn new_work_stops_before_the_disk_is_full_and_resumes_on_its_own() {
        let (budget, free) = budget(200, None);
        assert_eq!(budget.admit(800), Ok(()));
        assert_eq!(budget.admit(801), Err(StorageLow::Disk { free: 1000, min_free: 200 }));
        free.store(199, Ordering::Relaxed);
        budget.refresh();
        assert_eq!(budget.admit(0), Err(StorageLow::Disk { free: 199, min_free: 200 }));
        assert!(budget.usage().low.is_some());
        free.store(200, Ordering::Relaxed);
        budget.refresh();
        assert_eq!(budget.admit(0), Ok(()));
        assert_eq!(budget.usage(), Usage { free: Some(200), stored: 50, low: None });
    }

    #[test]
    fn proofs_are_admitted_for_longer_than_new_work_but_leave_space_for_the_database() {
        let (low, free) = budget(2 << 30, None);
        free.store(DATABASE_RESERVE + 10, Ordering::Relaxed);
        low.refresh();
        assert!(low.admit(0).is_err());
        assert_eq!(low.admit_proof(10), Ok(()));
        assert!(low.admit_proof(11).is_err());
        let (without, _) = budget(0, Some(1));
        assert_eq!(without.admit_proof(1 << 40), Ok(()), "no reserve is configured");
    }

    #[test]
    fn a_disk_that_cannot_be_asked_stops_nothing() {
        let (budget, free) = budget(200, None);
        free.store(UNKNOWN, Ordering::Relaxed);
        budget.refresh();
        assert_eq!(budget.admit(1 << 40), Ok(()));
        assert_eq!(budget.usage().free, None);
    }

    #[test]
    fn the_quota_counts_what_comes_and_goes() {
        let (budget, _) = budget(0, Some(100));
        assert_eq!(budget.admit(50), Ok(()));
        assert_eq!(budget.admit(51), Err(StorageLow::Quota { stored: 50, max: 100 }));
        assert_eq!(budget.admit_written(50), Ok(()));
        assert_eq!(budget.admit_written(51), Err(StorageLow::Quota { stored: 50, max: 100 }));
        budget.grew(50);
        assert_eq!(budget.admit(0), Err(StorageLow::Quota { stored: 100, max: 100 }));
        budget.shrank(60);
        assert_eq!(budget.admit(60), Ok(()));
        budget.shrank(1000);
        assert_eq!(budget.usage().stored, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_disk_is_looked_at_every_second() {
        let (budget, free) = budget(200, None);
        let stop = CancellationToken::new();
        budget.watch(stop.clone());
        free.store(1, Ordering::Relaxed);
        while budget.admit(0).is_ok() {
            tokio::time::sleep(INTERVAL).await;
        }
        free.store(1000, Ordering::Relaxed);
        while budget.admit(0).is_err() {
            tokio::time::sleep(INTERVAL).await;
        }
        stop.cancel();
    }

    #[test]
    fn the_free_space_of_a_real_disk_is_read() {
        let budget = DiskBudget::new(&std::env::temp_dir(), 0, None, 0);
        assert!(budget.usage().free.is_some());
        let full = DiskBudget::new(&std::env::temp_dir(), UNKNOWN - 1, None, 0);
        assert!(full.usage().low.is_some());
    }
}
