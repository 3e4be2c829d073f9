//! How far a proof is and when it will be there: counted where the server's log tells of tasks, else
//! estimated from past proofs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use network_lib::ids::Sha256Digest;
use network_lib::job::{Phase, Progress, ProofMode};

use crate::prover_server::log::Tasks;

/// How many programs' paces are kept.
const KEPT: usize = 64;

/// Below this part the pace of the proof itself says little.
const TELLING: f64 = 0.05;

/// Seconds for each cycle in past proofs.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    by_program: BTreeMap<(Sha256Digest, ProofMode), f64>,
    by_mode: BTreeMap<ProofMode, f64>,
}

/// What is being proved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) program: Sha256Digest,
    pub(super) mode: ProofMode,
    pub(super) cycles: u64,
}

impl Pace {
    /// A proof took so long.
    pub(super) fn learn(&self, subject: Subject, took: Duration) {
        let pace = took.as_secs_f64() / subject.cycles.max(1) as f64;
        let mut past = self.lock();
        if past.by_program.len() >= KEPT {
            past.by_program.pop_first();
        }
        past.by_program.insert((subject.program, subject.mode), pace);
        past.by_mode.insert(subject.mode, pace);
    }

    /// Seconds that a proof will take, as far as past ones of its program, or else of its kind, tell.
    fn expected(&self, subject: Subject) -> Option<f64> {
        let past = self.lock();
        let of_program = past.by_program.get(&(subject.program, subject.mode));
        let pace = of_program.or_else(|| past.by_mode.get(&subject.mode))?;
        Some(pace * subject.cycles as f64)
    }

    /// What can be told of a proof `elapsed` after its start.
    pub(super) fn progress(&self, subject: Subject, tasks: Tasks, elapsed: Duration) -> Progress {
        let Subject { mode, cycles, .. } = subject;
        let elapsed = elapsed.as_secs_f64();
        let counted = tasks.fraction(mode);
        let seconds = match counted {
            Some(part) if part > TELLING => Some(elapsed / part),
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

    fn lock(&self) -> MutexGuard<'_, Past> {
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
        let progress = Pace::default().progress(SUBJECT, Tasks::default(), seconds(5));
        assert_eq!((progress.fraction, progress.eta_seconds), (None, None));
        assert_eq!((progress.cycles_total, progress.estimated), (Some(1000), false));
    }

    #[test]
    fn later_ones_are_estimated_from_their_program_else_from_their_kind() {
        let pace = Pace::default();
        pace.learn(SUBJECT, seconds(10));
        let other = Subject { program: Sha256Digest([2; 32]), cycles: 2000, ..SUBJECT };
        let progress = pace.progress(other, Tasks::default(), seconds(5));
        assert_eq!((progress.fraction, progress.eta_seconds), (Some(0.25), Some(15)));
        assert!(progress.estimated);
        pace.learn(other, seconds(200));
        let again = pace.progress(SUBJECT, Tasks::default(), seconds(5));
        assert_eq!((again.fraction, again.eta_seconds), (Some(0.5), Some(5)));
        let overdue = pace.progress(SUBJECT, Tasks::default(), seconds(50));
        assert_eq!((overdue.fraction, overdue.eta_seconds), (Some(0.99), Some(1)));
    }
}
