//! Assignment of waiting jobs to free slots.

use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, Change, Millis, attempt_traceparent,
};
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::wire::ToWorker;

use super::{Effect, LiveJob, MAX_EFFECTS, ProofsCore};
use crate::proofs::assign::{self, Fleet};
use crate::proofs::fleet::Offer;
use crate::proofs::lease::Lease;
use crate::proofs::need::SharedNeed;
use crate::proofs::queue::{Class, Place};

impl ProofsCore {
    /// Assigns waiting jobs to free slots and then to free places ahead, in the queue's order, unless dispatch is
    /// paused.
    ///
    /// The cost does not depend on the number of waiting jobs or of workers: only changed workers are looked at, and
    /// only jobs that a free worker can take.
    pub(super) fn dispatch(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        #[cfg(test)]
        if self.walks {
            return self.dispatch_by_walk(now, effects);
        }
        self.is_cut_short = false;
        self.queue.wake(now);
        self.update_index();
        self.recall(now, effects);
        self.release_drained(effects);
        self.update_index();
        // What has begun continues during a pause.
        self.lease_tasks(now, effects);
        self.update_index();
        if self.paused.is_some() || self.is_expiring || self.queue.is_empty() {
            return;
        }
        self.begin_on_free_slots(now, effects);
        self.fill_slots(now, effects);
        self.update_index();
        if !self.is_cut_short {
            self.lease_ahead(now, effects);
        }
    }

    fn fill_slots(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while let Some((job, worker)) = self.next_assignment(now) {
            if effects.len() >= MAX_EFFECTS {
                self.is_cut_short = true;
                return;
            }
            let division = self.jobs.get(&job).and_then(|live| self.division_of(now, live));
            if let Some(division) = division {
                self.begin_division(now, job, division, effects);
                self.lease_tasks(now, effects);
            } else {
                self.start_attempt(now, job, worker, effects);
            }
            self.update_index();
        }
    }

    /// First waiting job that can be assigned now, and its worker.
    fn next_assignment(&self, now: Millis) -> Option<(JobId, WorkerId)> {
        for (_, class) in self.queue.classes().filter(|(_, class)| class.has_assignable()) {
            let free = self.workers.offers().filter(|(_, offer)| offer.is_free());
            let first = free.filter_map(|(need, offer)| self.first_of(now, class, need, offer));
            if let Some(place) = first.min() {
                let live = self.jobs.get(&place.job())?;
                return Some((place.job(), self.choose(now, live)?));
            }
        }
        None
    }

    /// First job of a need that one of these workers can take now. Jobs of one program are alike, except for those
    /// that avoid a worker.
    fn first_of(
        &self,
        now: Millis,
        class: &Class,
        need: &SharedNeed,
        offer: &Offer,
    ) -> Option<Place> {
        let mut first = if offer.has_room_for_any() {
            class.first(need)
        } else {
            let by_program = class.first_by_program(need).filter(|(program, _)| {
                offer.has_room_for(|it| self.demand.of_program(*program, need.mode, it))
            });
            by_program.map(|(_, place)| place).min()
        };
        for place in class.choosy(need) {
            if first.is_some_and(|first| first < place) {
                break;
            }
            let live = self.jobs.get(&place.job());
            if live.is_some_and(|live| self.choose(now, live).is_some()) {
                first = Some(place);
            }
        }
        first
    }

    /// Worker that can take a job now.
    pub(super) fn choose(&self, now: Millis, live: &LiveJob) -> Option<WorkerId> {
        let fleet = Fleet { workers: &self.workers, demand: &self.demand };
        assign::choose(now, live.wanted(), &live.failures, fleet)
    }

    /// Starts an attempt. If the job is leased ahead to another worker, it is taken back from there.
    pub(super) fn start_attempt(
        &mut self,
        now: Millis,
        job: JobId,
        worker_id: WorkerId,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(ahead) = self.jobs.get(&job).and_then(|live| live.ahead) {
            self.give_back(now, ahead, "another worker can start it now", effects);
        }
        if let Some(lease) = self.lease(now, job, worker_id, AttemptOutcome::Running) {
            self.begin(now, lease, effects);
            self.send_job(lease, effects);
        }
    }

    /// Adds an attempt, which is neither saved nor known to its worker yet.
    pub(super) fn lease(
        &mut self,
        now: Millis,
        job: JobId,
        worker: WorkerId,
        outcome: AttemptOutcome,
    ) -> Option<LeaseId> {
        let prover = self.workers.get(&worker)?.as_prover(worker);
        let lease = LeaseId(self.ids.draw());
        let starting = AttemptRecord::starting(lease, job, prover, now);
        self.leases.insert(Lease::new(now, AttemptRecord { outcome, ..starting }));
        Some(lease)
    }

    /// Sends an attempt to its worker.
    pub(super) fn send_job(&self, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        let Some(live) = self.jobs.get(&held.job) else { return };
        let message = ToWorker::Prove {
            lease_id: lease,
            spec: live.record.spec.clone(),
            program: live.record.program_blob,
            stdin: live.record.stdin_blob,
            traceparent: Some(attempt_traceparent(held.job, lease)),
        };
        effects.push(Effect::Send(held.attempt.prover.worker, message));
    }

    /// Lets an attempt take a slot of its worker.
    pub(super) fn begin(&mut self, now: Millis, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let (job, worker_id) = (held.job, held.attempt.prover.worker);
        self.prepared.remove(lease);
        held.attempt.outcome = AttemptOutcome::Running;
        held.attempt.started_at = now;
        held.attempt.first_progress_at = None;
        (held.started_at, held.last_progress_at) = (now, now);
        self.queue.dequeue(job);
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.ahead.remove(&lease);
            worker.leases.insert(lease);
        }
        if let Some(live) = self.jobs.get_mut(&job) {
            live.ahead = None;
            live.overtaken = 0;
            live.leases.insert(lease);
            live.tried.insert(worker_id);
        }
        self.overtaken.remove(&job);
        self.set_interrupted(job, None);
        self.update(now, job, effects, |record| {
            record.attempts = record.attempts.saturating_add(1);
        });
        self.save_attempt(lease, effects);
    }

    pub(super) fn save_attempt(&self, lease: LeaseId, effects: &mut Vec<Effect>) {
        if let Some(held) = self.leases.get(&lease) {
            effects.push(Effect::Save(Change::Attempt(held.attempt.clone())));
        }
    }
}
