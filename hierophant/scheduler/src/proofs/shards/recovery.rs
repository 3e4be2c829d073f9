//! Recovery: lost workers, lost bytes, and the start.

use std::collections::BTreeSet;

use hierophant_model::records::{Millis, ShardingRecord, TaskLease, TaskRecord, TaskState};
use network_lib::ids::{LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, ProofMode};
use network_lib::shard::TaskKind;
use shard_plan::{Plan, PlanError, Reduce, StoredLeaf, StoredReduce};

use super::effect::{Effect, Release};
use super::holders::Holders;
use super::job::ShardedJob;
use super::running::{Execution, Limits};
use super::waiting::Missing;
use crate::proofs::core::IdSource;
use crate::proofs::task_bytes::DoubtedPart;

/// Rows of a sharded job that has not ended.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The job's division.
    pub sharding: ShardingRecord,
    /// Its tasks.
    pub tasks: Vec<TaskRecord>,
    /// Attempts that have not ended.
    pub leases: Vec<TaskLease>,
    /// Blobs of the job that Hierophant stores. What no row needs is freed, and results that are missing are made again;
    /// workers hand in again what they have not reported.
    pub stored: Vec<Sha256Digest>,
}

/// Why rows cannot be those of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unrestorable {
    /// The task of the execution is missing.
    #[error("the job has no execution: expected one task of this kind")]
    NoExecution,
    /// Leaves and reduces do not fit each other.
    #[error("tasks that are not those of one proof")]
    Plan(#[source] PlanError),
}

impl ShardedJob {
    /// Restores a job after a start. Attempts continue; `prove_slots` is as in [`ShardedJob::lease`].
    ///
    /// Where records are is known once workers have listed their depots. Until [`ShardedJob::all_returned`] none counts
    /// as lost.
    ///
    /// # Errors
    ///
    /// [`Unrestorable`]: the job is to be proved as a whole.
    pub fn restore(
        now: Millis,
        rows: Rows,
        limits: Limits,
        ids: IdSource,
        prove_slots: u32,
    ) -> Result<(Self, Vec<Effect>), Unrestorable> {
        let executes = |record: &&TaskRecord| record.kind == TaskKind::Execute;
        let execute = rows.tasks.iter().find(executes).ok_or(Unrestorable::NoExecution)?.id;
        let mut job = Self::empty(rows.sharding, limits, ids, execute);
        job.holders = Holders::after_start();
        rows.tasks.into_iter().for_each(|record| job.insert(record));
        for row in rows.leases {
            let Some(task) = job.tasks.get_mut(&row.task) else { continue };
            task.leases.insert(row.lease);
            job.leases.insert(row);
            if row.task == execute {
                job.executors.insert(row.worker);
                job.execution = Some(Execution::new(row, prove_slots, limits.window_bytes));
            }
        }
        job.plan = job.restored_plan().map_err(Unrestorable::Plan)?;
        let records: BTreeSet<_> = job.needed_records().collect();
        let mut effects = Vec::new();
        let stored: BTreeSet<_> = rows.stored.iter().copied().collect();
        let missing: Vec<_> = job.results().filter(|blob| !stored.contains(blob)).collect();
        for blob in rows.stored {
            if records.contains(&blob) {
                job.holders.restore(blob);
                job.waiting.arrived(Missing::Blob(blob));
            } else if !job.is_kept(blob) {
                effects.push(Effect::Free(blob));
            }
        }
        for blob in missing {
            job.remake(now, blob, &mut effects);
        }
        job.advance(now, &mut effects);
        Ok((job, effects))
    }

    fn restored_plan(&self) -> Result<Plan<TaskId>, PlanError> {
        let mut leaves = Vec::new();
        for record in self.leaves() {
            let (Some(kind), Some(range)) = (record.shard, record.range) else { continue };
            let is_done = record.state == TaskState::Done;
            leaves.push(StoredLeaf { node: record.id, kind, range, is_done });
        }
        let is_reduce = |record: &&TaskRecord| {
            record.kind == TaskKind::Reduce && record.state != TaskState::Obsolete
        };
        let mut reduces = Vec::new();
        for record in self.tasks().filter(is_reduce) {
            let Some(range) = record.range else { continue };
            let children = record.children.clone();
            let reduce = Reduce { children, range, complete: record.complete };
            let is_done = record.state == TaskState::Done;
            reduces.push(StoredReduce { node: record.id, reduce, is_done });
        }
        Plan::restore(&leaves, &reduces, self.record.executed_at.is_some())
    }

    /// Records of shards that are not done.
    fn needed_records(&self) -> impl Iterator<Item = Sha256Digest> {
        let is_needed =
            |record: &&TaskRecord| matches!(record.state, TaskState::Waiting | TaskState::Leased);
        self.leaves().filter(is_needed).filter_map(|leaf| Some(leaf.record?.sha256))
    }

