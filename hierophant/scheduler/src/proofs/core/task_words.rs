//! Messages of workers about tasks.

use std::collections::BTreeSet;

use hierophant_model::records::{DeferredEvents, Millis};
use hierophant_model::sanitize;
use network_lib::ids::{JobId, LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, FailureClass, Memory};
use network_lib::shard::{TaskFromWorker, TaskToWorker};
use network_lib::wire::ToWorker;

use super::{Effect, ProofsCore};
use crate::proofs::fleet::TaskShape;

/// Maximum number of blobs of one job in a list of a depot. A worker that lists more is treated as if it had the first
/// ones only.
const MAX_LISTED: usize = 100_000;

impl ProofsCore {
    /// Handles a worker's message about a task.
    pub fn task_word(
        &mut self,
        now: Millis,
        worker: WorkerId,
        word: TaskFromWorker,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        match word {
            TaskFromWorker::Shards { lease_id, common, shards } => {
                let of = (worker, lease_id);
                self.about_task(now, of, &mut effects, |tasks| {
                    tasks.shards(now, of, common, &shards)
                });
            }
            TaskFromWorker::Traced { lease_id, deferred, named } => {
                let (of, events) =
                    ((worker, lease_id), DeferredEvents { index: deferred, events: named });
                self.about_task(now, of, &mut effects, |tasks| tasks.traced(now, of, events));
            }
            TaskFromWorker::ExecuteEnded { lease_id, shards, execution, public_values } => {
                let end = (shards, execution, public_values);
                self.execution_ended(now, (worker, lease_id), end, &mut effects);
            }
            TaskFromWorker::TaskDone { lease_id, output, used } => {
                let of = (worker, lease_id);
                self.task_took(of, used.peak_bytes);
                if !self.about_task(now, of, &mut effects, |tasks| tasks.task_done(now, of, output))
                {
                    self.settle_task(worker, lease_id, &mut effects);
                }
            }
            TaskFromWorker::TaskFailed { lease_id, mut failure, lost, suspect } => {
                sanitize::failure(&mut failure);
                let inputs = (&lost[..], &suspect[..]);
                self.task_failed(now, (worker, lease_id), failure, inputs, &mut effects);
            }
            TaskFromWorker::Depot { job, blobs, more, .. } => {
                self.depot_listed(now, worker, job, (blobs, more), &mut effects);
            }
        }
        self.dispatch(now, &mut effects);
        effects
    }

    /// Passes a message about a lease to its job. Returns `false` without effect if the worker does not hold it.
    fn about_task(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        effects: &mut Vec<Effect>,
        fact: impl FnOnce(&mut crate::proofs::shards::ShardedJob) -> Vec<crate::proofs::shards::Effect>,
    ) -> bool {
        let Some((job, _)) = self.divisions.held(worker, lease) else { return false };
        self.with_tasks(now, job, effects, fact);
        true
    }

    /// Learns from what a task has taken of its worker's memory: not more than there is.
    fn task_took(&mut self, (id, lease): (WorkerId, LeaseId), bytes: Option<u64>) {
        let Some((job, task)) = self.divisions.held(id, lease) else { return };
        let there_is = self.workers.get(&id).and_then(|worker| worker.memory(Memory::Main));
        let Some((bytes, most)) = bytes.zip(there_is) else { return };
        let Some(division) = self.divisions.jobs.get(&job) else { return };
        let Some(kind) = division.tasks.task(task).map(|task| task.kind) else { return };
        let shape = TaskShape::of(division.tasks.engine(), &division.tasks, false);
        self.divisions.demand.record(id, shape, kind, bytes.min(most));
    }

    fn execution_ended(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        (shards, execution, public_values): (u32, Execution, BlobInfo),
        effects: &mut Vec<Effect>,
    ) {
        let Some((job, _)) = self.divisions.held(worker, lease) else {
            return self.settle_task(worker, lease, effects);
        };
        if let Some(failure) = self.beyond_limits(job, &execution) {
            return self.task_failed(now, (worker, lease), failure, (&[], &[]), effects);
        }
        // Stored with the rows of the tasks: the assembled proof is checked against it.
        let attempt = self.divisions.jobs.get(&job).map(|division| division.attempt);
        if let Some(attempt) = attempt {
            self.record_report(now, attempt, Some(execution), effects);
        }
        self.with_tasks(now, job, effects, |tasks| {
            tasks.execute_ended(now, (worker, lease), shards, public_values)
        });
    }

    fn task_failed(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        failure: Failure,
        (lost, suspect): (&[Sha256Digest], &[Sha256Digest]),
        effects: &mut Vec<Effect>,
    ) {
        let Some((job, task)) = self.divisions.held(worker, lease) else {
            return self.settle_task(worker, lease, effects);
        };
        if failure.class == FailureClass::Worker
            && let Some(what) = failure.out_of_memory
            && let Some(division) = self.divisions.jobs.get_mut(&job)
            && let Some(kind) = division.tasks.task(task).map(|task| task.kind)
            && let Some(machine) = self.workers.get(&worker)
        {
            division.shortages.record(kind, (worker, machine), what);
        }
        if let Some(held) = self.divisions.attempts.get_mut(&lease) {
            held.record.message = Some(failure.message.clone());
        }
        let blames_inputs = !lost.is_empty() || !suspect.is_empty();
        if failure.class == FailureClass::Infrastructure && !blames_inputs {
            self.rest_worker(now, worker, &failure.message);
        }
        self.with_tasks(now, job, effects, |tasks| {
            tasks.task_failed(now, (worker, lease), &failure, (lost, suspect))
        });
    }

    /// A part of the list of what a worker's depot holds of a job.
    fn depot_listed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        job: JobId,
        (blobs, more): (Vec<Sha256Digest>, bool),
        effects: &mut Vec<Effect>,
    ) {
        if !self.divisions.jobs.contains_key(&job) {
            self.divisions.depots.remove(&(worker, job));
            let forget = TaskToWorker::Forget { job, blobs: None };
            effects.push(Effect::Send(worker, ToWorker::Task(forget)));
            return;
        }
        let listed = self.divisions.depots.entry((worker, job)).or_default();
        let room = MAX_LISTED.saturating_sub(listed.len());
        listed.extend(blobs.into_iter().take(room));
        if !more {
            let listed: BTreeSet<_> =
                self.divisions.depots.remove(&(worker, job)).unwrap_or_default();
            self.with_tasks(now, job, effects, |tasks| tasks.depot(now, worker, &listed));
        }
    }
}
