//! Memory of blobs that were seen a moment ago.
//!
//! A look at a file is handed over to another thread, because a disk may hang, and that costs ten times as much as the
//! look itself; a look into a bucket costs a request. Calls that follow each other closely share one.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use network_lib::ids::ArtifactId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Time for which a blob that was seen counts as there. What another program removes is noticed that much later.
const LATELY: Duration = Duration::from_secs(1);

/// Number of blobs that are remembered.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Blobs that were seen, with their sizes.
#[derive(Debug)]
pub(super) struct Seen(Mutex<LruCache<ArtifactId, (u64, Instant)>>);

impl Default for Seen {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_REMEMBERED)))
    }
}

impl Seen {
    /// A blob was seen with this size, or was not there.
    pub(super) fn note(&self, id: ArtifactId, size: Option<u64>) {
        let mut seen = self.0.lock();
        match size {
            Some(size) => {
                seen.put(id, (size, Instant::now()));
            }
            None => {
                seen.pop(&id);
            }
        }
    }

    /// Size of a blob that was seen lately.
    pub(super) fn lately(&self, id: ArtifactId) -> Option<u64> {
        let (size, at) = *self.0.lock().peek(&id)?;
        (at.elapsed() < LATELY).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ArtifactId = ArtifactId([1; 16]);

    #[tokio::test(start_paused = true)]
    async fn a_blob_counts_as_there_for_a_moment_and_until_it_is_missed() {
        let seen = Seen::default();
        assert_eq!(seen.lately(ID), None);
        seen.note(ID, Some(5));
        assert_eq!(seen.lately(ID), Some(5));
        assert_eq!(seen.lately(ArtifactId([2; 16])), None);
        tokio::time::advance(LATELY).await;
        assert_eq!(seen.lately(ID), None, "it may have been removed since");
        seen.note(ID, Some(6));
        seen.note(ID, None);
        assert_eq!(seen.lately(ID), None, "it was removed");
    }
}