    /// All workers that could return after the start have returned.
    #[must_use]
    pub fn all_returned(&mut self, now: Millis) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.holders.stop_waiting();
        self.require_records(now, &mut effects);
        effects
    }

    /// A worker has a new connection, and nothing was sent over it yet. What was sent over the earlier one may be lost:
    /// its execution gets all precompile events again, from the first core shard on. Without that, the next ones could
    /// follow lost ones, and precompile shards would be packed in another way.
    pub fn connected(&mut self, worker: WorkerId) {
        if let Some(running) = self.execution.as_mut().filter(|running| running.worker == worker) {
            running.markers.rewind();
        }
    }

    /// A worker no longer holds an attempt, because it was restarted or the message about it was lost.
    #[must_use]
    pub fn lease_lost(&mut self, now: Millis, worker: WorkerId, lease: LeaseId) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.held(worker, lease).is_some() {
            self.release(lease, Release::Lost, &mut effects);
            self.require_records(now, &mut effects);
        }
        effects
    }

    /// A worker does not return: its attempts are lost, and the records in its depot.
    #[must_use]
    pub fn worker_lost(&mut self, now: Millis, worker: WorkerId) -> Vec<Effect> {
        let mut effects = Vec::new();
        let held: Vec<_> = self.leases.of(worker).map(|lease| lease.row.lease).collect();
        for lease in held {
            self.release(lease, Release::Lost, &mut effects);
        }
        self.holders.remove_worker(worker);
        self.request_queued(&mut effects);
        self.require_records(now, &mut effects);
        effects
    }

    /// The complete list of what a worker's depot holds of this job.
    #[must_use]
    pub fn depot(
        &mut self,
        now: Millis,
        worker: WorkerId,
        blobs: &BTreeSet<Sha256Digest>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.has_ended {
            return vec![Effect::ForgetAll(worker)];
        }
        let before: Vec<_> = self.holders.held_by(worker).collect();
        for gone in before.into_iter().filter(|blob| !blobs.contains(blob)) {
            self.holders.remove(gone, worker);
        }
        let needed: BTreeSet<_> = self.needed_records().collect();
        let mut unneeded = Vec::new();
        for blob in blobs {
            if needed.contains(blob) {
                self.holders.add(now, *blob, worker);
                self.waiting.arrived(Missing::Blob(*blob));
            } else {
                unneeded.push(*blob);
            }
        }
        // What a running execution holds may be announced in the next message.
        let executes = self.execution.as_ref().is_some_and(|running| running.worker == worker);
        if !unneeded.is_empty() && !executes {
            for part in unneeded.chunks(network_lib::shard::MAX_BLOBS_PER_MESSAGE) {
                effects.push(Effect::Send(worker, self.forget_message(part.to_vec())));
            }
        }
        self.repeat_requests(worker, &mut effects);
        self.request_queued(&mut effects);
        self.require_records(now, &mut effects);
        effects
    }

    /// Asks a worker again for the records that running tasks of others need: the messages may be lost.
    fn repeat_requests(&mut self, holder: WorkerId, effects: &mut Vec<Effect>) {
        let others = self.leases.values().map(|lease| lease.row);
        let others: Vec<_> = others.filter(|row| row.worker != holder).collect();
        for row in others {
            let record = self.task(row.task).and_then(|record| record.record);
            let Some(blob) = record.map(|record| record.sha256) else { continue };
            if self.holders.is_held_by(blob, holder) {
                self.holders.withdraw(blob);
                self.request_record(row, effects);
            }
        }
    }

    /// Hierophant has lost bytes: the result of a task, or precompile events. They are made again.
    #[must_use]
    pub fn blob_lost(&mut self, now: Millis, blob: Sha256Digest) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.holders.lose_stored(blob);
        self.remake(now, blob, &mut effects);
        self.require_records(now, &mut effects);
        self.advance(now, &mut effects);
        effects
    }

    /// A part of the finished proof is lost: it is made again, by another execution of the program, because records end
    /// with the job.
    ///
    /// # Errors
    ///
    /// [`Unrestorable`]: the job is to be proved as a whole.
    pub fn part_lost(
        &mut self,
        now: Millis,
        part: Sha256Digest,
    ) -> Result<Vec<Effect>, Unrestorable> {
        self.parts_lost(now, &[part])
    }

    /// Parts of the finished proof are false. Their makers get strikes, and they are made again as lost ones are.
    ///
    /// # Errors
    ///
    /// [`Unrestorable`]: the job is to be proved as a whole.
    pub fn parts_false(
        &mut self,
        now: Millis,
        parts: &[Sha256Digest],
    ) -> Result<Vec<Effect>, Unrestorable> {
        let makers = parts.iter().filter_map(|part| self.task_of_output(*part));
        let makers: Vec<_> = makers.map(|record| (record.id, record.maker)).collect();
        let mut effects = self.parts_lost(now, parts)?;
        self.blame(makers, &mut effects);
        Ok(effects)
    }

    /// The results that make up the finished proof, as far as each of them can be verified alone.
    #[must_use]
    pub fn doubted_parts(&self) -> Vec<DoubtedPart> {
        let is_part = |record: &&TaskRecord| match self.record.mode {
            ProofMode::Core => record.kind == TaskKind::ProveShard,
            ProofMode::Compressed => record.kind == TaskKind::Reduce && record.complete,
            ProofMode::Plonk | ProofMode::Groth16 => false,
        };
        self.tasks().filter(is_part).filter_map(|record| self.doubted(record)).collect()
    }

    fn parts_lost(
        &mut self,
        now: Millis,
        parts: &[Sha256Digest],
    ) -> Result<Vec<Effect>, Unrestorable> {
        let rows = Rows {
            sharding: self.record.clone(),
            tasks: self.tasks().cloned().collect(),
            leases: Vec::new(),
            stored: self.results().filter(|blob| !parts.contains(blob)).collect(),
        };
        let (again, mut effects) = Self::restore(now, rows, self.limits, self.ids.clone(), 0)?;
        *self = again;
        effects.extend(self.all_returned(now));
        Ok(effects)
    }

    /// A worker could not get an input anywhere in an attempt that began at `since`.
    pub(super) fn input_lost(
        &mut self,
        now: Millis,
        since: Millis,
        blob: Sha256Digest,
        effects: &mut Vec<Effect>,
    ) {
        let is_record = |leaf: &TaskRecord| leaf.record.is_some_and(|record| record.sha256 == blob);
        if !self.leaves().any(is_record) {
            self.remake(now, blob, effects);
            return;
        }
        // It may have arrived after the worker asked for it.
        if self.holders.lose(blob, since) && !self.is_kept(blob) {
            effects.push(Effect::Free(blob));
        }
    }

    /// Makes every result again that consists of these bytes, and every shard whose precompile events they are.
    fn remake(&mut self, now: Millis, blob: Sha256Digest, effects: &mut Vec<Effect>) {
        self.execute_for(blob, effects);
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            if self.has_ended {
                return;
            }
            let Some(record) = self.task(id) else { continue };
            let is_output = record.output.is_some_and(|output| output.sha256 == blob);
            let has_events = record
                .deferred
                .as_ref()
                .is_some_and(|deferred| deferred.blobs().any(|part| part.sha256 == blob));
            if is_output {
                self.free_output(id, effects);
                self.reopen(now, id, effects);
            } else if has_events {
                self.stop(id, "its precompile events are lost", effects);
                self.remove_marker(id);
                self.free_events(id, effects);
                self.free_output(id, effects);
                self.reopen(now, id, effects);
            }
        }
    }

    /// Executes the program again if it makes these bytes: the common input, which executions hand in before their first
    /// shards, or the public values, which they hand in at their end.
    fn execute_for(&mut self, blob: Sha256Digest, effects: &mut Vec<Effect>) {
        let is_lost = |kept: &mut BlobInfo| kept.sha256 == blob;
        let common = self.record.common.take_if(is_lost);
        let public_values = self.record.public_values.take_if(is_lost);
        if common.or(public_values).is_none() {
            return;
        }
        effects.push(Effect::SaveSharding(self.record.clone()));
        if !self.is_kept(blob) {
            effects.push(Effect::Free(blob));
        }
        if common.is_some() {
            self.stop(self.execute, "its common input is lost", effects);
        }
        if self.execution.is_none() {
            self.update(self.execute, effects, |record| record.state = TaskState::Waiting);
            self.count_retry(effects);
        }
    }

    /// A finished task is to be done again, with everything below it whose results are not kept.
    pub(super) fn reopen(&mut self, _now: Millis, task: TaskId, effects: &mut Vec<Effect>) {
        let mut open = vec![task];
        while let Some(task) = open.pop() {
            // Too many repetitions end the job: nothing waits any longer.
            if self.has_ended {
                return;
            }
            let Some(record) = self.task(task) else { continue };
            if record.state != TaskState::Done || record.output.is_some() {
                continue;
            }
            open.extend(record.children.iter().copied());
            self.update(task, effects, |record| record.state = TaskState::Waiting);
            // Wraps are not part of the plan.
            let _ = self.plan.reopen(task);
            self.count_retry(effects);
        }
    }

    /// Executes the program again if a shard waits whose record is lost, and no running execution will announce it.
    pub(super) fn require_records(&mut self, _now: Millis, effects: &mut Vec<Effect>) {
        if self.has_ended {
            return;
        }
        let is_lost = |leaf: &&TaskRecord| {
            leaf.state == TaskState::Waiting
                && leaf.record.is_some_and(|blob| self.holders.is_lost(blob.sha256))
        };
        let lost: Vec<_> = self.leaves().filter(is_lost).map(|leaf| leaf.id).collect();
        if lost.is_empty() {
            return;
        }
        if let Some(running) = &self.execution {
            if lost.iter().any(|leaf| running.announced.contains(*leaf)) {
                self.stop(self.execute, "a record is lost", effects);
                self.count_retry(effects);
            }
        } else if !self.execution_waits() {
            // It is done, or it was stopped when all shards were done and one of them is lost now.
            self.update(self.execute, effects, |record| record.state = TaskState::Waiting);
            self.count_retry(effects);
        }
    }
}
