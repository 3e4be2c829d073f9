//! Which progress is worth a message, and which a line in the log.

use std::collections::BTreeMap;
use std::time::Duration;

use network_lib::ids::LeaseId;
use network_lib::job::{Phase, Progress};
use tokio::time::Instant;

use crate::runner::lease_hint;

/// Progress of the same step is sent at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Progress of the same step is logged at most this often.
const PROGRESS_LOG_INTERVAL: Duration = Duration::from_secs(15);

/// What was last told of each attempt.
#[derive(Debug, Default)]
pub(super) struct Reports(BTreeMap<LeaseId, Reported>);

#[derive(Debug)]
struct Reported {
    phase: Phase,
    sent: Instant,
    logged: Instant,
}

impl Reports {
    /// Whether progress is worth a message now; logs it now and then.
    pub(super) fn is_news(&mut self, lease_id: LeaseId, progress: &Progress) -> bool {
        let now = Instant::now();
        let known = self.0.get(&lease_id).filter(|last| last.phase == progress.phase);
        let is_due = known.is_none_or(|last| now - last.sent >= PROGRESS_INTERVAL);
        let is_logged = known.is_none_or(|last| now - last.logged >= PROGRESS_LOG_INTERVAL);
        let (sent, logged) = known.map_or((now, now), |last| (last.sent, last.logged));
        if is_logged {
            tracing::info!(
                lease = lease_hint(lease_id),
                phase = %progress.phase,
                fraction = progress.fraction,
                eta_seconds = progress.eta_seconds,
                "progress"
            );
        }
        let reported = Reported {
            phase: progress.phase,
            sent: if is_due { now } else { sent },
            logged: if is_logged { now } else { logged },
        };
        self.0.insert(lease_id, reported);
        is_due
    }

    /// An attempt is over.
    pub(super) fn forget(&mut self, lease_id: LeaseId) {
        self.0.remove(&lease_id);
    }
}
