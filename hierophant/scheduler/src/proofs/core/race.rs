//! Second attempts at straggling jobs on workers that would otherwise be idle.
//!
//! The first valid proof ends the job, which stops the other attempt; being slower counts as no failure. A failure
//! by the program or the request ends the job as usual, because another machine would fail the same way. Any other
//! failure ends one attempt, and the other continues.

use std::collections::BTreeSet;

use hierophant_model::records::{JobState, Millis};
use network_lib::ids::{JobId, WorkerId};

use super::{Effect, MAX_EFFECTS, ProofsCore};
use crate::proofs::lease::{Lease, Worker};
use crate::proofs::memory::MemoryFit;

/// Minimum age of an attempt that is raced, even if such proofs are shorter: a second attempt first costs a
/// download and a setup.
const MIN_RACE_AGE_MS: u64 = 10_000;

/// Attempt that is unusually slow.
struct Straggler {
    started_at: Millis,
    job: JobId,
    /// Duration in milliseconds within which it should have ended.
    limit: u64,
}

impl ProofsCore {
    /// Starts second attempts at stragglers on idle workers, the oldest first. Runs after `dispatch`, because
    /// waiting jobs come first.
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
            // The next sweep goes on.
            if effects.len() >= MAX_EFFECTS {
                return;
            }
            if let Some(worker) = self.racing_worker(&straggler, &idle) {
                idle.remove(&worker);
                self.start_attempt(now, straggler.job, worker, effects);
            }
        }
    }

    /// Checks an attempt by its elapsed time and by the remaining time that its worker reports.
    fn straggler(&self, now: Millis, held: &Lease) -> Option<Straggler> {
        let live = self.jobs.get(&held.job)?;
        let is_there = self.workers.get(&held.attempt.prover.worker).is_some_and(|it| !it.away);
        // Each attempt of a race may fail by its worker's fault.
        let at_fault = live.failures.workers.len();
        let in_budget = at_fault.saturating_add(2) <= self.limits.max_attempts as usize;
        let alone = live.leases.len() == 1 && held.state() <= JobState::Proving;
        let started_at = held.attempt.started_at;
        let taken = now.since(held.started_at);
        if !is_there || !in_budget || !alone || live.not_before > now || taken < MIN_RACE_AGE_MS {
            return None;
        }
        let cycles = live.record.execution.map(|found| found.cycles);
        let expected = self.durations.estimate(&live.record.spec, cycles)?;
        let limit = times(expected, self.limits.race_after);
        let reported_eta = held.progress.and_then(|progress| progress.eta_seconds).unwrap_or(0);
        let slow = taken > limit || reported_eta.saturating_mul(1000) > limit;
        slow.then_some(Straggler { started_at, job: held.job, limit })
    }

    /// Idle workers that support none of the waiting jobs.
    fn idle_workers(&self) -> BTreeSet<WorkerId> {
        let wanted = |worker: &Worker| self.queue.needs().any(|need| worker.fits_need(need));
        let idle = self.workers.iter().filter(|(_, worker)| worker.is_idle() && !wanted(worker));
        idle.map(|(id, _)| *id).collect()
    }

    /// Worker for a second attempt: capable, new to the job, and not known to be as slow. Ties go to the fastest
    /// known worker, then to the smallest id.
    fn racing_worker(&self, straggler: &Straggler, idle: &BTreeSet<WorkerId>) -> Option<WorkerId> {
        let live = self.jobs.get(&straggler.job)?;
        let spec = &live.record.spec;
        let cycles = live.record.execution.map(|found| found.cycles);
        let oom = &live.failures.oom;
        let able = |id: &WorkerId| {
            let worker = self.workers.get(id).filter(|worker| worker.fits(live.wanted()));
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
