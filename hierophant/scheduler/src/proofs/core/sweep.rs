//! Time-driven decisions.

use std::collections::BTreeSet;

use hierophant_model::records::{Millis, RequestState};
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::ToWorker;

use super::divisions::TaskAttempt;
use super::{Effect, MAX_EFFECTS, ProofsCore};
use crate::proofs::lease::{Lease, Worker};

impl ProofsCore {
    /// Ends requests past their deadline, stops attempts that exceed their limits, interrupts attempts of workers
    /// that have not reconnected after the start, assigns jobs whose delay is over, and races stragglers.
    ///
    /// Whatever is due, one sweep has some hundred effects. [`ProofsCore::is_behind`] tells whether there is more; then
    /// the next sweep can follow as soon as this one is stored.
    pub fn sweep(&mut self, now: Millis) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.expire_stats(now);
        self.end_rests(now);
        self.forget_shortages(now);
        self.recent.forget(now);
        self.answered.forget(now);
        self.end_what_is_due(now, &mut effects);
        self.excuse_waiting(now);
        let mut is_more = false;
        for (lease, why) in self.overdue(now) {
            is_more = effects.len() >= MAX_EFFECTS;
            if is_more {
                break;
            }
            // A proof that was handed in is checked instead.
            if self.check_if_handed_in(now, lease, &mut effects) {
                continue;
            }
            let worker = self.leases.get(&lease).map(|held| held.attempt.prover.worker);
            let failure = Failure::new(FailureClass::Worker, why.clone());
            self.fail_attempt(now, lease, failure, &mut effects);
            if let Some(worker) = worker {
                let message = ToWorker::Cancel { lease_id: lease, reason: why };
                effects.push(Effect::Send(worker, message));
            }
        }
        self.end_overdue_tasks(now, &mut effects);
        self.assemble_again(now, &mut effects);
        if now > self.return_deadline {
            self.all_returned(now, &mut effects);
            for lease in self.unreturned_leases() {
                is_more |= effects.len() >= MAX_EFFECTS;
                if is_more {
                    break;
                }
                let reason = "the worker did not reconnect after Hierophant's restart";
                self.interrupt(now, lease, None, reason, &mut effects);
            }
        }
        self.end_withheld(now, &mut effects);
        self.dispatch(now, &mut effects);
        self.is_cut_short |= is_more;
        self.race(now, &mut effects);
        self.race_tasks(now, &mut effects);
        effects
    }

    /// Ends what has begun to end, and requests past their deadline, and saves reopened ones, as many as one event
    /// takes.
    fn end_what_is_due(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while effects.len() < MAX_EFFECTS
            && let Some((job, end)) = self.due.pop_front()
        {
            self.end_job(now, job, end, effects);
        }
        while effects.len() < MAX_EFFECTS
            && let Some(job) = self.ending.first().copied()
        {
            self.go_on_ending(now, job, effects);
        }
        self.save_reopened(effects);
        while effects.len() < MAX_EFFECTS
            && let Some(request) = self.open.past_deadline(now)
        {
            self.end_request(now, request, RequestState::Expired, effects);
        }
        self.is_expiring = self.open.past_deadline(now).is_some();
    }

    /// Adjusts all times to a wall clock that was set by `by` milliseconds. Deadlines follow the clock; elapsed
    /// times and delays stay the same.
    pub fn clock_set(&mut self, by: i64) {
        self.return_deadline.shift(by);
        self.shift_rests(by);
        self.recent.shift(by);
        self.workers.values_mut().for_each(|worker| worker.joined_at.shift(by));
        self.answered.shift(by);
        self.strangers.shift(by);
        self.leases.values_mut().for_each(|held| held.clock_set(by));
        self.divisions.clock_set(by);
        self.prepared.clock_set(by);
        self.queue.clock_set(by);
        for live in self.jobs.values_mut() {
            live.not_before.shift(by);
            live.failures.not_before.shift(by);
            if let Some(interrupted) = &mut live.interrupted {
                interrupted.clock_set(by);
            }
        }
        for stats in self.stats.values_mut() {
            stats.strikes.iter_mut().for_each(|at| at.shift(by));
            stats.seen_at.shift(by);
        }
    }

    /// Attempts that exceed a limit, each with the reason. Attempts of disconnected workers are exempt, because
    /// their progress is unknown, and those that have not begun.
    fn overdue(&self, now: Millis) -> Vec<(LeaseId, String)> {
        let minutes = |millis: i64| millis / 60_000;
        let (attempt, stall) = (self.limits.attempt_limit_ms, self.limits.stall_limit_ms);
        let judge = |held: &Lease| {
            let taken = now.0 - held.started_at.0;
            let stood = now.0 - held.last_progress_at.0;
            if attempt > 0 && taken > attempt {
                return Some(format!("not finished after {} minutes", minutes(taken)));
            }
            (stall > 0 && stood > stall)
                .then(|| format!("no progress for {} minutes", minutes(stood)))
        };
        let present = |held: &Lease| {
            let worker = self.workers.get(&held.attempt.prover.worker);
            !held.checking && !held.is_ahead() && worker.is_some_and(|worker| !worker.away)
        };
        self.leases
            .iter()
            .filter(|(_, held)| present(held))
            .filter_map(|(lease, held)| judge(held).map(|why| (*lease, why)))
            .collect()
    }

    /// Ends attempts at tasks that exceed the limit of an attempt, unless their workers are away.
    fn end_overdue_tasks(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let limit = self.limits.attempt_limit_ms;
        let is_overdue = |held: &&TaskAttempt| {
            let worker = self.workers.get(&held.record.prover.worker);
            let taken = now.0 - held.record.started_at.0;
            limit > 0 && taken > limit && worker.is_some_and(|worker| !worker.away)
        };
        let attempts = self.divisions.attempts.values().filter(is_overdue);
        let overdue: Vec<_> = attempts.map(|held| (held.record.job, held.record.lease)).collect();
        for (job, lease) in overdue {
            self.with_tasks(now, job, effects, |tasks| tasks.overdue(now, lease));
        }
    }

    /// The time for workers to return after the start is over: tasks of those that have not are lost.
    fn all_returned(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.divisions.have_returned, true) {
            return;
        }
        let attempts = self.divisions.attempts.values();
        let workers: BTreeSet<_> = attempts.map(|held| held.record.prover.worker).collect();
        for absent in
            workers.into_iter().filter(|id| !self.workers.contains_key(id)).collect::<Vec<_>>()
        {
            self.lose_tasks(now, absent, effects);
        }
        for job in self.divisions.jobs.keys().copied().collect::<Vec<_>>() {
            self.with_tasks(now, job, effects, |tasks| tasks.all_returned(now));
        }
    }

    /// Does not count the time for which a prepared attempt waits because others have taken all slots of its worker:
    /// those that were leased ahead may be prepared sooner.
    fn excuse_waiting(&mut self, now: Millis) {
        let waiting: Vec<LeaseId> =
            self.workers.values().flat_map(|worker| self.waiting_for_slot(worker)).collect();
        for lease in waiting {
            if let Some(held) = self.leases.get_mut(&lease) {
                held.last_progress_at = now;
            }
        }
    }

    fn waiting_for_slot(&self, worker: &Worker) -> Vec<LeaseId> {
        let held = worker.leases.iter().filter_map(|lease| self.leases.get(lease));
        let (proving, others): (Vec<_>, Vec<_>) = held.partition(|held| held.is_proving);
        let is_full = proving.len() >= worker.capabilities.slots as usize;
        others.iter().filter(|_| is_full).map(|held| held.attempt.lease).collect()
    }

    fn unreturned_leases(&self) -> Vec<LeaseId> {
        self.leases
            .iter()
            .filter(|(_, held)| {
                let prover = &held.attempt.prover;
                !held.checking && !prover.is_fleet() && !self.workers.contains_key(&prover.worker)
            })
            .map(|(lease, _)| *lease)
            .collect()
    }
}
