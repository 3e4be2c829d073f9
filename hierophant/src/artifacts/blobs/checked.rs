//! Memory of digests that were found sound: reading a blob is dear, and anyone who knows an id can ask for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use network_lib::ids::ArtifactId;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::BlobMetadata;

/// Time for which a digest is believed.
const BELIEVED: Duration = Duration::from_secs(300);

/// Number of blobs that are read at the same time.
const TURNS: usize = 2;

/// Number of blobs that are remembered.
const MAX_REMEMBERED: usize = 4096;

/// A digest that was found sound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sound {
    at: Instant,
    found: BlobMetadata,
}

impl Sound {
    /// The blob with this metadata was found sound now.
    pub(super) fn now(found: BlobMetadata) -> Self {
        Self { at: Instant::now(), found }
    }

    /// Whether that is still believed of the blob with this metadata.
    pub(super) fn holds_for(self, found: BlobMetadata) -> bool {
        self.found == found && self.at.elapsed() < BELIEVED
    }
}

/// Slot of a blob. The holder of its lock reads the blob, so it is read once at a time.
type Slot = Arc<tokio::sync::Mutex<Option<Sound>>>;

/// Blobs whose digests were checked lately.
#[derive(Debug)]
pub(super) struct Checked {
    slots: Mutex<BTreeMap<ArtifactId, Slot>>,
    turns: Semaphore,
}

impl Default for Checked {
    fn default() -> Self {
        Self { slots: Mutex::default(), turns: Semaphore::new(TURNS) }
    }
}

impl Checked {
    /// The slot of a blob. When there are too many, those that are not in use are forgotten.
    pub(super) fn slot(&self, id: ArtifactId) -> Slot {
        let mut slots = self.slots.lock();
        if slots.len() >= MAX_REMEMBERED && !slots.contains_key(&id) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(id).or_default())
    }

    /// A blob with this metadata is sound, unless it is being read just now.
    pub(super) fn note(&self, id: ArtifactId, found: BlobMetadata) {
        if let Ok(mut sound) = self.slot(id).try_lock() {
            *sound = Some(Sound::now(found));
        }
    }

    /// Waits for a turn to read a blob; `None` only if turns have ended.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_digest_is_believed_for_minutes_and_of_the_same_file_only() {
        let found = BlobMetadata { size: 5, modified: SystemTime::UNIX_EPOCH };
        let sound = Sound::now(found);
        assert!(sound.holds_for(found));
        assert!(!sound.holds_for(BlobMetadata { size: 6, ..found }));
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        assert!(!sound.holds_for(BlobMetadata { modified: later, ..found }));
        tokio::time::advance(BELIEVED).await;
        assert!(!sound.holds_for(found));
    }

    #[tokio::test]
    async fn memory_is_bounded_and_a_blob_that_is_being_read_is_not_forgotten() {
        let checked = Checked::default();
        let id = |n: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            ArtifactId(id)
        };
        let held = checked.slot(id(0));
        for n in 1..=2 * MAX_REMEMBERED {
            drop(checked.slot(id(n)));
        }
        assert!(checked.slots.lock().len() <= MAX_REMEMBERED);
        assert!(Arc::ptr_eq(&held, &checked.slot(id(0))));
    }
}
