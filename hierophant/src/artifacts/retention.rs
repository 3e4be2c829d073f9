//! Retention rules: how long artifacts are kept.
//!
//! An artifact is removed in two steps: its record is marked as expired, and after a grace period the bytes are
//! removed. If something needs them in between, the mark is cleared. So no record refers to missing bytes, even
//! after a power failure at any point.

use std::time::Duration;

use futures_util::future::BoxFuture;
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, ArtifactUse, Change, Cutoffs, DueRule, Millis,
};
use hierophant_store::{JobStore, StoreError};

/// Maximum number of artifacts per transaction, so that other writes get their turn.
pub(super) const BATCH: u32 = 200;

/// Maximum interval between sweeps.
const MAX_INTERVAL: Duration = Duration::from_secs(600);

/// Maximum time from a start to the first sweep: also a Hierophant that is restarted all the time removes what is due.
const FIRST_SWEEP: Duration = Duration::from_secs(5);

/// Maximum grace period, far longer than a running call that relies on the bytes.
const MAX_GRACE: Duration = Duration::from_secs(600);

/// Retention rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Retention of a proof after its delivery and after the deadlines of its requests.
    pub proofs_after_delivery: Duration,
    /// Retention of an undelivered proof after the deadlines of its requests.
    pub proofs_undelivered: Duration,
    /// Retention of an input after the end of the last job that uses it.
    pub inputs_after_end: Duration,
    /// Retention of an unused upload, and of an open ticket.
    pub unused_uploads: Duration,
}

impl Rules {
    fn shortest(&self) -> Duration {
        self.proofs_after_delivery
            .min(self.proofs_undelivered)
            .min(self.inputs_after_end)
            .min(self.unused_uploads)
    }

    /// Interval between sweeps.
    #[must_use]
    pub fn sweep_interval(&self) -> Duration {
        (self.shortest() / 2).clamp(Duration::from_millis(100), MAX_INTERVAL)
    }

    /// Time from a start to the first sweep.
    #[must_use]
    pub fn first_sweep(&self) -> Duration {
        self.sweep_interval().min(FIRST_SWEEP)
    }

    /// Cutoff times at a point in time.
    #[must_use]
    pub fn cutoffs(&self, now: Millis) -> Cutoffs {
        Cutoffs {
            delivered_before: before(now, self.proofs_after_delivery),
            undelivered_before: before(now, self.proofs_undelivered),
            ended_before: before(now, self.inputs_after_end),
            unused_before: before(now, self.unused_uploads),
            look_before: before(now, self.shortest()),
            expired_before: before(now, self.shortest().min(MAX_GRACE)),
        }
    }
}

/// What becomes of an artifact that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A ticket without an upload: its record is deleted.
    Forget,
    /// Nothing needs it.
    Unneeded,
    /// It is needed: until this rule's limit has passed this time at least.
    Needed(DueRule, Millis),
}

/// Judges an artifact.
#[must_use]
pub fn judge(
    artifact: &ArtifactRecord,
    used: &ArtifactUse,
    cutoffs: &Cutoffs,
    now: Millis,
) -> Verdict {
    let unused = Some((DueRule::Unused, artifact.created_at));
    let busy = used.busy.then_some((DueRule::Look, now));
    let ended = used.ended_at.map(|at| (DueRule::Ended, at));
    let needs = match (artifact.blob, artifact.kind) {
        (None, _) => [unused, None, None, None, None],
        (Some(_), ArtifactKind::Program) => {
            let registered = used.registered.then_some((DueRule::Look, now));
            [unused, busy, registered, None, None]
        }
        (Some(_), ArtifactKind::Stdin | ArtifactKind::PrivateStdin) => {
            let is_used = used.busy || used.ended_at.is_some();
            [unused.filter(|_| !is_used), busy, ended, None, None]
        }
        (Some(_), ArtifactKind::Proof) if used.accepted => {
            let delivered = used.delivered_deadline.and(artifact.delivered_at);
            let delivered = delivered.map(|at| (DueRule::Delivered, at));
            let asked = used.delivered_deadline.map(|at| (DueRule::Delivered, end_of(at)));
            let waiting = used.undelivered_deadline.map(|at| (DueRule::Undelivered, end_of(at)));
            [busy, ended, delivered, asked, waiting]
        }
        (Some(_), ArtifactKind::Proof) => [unused, busy, ended, None, None],
    };
    // The one that lasts longest, so that the artifact is looked at as rarely as possible.
    let lasting =
        |(rule, since): &(DueRule, Millis)| since.0.saturating_sub(cutoffs.before(*rule).0);
    let longest = needs.into_iter().flatten().filter(|need| lasting(need) >= 0).max_by_key(lasting);
    match (longest, artifact.blob) {
        (Some((rule, since)), _) => Verdict::Needed(rule, since),
        (None, None) => Verdict::Forget,
        (None, Some(_)) => Verdict::Unneeded,
    }
}

