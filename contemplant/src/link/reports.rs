//! Rate limit of progress messages.

use std::collections::BTreeMap;
use std::time::Duration;

use network_lib::ids::LeaseId;
use network_lib::job::{Phase, Progress};
use tokio::time::Instant;

/// Interval between two messages about progress in the same phase.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The last progress message of each attempt.
#[derive(Debug, Default)]
pub(super) struct Reports(BTreeMap<LeaseId, Reported>);

#[derive(Debug)]
struct Reported {
    phase: Phase,
    sent: Instant,
}

impl Reports {
    /// Whether progress is to be sent now.
    pub(super) fn is_due(&mut self, lease_id: LeaseId, progress: &Progress) -> bool {
        let now = Instant::now();
        let known = self.0.get(&lease_id).filter(|last| last.phase == progress.phase);
        let is_due = known.is_none_or(|last| now - last.sent >= PROGRESS_INTERVAL);
        if is_due {
            self.0.insert(lease_id, Reported { phase: progress.phase, sent: now });
        }
        is_due
    }

    /// Drops an attempt that has ended.
    pub(super) fn forget(&mut self, lease_id: LeaseId) {
        self.0.remove(&lease_id);
    }
}
