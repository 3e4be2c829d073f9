//! A second attempt at a job whose only one drags on, where a worker would otherwise be idle.
//!
//! The first proof that passes its check ends the job, which stops the other attempt; nobody is blamed
//! for having been slower. A failure that is the program's or the request's ends the job as ever: another
//! machine would find the same. Any other failure ends one attempt, and the other goes on.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{JobState, Millis};
use network_lib::ids::{JobId, WorkerId};

use super::{Effect, ProofsCore};
use crate::proofs::lease::{Lease, Worker};
use crate::proofs::memory::MemoryFit;

/// Nothing is raced before that, however short such proofs usually are: a second attempt costs a
/// download and a setup first.
const MIN_RACE_AGE_MS: u64 = 10_000;

/// An attempt that drags on.
struct Straggler {
    started_at: Millis,
    job: JobId,
    /// Milliseconds in which it should have been done.
    limit: u64,
}

impl ProofsCore {
    /// Has idle workers race stragglers, the oldest first. Comes after `dispatch`: what waits goes
    /// first.
    pub(super) fn race(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let off = self.limits.race_after <= 0.0 || self.paused.is_some();
        if off || !self.workers.values().any(Worker::is_idle) {
            return;
        }
        let mut stragglers: Vec<Straggler> =
            self.leases.values().filter_map(|held| self.straggler(now, held)).collect();
        if stragglers.is_empty() {
            return;
        }
        stragglers.sort_by_key(|straggler| (straggler.started_at, straggler.job));
        let mut idle = self.idle_workers();
        for straggler in stragglers {
            if let Some(worker) = self.racing_worker(&straggler, &idle) {
                idle.remove(&worker);
                self.start_attempt(now, straggler.job, worker, effects);
            }
        }
    }

    /// Judges an attempt by what it has taken and by what its worker says that it will still take.
    fn straggler(&self, now: Millis, held: &Lease) -> Option<Straggler> {
        let live = self.jobs.get(&held.job)?;
        let is_there = self.workers.get(&held.attempt.prover.worker).is_some_and(|it| !it.away);
        // Each attempt of a race may fail by its worker's fault.
        let in_budget = live.worker_failures.saturating_add(2) <= self.limits.max_attempts;
        let alone = live.leases.len() == 1 && held.state() <= JobState::Proving;
        let started_at = held.attempt.started_at;
        let taken = now.since(held.started_at);
        if !is_there || !in_budget || !alone || live.not_before > now || taken < MIN_RACE_AGE_MS {
            return None;
        }
        let cycles = live.record.execution.map(|found| found.cycles);
        let expected = self.durations.estimate(&live.record.spec, cycles)?;
        let limit = times(expected, self.limits.race_after);
        let told = held.progress.and_then(|progress| progress.eta_seconds).unwrap_or(0);
        let slow = taken > limit || told.saturating_mul(1000) > limit;
        slow.then_some(Straggler { started_at, job: held.job, limit })
    }

    /// The workers that have nothing to do and could take nothing of what waits, not even later.
    fn idle_workers(&self) -> BTreeSet<WorkerId> {
        let waiting = self.queue.jobs().filter_map(|job| self.jobs.get(&job));
        // One of each kind is enough to look at.
        let kinds: BTreeMap<_, _> = waiting
            .map(|live| &live.record.spec)
            .map(|spec| ((spec.mode, spec.circuit_version.as_str()), spec))
            .collect();
        let wanted = |worker: &Worker| kinds.values().any(|spec| worker.fits(spec));
        let idle = self.workers.iter().filter(|(_, worker)| worker.is_idle() && !wanted(worker));
        idle.map(|(id, _)| *id).collect()
    }

    /// The worker to race a straggler: able to, new to the job, and not known to be as slow; of several
    /// the one that is known to be fastest, then the smallest id.
    fn racing_worker(&self, straggler: &Straggler, idle: &BTreeSet<WorkerId>) -> Option<WorkerId> {
        let live = self.jobs.get(&straggler.job)?;
        let spec = &live.record.spec;
        let cycles = live.record.execution.map(|found| found.cycles);
        let oom = &live.failures.oom;
        let able = |id: &WorkerId| {
            let worker = self.workers.get(id).filter(|worker| worker.fits(spec));
            worker.is_some_and(|worker| oom.fit(*id, worker) == MemoryFit::More)
        };
        idle.difference(&live.tried)
            .filter(|id| able(id))
            .map(|id| {
                (
                    self.durations
                        .estimate_for_worker(*id, spec, cycles)
                        .unwrap_or(straggler.limit),
                    *id,
                )
            })
            .filter(|(expected, _)| *expected <= straggler.limit)
            .min()
            .map(|(_, id)| id)
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a limit need not be exact, and the cast saturates"
)]
fn times(millis: u64, factor: f64) -> u64 {
    (millis as f64 * factor) as u64
}
