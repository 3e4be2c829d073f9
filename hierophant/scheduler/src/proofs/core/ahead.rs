//! Jobs leased ahead: beyond a worker's slots, so that it downloads and executes them while its slots prove.
//!
//! A job that is leased ahead still waits: it keeps its place in the queue, counts for no requester, and no limit of an
//! attempt applies to it. It begins when its worker reports that a prover has taken it, or when the worker has a free
//! slot. Until then it is given back as soon as
//!
//! - a slot elsewhere is free for it;
//! - its place is needed for another job ([`places`](super::places));
//! - its worker no longer takes or supports it, or dispatch is paused.

use hierophant_model::records::{AttemptOutcome, Millis};
use network_lib::ids::{JobId, LeaseId, WorkerId};

use super::{Effect, MAX_EFFECTS, ProofsCore};
use crate::proofs::lease::{Lease, Worker};

impl ProofsCore {
    /// Lets an attempt that was leased ahead take a slot. Has no effect on another attempt.
    pub(super) fn begin_if_ahead(
        &mut self,
        now: Millis,
        lease: LeaseId,
        effects: &mut Vec<Effect>,
    ) {
        if !self.leases.get(&lease).is_some_and(Lease::is_ahead) {
            return;
        }
        self.prepared.overtake(lease);
        self.begin(now, lease, effects);
    }

    /// Takes an attempt that was leased ahead from its worker. Its job waits as before.
    pub(super) fn give_back(
        &mut self,
        now: Millis,
        lease: LeaseId,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        self.take_from_worker(now, lease, AttemptOutcome::GivenBack, reason, effects);
    }

    /// Gives back what its worker may no longer begin.
    pub(super) fn recall(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let mut workers = self.workers.take_to_judge();
        if self.paused.is_some() {
            workers.clone_from(self.workers.with_ahead());
        }
        let changed = workers.iter().filter_map(|id| self.workers.get(id));
        let recalled: Vec<_> = changed.flat_map(|worker| self.recalled_from(worker)).collect();
        for (lease, reason) in recalled {
            if effects.len() >= MAX_EFFECTS {
                self.is_cut_short = true;
                // Judged again then.
                if let Some(held) = self.leases.get(&lease) {
                    self.workers.touch(held.attempt.prover.worker);
                }
                continue;
            }
            self.give_back(now, lease, reason, effects);
        }
    }

    fn recalled_from(&self, worker: &Worker) -> Vec<(LeaseId, &'static str)> {
        let places = worker.most_attempts().saturating_sub(worker.leases.len());
        // A worker that may reconnect keeps what it has.
        let leaves = !worker.away && !worker.takes_jobs();
        let judge = |(number, held): (usize, &Lease)| {
            let supported = self.jobs.get(&held.job).is_some_and(|live| worker.fits(live.wanted()));
            let reason = match () {
                () if self.paused.is_some() => "dispatch is paused",
                () if leaves => "the worker takes no more jobs",
                () if number >= places => "the worker takes fewer jobs ahead",
                () if !supported => "the worker does not support it now",
                () => return None,
            };
            Some((held.attempt.lease, reason))
        };
        self.ahead_of(worker).into_iter().enumerate().filter_map(judge).collect()
    }

    /// Begins the oldest attempts that are leased ahead to workers with free slots.
    pub(super) fn begin_on_free_slots(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let free = self.workers.to_begin().iter().filter_map(|id| self.workers.get(id));
        let due: Vec<LeaseId> = free
            .flat_map(|worker| {
                // A recall that was cut short has left others to the next sweep.
                let may_get = |held: &&Lease| worker.may_get(self.is_private(held.job));
                self.ahead_of(worker).into_iter().take(worker.free_slots()).filter(may_get)
            })
            .map(|held| held.attempt.lease)
            .collect();
        for lease in due {
            self.begin_if_ahead(now, lease, effects);
        }
        self.update_index();
    }

    /// Leases a waiting job ahead to this worker.
    pub(super) fn lease_ahead_to(
        &mut self,
        now: Millis,
        job: JobId,
        worker: WorkerId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(lease) = self.lease(now, job, worker, AttemptOutcome::Ahead) else { return };
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.ahead.insert(lease);
        }
        if let Some(live) = self.jobs.get_mut(&job) {
            live.ahead = Some(lease);
            self.prepared.insert(now, lease, job, live.overtaken);
        }
        self.overtaken.remove(&job);
        self.regroup(job);
        self.save_attempt(lease, effects);
        self.send_job(lease, effects);
    }

    /// Attempts that are leased ahead to a worker, the oldest first.
    pub(super) fn ahead_of(&self, worker: &Worker) -> Vec<&Lease> {
        let mut ahead: Vec<&Lease> =
            worker.ahead.iter().filter_map(|lease| self.leases.get(lease)).collect();
        ahead.sort_by_key(|held| (held.started_at, held.attempt.lease));
        ahead
    }
}
