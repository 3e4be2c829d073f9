//! Main memory of the tasks that are proved at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::processes::resident_bytes;

/// Time between two looks.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Number of tasks that the prover works on.
#[derive(Debug, Default)]
pub(super) struct Proving(AtomicUsize);

impl Proving {
    /// One task more, until the result is dropped.
    pub(super) fn begin(&self) -> MemoryShare<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        MemoryShare { proving: self, peak: None }
    }
}

/// Peak of a task's share of this process's main memory. All tasks that are proved at the same time have the same share,
/// because their memory cannot be measured apart.
#[derive(Debug)]
pub(super) struct MemoryShare<'a> {
    proving: &'a Proving,
    peak: Option<u64>,
}

impl MemoryShare<'_> {
    /// Looks at what the process uses now.
    pub(super) fn look(&mut self) {
        self.note(resident_bytes(std::process::id()));
    }

    fn note(&mut self, bytes: Option<u64>) {
        let tasks = self.proving.0.load(Ordering::Relaxed).max(1) as u64;
        self.peak = self.peak.max(bytes.map(|bytes| bytes / tasks));
    }

    /// The peak in bytes; `None` if it could not be measured.
    pub(super) const fn peak(&self) -> Option<u64> {
        self.peak
    }
}

impl Drop for MemoryShare<'_> {
    fn drop(&mut self) {
        self.proving.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_at_the_same_time_share_the_memory() {
        let proving = Proving::default();
        let mut alone = proving.begin();
        assert_eq!(alone.peak(), None);
        alone.note(Some(900));
        let mut second = proving.begin();
        for share in [&mut alone, &mut second] {
            share.note(Some(1000));
            share.note(Some(1200));
            share.note(Some(800));
        }
        assert_eq!((alone.peak(), second.peak()), (Some(900), Some(600)));
        drop(alone);
        second.note(Some(700));
        assert_eq!(second.peak(), Some(700));
        second.look();
        assert!(second.peak() > Some(1 << 20), "this process takes more than a mebibyte");
    }
}
