//! Which progress is worth a message.

use std::collections::BTreeMap;
use std::time::Duration;

use network_lib::ids::LeaseId;
use network_lib::job::{Phase, Progress};
use tokio::time::Instant;

/// Progress of the same step is sent at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What was last told of each attempt.
#[derive(Debug, Default)]
pub(super) struct Reports(BTreeMap<LeaseId, Reported>);

#[derive(Debug)]
struct Reported {
    phase: Phase,
    sent: Instant,
}

impl Reports {
    /// Whether progress is worth a message now.
    pub(super) fn is_news(&mut self, lease_id: LeaseId, progress: &Progress) -> bool {
        let now = Instant::now();
        let known = self.0.get(&lease_id).filter(|last| last.phase == progress.phase);
        let is_due = known.is_none_or(|last| now - last.sent >= PROGRESS_INTERVAL);
        if is_due {
            self.0.insert(lease_id, Reported { phase: progress.phase, sent: now });
        }
        is_due
    }

    /// An attempt is over.
    pub(super) fn forget(&mut self, lease_id: LeaseId) {
        self.0.remove(&lease_id);
    }
}
