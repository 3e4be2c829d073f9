//! Ends of tasks: results, failures, blame.

use std::collections::BTreeSet;

use hierophant_model::records::{Millis, TaskRecord, TaskState};
use network_lib::ids::{LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, Failure, FailureClass, ProofMode};
use network_lib::shard::{KnownShard, ShardState, TaskKind, TaskToWorker};
use shard_plan::ShardKind;

use super::effect::{Effect, JobEnd, Reason, Release};
use super::job::ShardedJob;
use super::waiting::Missing;
use crate::proofs::task_bytes::{DoubtedPart, PartKind, PartVerdict};

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
        let kind = self.task(task).map(|record| record.kind);
        let joins = matches!(
            kind,
            Some(
                TaskKind::Deferred
                    | TaskKind::Reduce
                    | TaskKind::ShrinkWrap
                    | TaskKind::Plonk
                    | TaskKind::Groth16
            )
        );
        match failure.class {
            _ if !lost.is_empty() || !suspect.is_empty() => {
                self.avoid(task, worker);
                self.release(lease, Release::Failed, &mut effects);
                let accused = suspect.iter().filter_map(|blob| self.task_of_output(*blob));
                let accused: Vec<_> = accused.filter_map(|record| self.doubted(record)).collect();
                if !accused.is_empty() {
                    self.doubted.extend(accused.iter().map(|part| part.blob.sha256));
                    effects.push(Effect::Accuse(worker, accused));
                }
                for blob in lost {
                    self.input_lost(now, since, *blob, &mut effects);
                }
                self.count_retry(&mut effects);
            }
            FailureClass::Guest | FailureClass::Request if kind == Some(TaskKind::Execute) => {
                self.end(JobEnd::Failed(failure.clone()), &mut effects);
            }
            // It would be the same on every machine.
            FailureClass::Request if joins => {
                self.fail_for(now, lease, Reason::Unfit, false, &mut effects);
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
        self.fail_for(now, lease, reason, true, effects);
    }

    /// Ends an attempt, with a strike or without; the task is done again.
    fn fail_for(
        &mut self,
        now: Millis,
        lease: LeaseId,
        reason: Reason,
        strikes: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(row) = self.leases.get(&lease).map(|held| held.row) else { return };
        self.avoid(row.task, row.worker);
        self.release(lease, Release::Failed, effects);
        if strikes {
            effects.push(Effect::Strike(row.worker, reason));
        }
        effects.push(Effect::Cancel(row.worker, lease, "the attempt failed"));
        self.count_failure(row.task, effects);
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

    /// The verdict on a result that a worker has reported as false. A false one is made again, and its maker gets the
    /// strike; if it is right, that worker gets it. One that could not be verified is made again without blame.
    #[must_use]
    pub fn judged(
        &mut self,
        now: Millis,
        accuser: WorkerId,
        blob: Sha256Digest,
        verdict: PartVerdict,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.doubted.remove(&blob);
        self.waiting.arrived(Missing::Verdict(blob));
        let accused = self.task_of_output(blob).map(|record| (record.id, record.maker));
        let Some((task, maker)) = accused.filter(|_| !self.has_ended) else { return effects };
        if verdict == PartVerdict::Right {
            // The task that takes it can begin again.
            effects.push(Effect::Strike(accuser, Reason::FalseAccusation));
            return effects;
        }
        let takes = |record: &&TaskRecord| record.children.contains(&task);
        for parent in self.tasks().filter(takes).map(|record| record.id).collect::<Vec<_>>() {
            self.stop(parent, "an input is false", &mut effects);
        }
        self.free_output(task, &mut effects);
        if verdict == PartVerdict::False {
            self.blame([(task, maker)], &mut effects);
        } else {
            self.count_failure(task, &mut effects);
        }
        self.reopen(now, task, &mut effects);
        self.require_records(now, &mut effects);
        self.advance(now, &mut effects);
        effects
    }

    /// The makers of false results get a strike each, and are the last ones to do these tasks again.
    pub(super) fn blame(
        &mut self,
        results: impl IntoIterator<Item = (TaskId, Option<WorkerId>)>,
        effects: &mut Vec<Effect>,
    ) {
        let mut makers = BTreeSet::new();
        for (task, maker) in results {
            if let Some(maker) = maker {
                self.avoid(task, maker);
                makers.insert(maker);
            }
        }
        let strike = |maker| Effect::Strike(maker, Reason::FoundFalse);
        effects.extend(makers.into_iter().map(strike));
    }

    /// Counts a failure of a task; ends the job if there were too many.
    fn count_failure(&mut self, task: TaskId, effects: &mut Vec<Effect>) {
        self.update(task, effects, |record| record.failures += 1);
        let failures = self.task(task).map_or(0, |record| record.failures);
        if failures >= self.limits.max_attempts {
            self.end(JobEnd::FallBack(Reason::TooManyAttempts), effects);
        }
    }

    pub(super) fn task_of_output(&self, blob: Sha256Digest) -> Option<&TaskRecord> {
        self.tasks().find(|record| record.output.is_some_and(|output| output.sha256 == blob))
    }

    /// The result of a task as something that may be false; `None` if nothing can verify it.
    pub(super) fn doubted(&self, record: &TaskRecord) -> Option<DoubtedPart> {
        let kind = match record.kind {
            TaskKind::ProveShard if self.record.mode == ProofMode::Core => {
                PartKind::Shard(record.range?)
            }
            TaskKind::ProveShard | TaskKind::Deferred | TaskKind::Reduce => {
                PartKind::Recursive(record.range?)
            }
            TaskKind::ShrinkWrap => PartKind::Wrapped,
            _ => return None,
        };
        Some(DoubtedPart { task: record.id, blob: record.output?, kind })
    }
}
