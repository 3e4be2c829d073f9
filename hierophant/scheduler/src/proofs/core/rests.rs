//! Rests of workers after infrastructure failures, and the end of reports that a job ran out of memory.

use hierophant_model::records::Millis;
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::wire::ToWorker;

use super::{Effect, ProofsCore};
use crate::proofs::memory::{OomHistory, SHORTAGE_LIMIT_MS};
use crate::proofs::rest::Rest;

impl ProofsCore {
    /// Lets a worker rest after an attempt that failed for reasons of its infrastructure. It gives back what was leased
    /// ahead to it when jobs are assigned next.
    pub(super) fn rest_worker(&mut self, now: Millis, id: WorkerId, message: &str) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // One that leaves hands its attempts back by such failures.
        if worker.draining || worker.drained.is_some() {
            return;
        }
        let stats = self.stats.entry(id).or_default();
        stats.seen_at = now;
        if stats.rest.fail(now, message).is_some() {
            worker.resting = true;
            worker.on_probation = stats.rest.is_on_probation();
            self.resting.insert(id);
        }
    }

    /// Ends the rests whose time is over.
    pub(super) fn end_rests(&mut self, now: Millis) {
        let Self { resting, workers, stats, .. } = self;
        resting.retain(|id| {
            let Some(stats) = stats.get_mut(id) else { return false };
            stats.rest.end(now);
            if !stats.rest.is_resting()
                && let Some(worker) = workers.get_mut(id)
            {
                worker.resting = false;
            }
            stats.rest.is_resting()
        });
    }

    /// Records that a worker's infrastructure works: one of its proofs was accepted.
    pub(super) fn end_probation(&mut self, id: WorkerId) {
        if let Some(stats) = self.stats.get_mut(&id) {
            stats.rest = Rest::default();
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            (worker.resting, worker.on_probation) = (false, false);
        }
    }

    /// Records that a job's report of exhausted memory is as of `at`.
    pub(super) fn doubt_shortage(&mut self, at: Millis, job: JobId) {
        let until = Millis(at.0.saturating_add(SHORTAGE_LIMIT_MS));
        let latest = self.shortages.entry(job).or_insert(until);
        *latest = until.max(*latest);
    }

    /// Forgets reports of exhausted memory that count no longer.
    pub(super) fn forget_shortages(&mut self, now: Millis) {
        let due: Vec<JobId> =
            self.shortages.iter().filter(|(_, until)| **until < now).map(|(job, _)| *job).collect();
        for job in due {
            self.shortages.remove(&job);
            if let Some(live) = self.jobs.get_mut(&job) {
                live.failures.oom = OomHistory::default();
            }
            if self.queue.contains(job) {
                self.enqueue(job);
            }
        }
    }

    /// Adjusts rests and reports to a wall clock that was set by `by` milliseconds.
    pub(super) fn shift_rests(&mut self, by: i64) {
        self.stats.values_mut().for_each(|stats| stats.rest.clock_set(by));
        self.shortages.values_mut().for_each(|until| until.shift(by));
    }

    /// Does not count `by` milliseconds during which this program was not running, or waited for the store. What
    /// workers said meanwhile is not handled yet.
    pub fn excuse(&mut self, now: Millis, by: i64) {
        self.return_deadline.shift(by);
        self.leases.values_mut().for_each(|held| held.excuse(now, by));
    }

    /// Records that messages with these attempts were sent to their workers. Only from then on their absence in
    /// heartbeats counts.
    pub fn jobs_sent(&mut self, leases: &[LeaseId]) {
        for lease in leases {
            if let Some(held) = self.leases.get_mut(lease) {
                held.sent = true;
            } else if let Some(task) = self.divisions.attempts.get_mut(lease) {
                task.sent = true;
            }
        }
    }

    /// Cancels an attempt on its worker, if it is connected. Returns whether it is.
    pub(super) fn cancel_on_worker(
        &self,
        id: WorkerId,
        lease: LeaseId,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let is_there = self.workers.get(&id).is_some_and(|worker| !worker.away);
        if is_there {
            let reason = reason.to_owned();
            let message = ToWorker::Cancel { lease_id: lease, reason };
            effects.push(Effect::Send(id, message));
        }
        is_there
    }
}