/// Last millisecond of a second.
const fn end_of(second: i64) -> Millis {
    Millis(second.saturating_mul(1000).saturating_add(999))
}

/// Looks at all artifacts that may be due: deletes unused tickets, marks what nothing needs as expired, and
/// reschedules the rest. `record` commits the changes of a batch and returns whether they are stored. Returns the
/// number of artifacts looked at.
///
/// # Errors
///
/// If the store cannot be read.
pub async fn expire_due<'a>(
    store: &'a dyn JobStore,
    cutoffs: &Cutoffs,
    now: Millis,
    record: impl Fn(Vec<Change>) -> BoxFuture<'a, bool> + Send + Sync,
) -> Result<usize, StoreError> {
    let mut looked = 0;
    for rule in DueRule::ALL.into_iter().filter(|rule| *rule != DueRule::Expired) {
        let mut after = None;
        loop {
            let found = store.due_artifacts(rule, cutoffs.before(rule), after, BATCH).await?;
            let Some(last) = found.last() else { break };
            after = Some((last.since, last.artifact.id));
            looked += found.len();
            let changes = found.iter().map(|due| {
                let (id, delivered_at) = (due.artifact.id, due.artifact.delivered_at);
                match judge(&due.artifact, &due.used, cutoffs, now) {
                    Verdict::Forget => Change::Forgotten(id),
                    Verdict::Unneeded => Change::Expired(id, Some(now)),
                    Verdict::Needed(rule, since) => {
                        Change::Rescheduled { id, delivered_at, rule, since }
                    }
                }
            });
            if !record(changes.collect()).await {
                return Ok(looked);
            }
        }
    }
    Ok(looked)
}

fn before(now: Millis, time: Duration) -> Millis {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Millis(now.0.saturating_sub(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(unused_uploads: Duration) -> Rules {
        Rules {
            proofs_after_delivery: Duration::from_secs(86_400),
            proofs_undelivered: Duration::MAX,
            inputs_after_end: Duration::from_secs(3600),
            unused_uploads,
        }
    }

    #[test]
    fn cutoffs_lie_as_far_back_as_the_rules_say() {
        let cutoffs = rules(Duration::from_secs(7200)).cutoffs(Millis(100_000_000));
        assert_eq!(cutoffs.delivered_before, Millis(100_000_000 - 86_400_000));
        assert!(cutoffs.undelivered_before < Millis(0), "forever");
        assert_eq!(cutoffs.ended_before, Millis(100_000_000 - 3_600_000));
        assert_eq!(cutoffs.unused_before, Millis(100_000_000 - 7_200_000));
        assert_eq!(cutoffs.expired_before, Millis(100_000_000 - 600_000));
    }

    #[test]
    fn short_times_are_looked_at_more_often() {
        assert_eq!(rules(Duration::from_secs(7200)).sweep_interval(), MAX_INTERVAL);
        assert_eq!(rules(Duration::from_secs(60)).sweep_interval(), Duration::from_secs(30));
        assert_eq!(rules(Duration::ZERO).sweep_interval(), Duration::from_millis(100));
    }

    #[test]
    fn the_first_sweep_does_not_wait_for_its_interval() {
        assert_eq!(rules(Duration::from_secs(7200)).first_sweep(), FIRST_SWEEP);
        assert_eq!(rules(Duration::ZERO).first_sweep(), Duration::from_millis(100));
    }
}
