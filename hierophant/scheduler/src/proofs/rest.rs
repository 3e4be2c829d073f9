//! Rests of workers whose attempts keep failing for reasons of their network or disk.
//!
//! Such a failure is not held against a worker: it gets no strike, and the job another attempt. A machine whose disk is
//! full is therefore the first one with a free slot again and again, and would be given one job of a busy network's
//! queue after the other. It rests instead, longer after each failure, until one of its proofs is accepted.

use std::time::Duration;

use hierophant_model::records::Millis;

/// Longest rest.
const MAX_REST_MS: i64 = 120_000;

/// Number of failures in a row from which on a worker gets one attempt at a time.
const PROBATION_AFTER: u32 = 3;

/// Infrastructure failures of a worker in a row, and its rest after them. Forgotten at a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rest {
    failures: u32,
    /// End of the current rest.
    until: Option<Millis>,
    /// Message of the latest failure.
    last: String,
}

impl Rest {
    /// Records a failure. Returns the end of the rest that it begins; `None` during a rest, because the attempts that
    /// fail then are older than it.
    pub fn fail(&mut self, now: Millis, message: &str) -> Option<Millis> {
        if self.until.is_some() {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        message.clone_into(&mut self.last);
        let end = Millis(now.0.saturating_add(self.length()));
        self.until = Some(end);
        self.until
    }

    /// Ends the rest if its time is over.
    pub fn end(&mut self, now: Millis) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Whether the worker rests.
    #[must_use]
    pub const fn is_resting(&self) -> bool {
        self.until.is_some()
    }

    /// Whether the worker gets one attempt at a time.
    #[must_use]
    pub const fn is_on_probation(&self) -> bool {
        self.failures >= PROBATION_AFTER
    }

    /// Explanation for operators while the worker rests or gets one attempt at a time.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        let (count, plural) = (self.failures, if self.failures == 1 { "" } else { "s" });
        let state = match () {
            () if self.is_resting() => {
                let length = Duration::from_millis(self.length().unsigned_abs());
                format!("rests for {}", humantime::format_duration(length))
            }
            () if self.is_on_probation() => "gets one job at a time".to_owned(),
            () => return None,
        };
        let last = &self.last;
        Some(format!("{state} after {count} infrastructure failure{plural} in a row; last: {last}"))
    }

    /// Adjusts the end to a wall clock that was set by `by` milliseconds.
    pub fn clock_set(&mut self, by: i64) {
        if let Some(until) = &mut self.until {
            until.shift(by);
        }
    }

    /// A second after the first failure, doubling with each further one.
    fn length(&self) -> i64 {
        (1000_i64 << self.failures.saturating_sub(1).min(10)).min(MAX_REST_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_doubles_from_a_second_to_two_minutes_and_counts_no_older_attempt() {
        let (mut rest, mut now, mut lengths) = (Rest::default(), Millis(0), Vec::new());
        for _ in 0..10 {
            let until = rest.fail(now, "disk full").expect("it rests");
            assert_eq!(rest.fail(now, "another attempt, of before"), None);
            lengths.push((until.0 - now.0) / 1000);
            rest.end(Millis(until.0 - 1));
            assert!(rest.is_resting());
            rest.end(until);
            assert!(!rest.is_resting());
            now = until;
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
    }

    #[test]
    fn a_rest_is_explained() {
        let mut rest = Rest::default();
        assert_eq!(rest.obstacle(), None);
        let mut now = Millis(0);
        let mut words = Vec::new();
        for _ in 0..3 {
            now = rest.fail(now, "disk full").expect("it rests");
            words.push(rest.obstacle());
            rest.end(now);
            words.push(rest.obstacle());
        }
        let said = |state: &str, failures: &str| {
            Some(format!("{state} after {failures} in a row; last: disk full"))
        };
        assert_eq!(words[0], said("rests for 1s", "1 infrastructure failure"));
        assert_eq!((&words[1], &words[3]), (&None, &None));
        assert_eq!(words[4], said("rests for 4s", "3 infrastructure failures"));
        assert_eq!(words[5], said("gets one job at a time", "3 infrastructure failures"));
    }

    #[test]
    fn a_clock_that_is_set_neither_ends_nor_prolongs_a_rest() {
        let mut rest = Rest::default();
        rest.fail(Millis(5000), "disk full");
        rest.clock_set(-4000);
        rest.end(Millis(1999));
        assert!(rest.is_resting());
        rest.end(Millis(2000));
        assert!(!rest.is_resting());
    }
}
