//! Retention rules: how long artifacts are kept.
//!
//! An artifact is removed in two steps: its record is marked as expired, and after a grace period the bytes are
//! removed. If something needs them in between, the mark is cleared. So no record refers to missing bytes, even
//! after a power failure at any point.

use std::time::Duration;

use hierophant_model::records::{Cutoffs, Millis};

/// Maximum interval between sweeps.
const MAX_INTERVAL: Duration = Duration::from_secs(600);

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

    /// Cutoff times at a point in time.
    #[must_use]
    pub fn cutoffs(&self, now: Millis) -> Cutoffs {
        Cutoffs {
            delivered_before: before(now, self.proofs_after_delivery),
            undelivered_before: before(now, self.proofs_undelivered),
            ended_before: before(now, self.inputs_after_end),
            unused_before: before(now, self.unused_uploads),
            expired_before: before(now, self.shortest().min(MAX_GRACE)),
        }
    }
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
}
