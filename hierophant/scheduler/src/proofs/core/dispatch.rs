//! Assignment of waiting jobs to free slots.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, Change, Millis, attempt_traceparent,
};
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::wire::ToWorker;

use super::{Effect, ProofsCore};
use crate::proofs::assign::{self, Fleet};
use crate::proofs::lease::{Lease, Worker};
use crate::proofs::memory::MemoryInUse;

impl ProofsCore {
    /// Assigns waiting jobs to free slots and then to free places ahead, in the queue's order, unless dispatch is
    /// paused.
    pub(super) fn dispatch(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.recall(now, effects);
        self.release_drained(effects);
        if self.paused.is_some() || self.queue.is_empty() {
            return;
        }
        self.begin_on_free_slots(now, effects);
        self.fill_slots(now, effects);
        self.lease_ahead(now, effects);
    }

    fn fill_slots(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let mut free: usize = self.workers.values().map(Worker::free_slots).sum();
        if free == 0 {
            return;
        }
        let mut running = self.running_by_requester();
        while free > 0 {
            let Some((job, worker, requester)) = self.next_assignment(now, &running) else { break };
            self.start_attempt(now, job, worker, effects);
            *running.entry(requester).or_default() += 1;
            free -= 1;
        }
    }

    /// Number of running jobs by requester. A job in a race counts once, because its requester did not ask for the
    /// race.
    pub(super) fn running_by_requester(&self) -> BTreeMap<Address, usize> {
        let leases = self.leases.values().filter(|held| !held.checking && !held.is_ahead());
        let jobs: BTreeSet<JobId> = leases.map(|held| held.job).collect();
        let mut running = BTreeMap::<Address, usize>::new();
        for live in jobs.iter().filter_map(|job| self.jobs.get(job)) {
            *running.entry(live.requester()).or_default() += 1;
        }
        running
    }

    /// Memory in use on workers with running proofs and free slots, where the demand of all running proofs is
    /// known.
    pub(super) fn memory_in_use(&self) -> MemoryInUse {
        let need = |worker: &Worker, lease: &LeaseId| {
            let live = self.jobs.get(&self.leases.get(lease)?.job)?;
            self.demand.of(&live.record.spec, worker.backend())
        };
        let is_shared = |worker: &Worker| !worker.leases.is_empty() && worker.free_slots() > 0;
        let busy = self.workers.iter().filter(|(_, worker)| is_shared(worker));
        let known = busy.filter_map(|(id, worker)| {
            let all = worker.leases.iter().try_fold(0_u64, |all, lease| {
                // Saturating: the numbers are the workers' own.
                Some(all.saturating_add(need(worker, lease)?))
            });
            Some((*id, all?))
        });
        MemoryInUse(known.collect())
    }

    /// First waiting job that can be assigned now.
    fn next_assignment(
        &self,
        now: Millis,
        running: &BTreeMap<Address, usize>,
    ) -> Option<(JobId, WorkerId, Address)> {
        if self.queue.is_empty() {
            return None;
        }
        // Job classes without a free worker. Most jobs are alike, so later jobs of the same class are skipped.
        let mut unassignable = BTreeSet::new();
        let in_use = self.memory_in_use();
        let fleet = Fleet { workers: &self.workers, demand: &self.demand, in_use: &in_use };
        self.queue.iter(running).find_map(|rank| {
            let live = self.jobs.get(&rank.job).filter(|live| live.not_before <= now)?;
            let spec = &live.record.spec;
            let program = self.demand.knows(spec).then_some(spec.vk_hash);
            let kind = (spec.mode, spec.circuit_version.as_str(), program);
            let untried = !live.failures.avoids_any();
            if untried && unassignable.contains(&kind) {
                return None;
            }
            let worker = assign::choose(now, spec, &live.failures, fleet);
            if worker.is_none() && untried {
                unassignable.insert(kind);
            }
            Some((rank.job, worker?, rank.requester))
        })
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
            live.interrupted = None;
        }
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
