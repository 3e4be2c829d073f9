//! Ends of tasks: results, failures, blame.

use hierophant_model::records::{Millis, TaskState};
use network_lib::ids::{LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, Failure, FailureClass};
use network_lib::shard::{KnownShard, ShardState, TaskKind, TaskToWorker};
use shard_plan::ShardKind;

use super::effect::{Effect, JobEnd, Reason, Release};
use super::job::ShardedJob;

impl ShardedJob {
    /// The result of the task under this lease is handed in.
    #[must_use]
    pub fn task_done(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        output: BlobInfo,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(task) = self.held(worker, lease) else {
            return vec![Effect::Settle(worker, lease)];
        };
        let Some(record) = self.task(task) else { return effects };
        let reason = if matches!(record.kind, TaskKind::Execute | TaskKind::Measure) {
            Some(Reason::WrongKind)
        } else if record.shard == Some(ShardKind::Core) && record.deferred.is_none() {
            Some(Reason::NotTraced)
        } else if !self.was_handed_in(lease, output) {
            Some(Reason::WrongResult)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.fail(now, lease, reason, &mut effects);
            effects.push(Effect::Settle(worker, lease));
            return effects;
        }
        let (is_leaf, kind) = (record.shard.is_some(), record.kind);
        let children = record.children.clone();
        if let Some(held) = self.leases.get(&lease) {
            self.times.note(kind, worker, now.since(held.row.started_at));
        }
        self.update(task, &mut effects, |record| {
            record.state = TaskState::Done;
            record.output = Some(output);
            (record.maker, record.ended_at) = (Some(worker), Some(now));
        });
        self.release(lease, Release::Completed, &mut effects);
        effects.push(Effect::Settle(worker, lease));
        self.stop(task, "another worker was faster", &mut effects);
        if is_leaf {
            self.free_record(task, &mut effects);
            self.report_done(task, &mut effects);
        }
        children.into_iter().for_each(|child| self.free_output(child, &mut effects));
        // Wraps are not part of the plan.
        let _ = self.plan.done(task);
        self.advance(now, &mut effects);
        effects
    }

    /// Notifies the running execution that a shard is done, which frees a place in its window.
    fn report_done(&mut self, task: TaskId, effects: &mut Vec<Effect>) {
        let Some(running) = &mut self.execution else { return };
        running.close(task);
        if let Some(no) = running.announced.number(task) {
            let shards = vec![KnownShard { no, task, state: ShardState::Done }];
            let message = TaskToWorker::ShardsKnown { lease_id: running.lease, shards };
            effects.push(Effect::Send(running.worker, message));
        }
    }

    /// The task under this lease has failed. `lost` are inputs that no source has, `suspect` inputs that the worker has
    /// verified and found false.
    #[must_use]
    pub fn task_failed(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        failure: &Failure,
        (lost, suspect): (&[Sha256Digest], &[Sha256Digest]),
    ) -> Vec<Effect> {
        let mut effects = vec![Effect::Settle(worker, lease)];
        let Some(task) = self.held(worker, lease) else { return effects };
        let since = self.leases.get(&lease).map_or(now, |held| held.row.started_at);
        let inputs = self.inputs(task);
        let is_input = |blob: &Sha256Digest| inputs.iter().any(|input| input.sha256 == *blob);
        if !lost.iter().chain(suspect).all(is_input) {
            self.fail(now, lease, Reason::ForeignInput, &mut effects);
            return effects;
        }
        let executes = self.task(task).is_some_and(|record| record.kind == TaskKind::Execute);
        match failure.class {
            _ if !lost.is_empty() || !suspect.is_empty() => {
                self.avoid(task, worker);
                self.release(lease, Release::Failed, &mut effects);
                for blob in suspect {
                    self.found_false(now, since, *blob, worker, &mut effects);
                }
                for blob in lost {
                    self.input_lost(now, since, *blob, &mut effects);
                }
                self.count_retry(&mut effects);
            }
            FailureClass::Guest | FailureClass::Request if executes => {
                self.end(JobEnd::Failed(failure.clone()), &mut effects);
            }
            // A task other than the execution cannot judge the program.
            FailureClass::Guest | FailureClass::Request | FailureClass::Worker => {
                self.fail(now, lease, Reason::WorkerFailed, &mut effects);
            }
            FailureClass::Infrastructure => {
                self.release(lease, Release::Failed, &mut effects);
                self.count_retry(&mut effects);
            }
        }
        self.require_records(now, &mut effects);
        self.advance(now, &mut effects);
        effects
    }

    /// An attempt takes longer than is allowed.
    #[must_use]
    pub fn overdue(&mut self, now: Millis, lease: LeaseId) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.fail(now, lease, Reason::TooSlow, &mut effects);
        self.advance(now, &mut effects);
        effects
    }

    /// Ends an attempt by its worker's fault: a strike, and the task is done again.
    pub(super) fn fail(
        &mut self,
        now: Millis,
        lease: LeaseId,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) {
        let Some(row) = self.leases.get(&lease).map(|held| held.row) else { return };
        self.avoid(row.task, row.worker);
        self.update(row.task, effects, |record| record.failures += 1);
        self.release(lease, Release::Failed, effects);
        effects.push(Effect::Strike(row.worker, reason));
        effects.push(Effect::Cancel(row.worker, lease, "the attempt failed"));
        let failures = self.task(row.task).map_or(0, |record| record.failures);
        if failures >= self.limits.max_attempts {
            self.end(JobEnd::FallBack(Reason::TooManyAttempts), effects);
        }
        self.count_retry(effects);
        self.require_records(now, effects);
    }

    /// A message about a lease that is not the one of a running execution or core shard: late, or of the wrong kind.
    pub(super) fn answer_misplaced(&mut self, now: Millis, lease: LeaseId) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.fail(now, lease, Reason::WrongKind, &mut effects);
        effects
    }

    /// Task of a lease that this worker holds.
    pub(super) fn held(&self, worker: WorkerId, lease: LeaseId) -> Option<TaskId> {
        self.leases.get(&lease).filter(|held| held.row.worker == worker).map(|held| held.row.task)
    }

    fn avoid(&mut self, task: TaskId, worker: WorkerId) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.avoids.insert(worker);
            self.failed.insert(worker);
        }
    }

    /// An input with the right digest is false: its maker gets the strike, and it is made again.
    fn found_false(
        &mut self,
        now: Millis,
        since: Millis,
        blob: Sha256Digest,
        reporter: WorkerId,
        effects: &mut Vec<Effect>,
    ) {
        let is_output = |record: &&hierophant_model::records::TaskRecord| {
            record.output.is_some_and(|output| output.sha256 == blob)
        };
        let Some(record) = self.tasks().find(is_output) else {
            self.input_lost(now, since, blob, effects);
            return;
        };
        let (task, maker) = (record.id, record.maker);
        self.free_output(task, effects);
        if let Some(maker) = maker.filter(|maker| *maker != reporter) {
            self.avoid(task, maker);
            effects.push(Effect::Strike(maker, Reason::FoundFalse));
        }
        self.reopen(now, task, effects);
    }
}
