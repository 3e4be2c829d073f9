//! For how long bytes are kept, as plain arithmetic.
//!
//! An artifact goes in two steps: first its record says that the bytes are not promised any more, a while
//! later the bytes go. If something has come to need them in between, the first step is taken back. So no
//! record ever promises bytes that are gone, wherever the power fails.

use std::time::Duration;

use hierophant_model::records::{Cutoffs, Millis};

/// Longest time between two looks at what may go.
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);

/// Longest time between the two steps; far more than a call that still counts on the bytes takes.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// For how long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A proof, after it was delivered and after the deadlines of its requests.
    pub proofs_after_delivery: Duration,
    /// A proof that nobody fetched, after the deadlines of its requests.
    pub proofs_undelivered: Duration,
    /// An input, after the last job that uses it has ended.
    pub inputs_after_end: Duration,
    /// An upload that nothing uses, and an open ticket.
    pub unused_uploads: Duration,
}

impl Rules {
    fn shortest(&self) -> Duration {
        self.proofs_after_delivery
            .min(self.proofs_undelivered)
            .min(self.inputs_after_end)
            .min(self.unused_uploads)
    }

    /// How often to look.
    #[must_use]
    pub fn sweep_interval(&self) -> Duration {
        (self.shortest() / 2).clamp(Duration::from_millis(100), LONGEST_INTERVAL)
    }

    /// The points in time that follow from the current one.
    #[must_use]
    pub fn cutoffs(&self, now: Millis) -> Cutoffs {
        Cutoffs {
            delivered_before: before(now, self.proofs_after_delivery),
            undelivered_before: before(now, self.proofs_undelivered),
            ended_before: before(now, self.inputs_after_end),
            unused_before: before(now, self.unused_uploads),
            expired_before: before(now, self.shortest().min(LONGEST_GRACE)),
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
        assert!(cutoffs.undelivered_before < Millis(0), "for ever");
        assert_eq!(cutoffs.ended_before, Millis(100_000_000 - 3_600_000));
        assert_eq!(cutoffs.unused_before, Millis(100_000_000 - 7_200_000));
        assert_eq!(cutoffs.expired_before, Millis(100_000_000 - 600_000));
    }

    #[test]
    fn short_times_are_looked_at_more_often() {
        assert_eq!(rules(Duration::from_secs(7200)).sweep_interval(), LONGEST_INTERVAL);
        assert_eq!(rules(Duration::from_secs(60)).sweep_interval(), Duration::from_secs(30));
        assert_eq!(rules(Duration::ZERO).sweep_interval(), Duration::from_millis(100));
    }
}
