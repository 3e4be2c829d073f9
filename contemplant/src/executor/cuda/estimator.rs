//! Progress and ETA of a proof: counted from the tasks in the server's log, else estimated from past proofs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use network_lib::ids::Sha256Digest;
use network_lib::job::{Phase, Progress, ProofMode};

use crate::prover_server::log::Tasks;

/// Number of programs whose rates are kept.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Below this fraction the rate of the proof itself is not reliable.
const MIN_FRACTION: f64 = 0.05;

/// Estimates progress by the seconds for each cycle in past proofs.
#[derive(Debug, Default)]
pub(super) struct ProgressEstimator(Mutex<PastRates>);

#[derive(Debug)]
struct PastRates {
    by_program: LruCache<(Sha256Digest, ProofMode), f64>,
    by_mode: BTreeMap<ProofMode, f64>,
}

impl Default for PastRates {
    fn default() -> Self {
        Self { by_program: LruCache::new(KEPT), by_mode: BTreeMap::new() }
    }
}

/// The program, mode and cycles of a proof.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) program: Sha256Digest,
    pub(super) mode: ProofMode,
    pub(super) cycles: u64,
}

impl ProgressEstimator {
    /// Records the duration of a proof, without the set-up of its program: only the first proof needs that.
    pub(super) fn learn(&self, subject: Subject, took: Duration) {
        let seconds_per_cycle = took.as_secs_f64() / subject.cycles.max(1) as f64;
        let mut past = self.lock();
        past.by_program.put((subject.program, subject.mode), seconds_per_cycle);
        past.by_mode.insert(subject.mode, seconds_per_cycle);
    }

    /// Expected duration in seconds, from past proofs of the program, else of the mode.
    fn expected(&self, subject: Subject) -> Option<f64> {
        let mut past = self.lock();
        let of_program = past.by_program.get(&(subject.program, subject.mode)).copied();
        let seconds_per_cycle = of_program.or_else(|| past.by_mode.get(&subject.mode).copied())?;
        Some(seconds_per_cycle * subject.cycles as f64)
    }

    /// Progress of a proof at `elapsed` after its start.
    pub(super) fn progress(&self, subject: Subject, tasks: Tasks, elapsed: Duration) -> Progress {
        let Subject { mode, cycles, .. } = subject;
        let elapsed = elapsed.as_secs_f64();
        let counted = tasks.fraction(mode);
        let seconds = match counted {
            Some(part) if part > MIN_FRACTION => Some(elapsed / part),
            _ => self.expected(subject),
        };
        let guessed = seconds.map(|seconds| (elapsed / seconds.max(f64::MIN_POSITIVE)).min(0.99));
        let fraction = counted.or(guessed);
        Progress {
            fraction: fraction.map(|fraction| fraction as f32),
            cycles_done: tasks.shards().map(|part| (cycles as f64 * part) as u64),
            cycles_total: Some(cycles),
            eta_seconds: seconds.map(|seconds| (seconds - elapsed).ceil().max(1.0) as u64),
            estimated: counted.is_none() && fraction.is_some(),
            ..Progress::phase(Phase::Proving)
        }
    }

    fn lock(&self) -> MutexGuard<'_, PastRates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject =
        Subject { program: Sha256Digest([1; 32]), mode: ProofMode::Core, cycles: 1000 };

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_proof_is_not_guessed_at() {
        let progress = ProgressEstimator::default().progress(SUBJECT, Tasks::default(), seconds(5));
        assert_eq!((progress.fraction, progress.eta_seconds), (None, None));
        assert_eq!((progress.cycles_total, progress.estimated), (Some(1000), false));
    }

    #[test]
    fn later_ones_are_estimated_from_their_program_else_from_their_kind() {
        let estimator = ProgressEstimator::default();
        estimator.learn(SUBJECT, seconds(10));
        let other = Subject { program: Sha256Digest([2; 32]), cycles: 2000, ..SUBJECT };
        let progress = estimator.progress(other, Tasks::default(), seconds(5));
        assert_eq!((progress.fraction, progress.eta_seconds), (Some(0.25), Some(15)));
        assert!(progress.estimated);
        estimator.learn(other, seconds(200));
        let again = estimator.progress(SUBJECT, Tasks::default(), seconds(5));
        assert_eq!((again.fraction, again.eta_seconds), (Some(0.5), Some(5)));
        let overdue = estimator.progress(SUBJECT, Tasks::default(), seconds(50));
        assert_eq!((overdue.fraction, overdue.eta_seconds), (Some(0.99), Some(1)));
    }

    #[test]
    fn the_rate_that_was_not_used_for_longest_is_dropped() {
        let estimator = ProgressEstimator::default();
        let subject = |number| Subject { program: Sha256Digest([number; 32]), ..SUBJECT };
        let expected = |number| {
            estimator.progress(subject(number), Tasks::default(), Duration::ZERO).eta_seconds
        };
        let count = u8::try_from(KEPT.get()).expect("small");
        for number in 0..count {
            estimator.learn(subject(number), seconds(10));
        }
        assert_eq!(expected(0), Some(10));
        estimator.learn(subject(count), seconds(99));
        assert_eq!((expected(0), expected(1)), (Some(10), Some(99)), "1 is estimated by its mode");
    }
}
