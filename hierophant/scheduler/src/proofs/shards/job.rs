//! State of one sharded job.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{
    DeferredEvents, Millis, ShardingRecord, TaskLease, TaskRecord, TaskState,
};
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, ProofMode};
use network_lib::shard::{MAX_BLOBS_PER_MESSAGE, TaskKind, TaskToWorker};
use shard_plan::{Key, Plan, Reduce, Single};

use super::effect::{Effect, JobEnd, Reason, Release};
use super::holders::Holders;
use super::leases::Leases;
use super::running::{Execution, Limits};
use super::times::TaskTimes;
use super::waiting::{Missing, Waiting};
use crate::proofs::core::IdSource;

/// One proof that many workers make.
///
/// Late, repeated and foreign messages have no effect except an answer, because ended leases are unknown.
#[derive(Debug)]
pub struct ShardedJob {
    pub(super) record: ShardingRecord,
    pub(super) limits: Limits,
    pub(super) ids: IdSource,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) by_key: BTreeMap<Key, TaskId>,
    pub(super) waiting: Waiting,
    /// Number of leaves in use whose results are stored, and of all in use.
    leaves: (usize, usize),
    /// Number of tasks above the leaves whose results are stored or were used.
    joins: usize,
    /// Number of tasks that name a blob as something that Hierophant stores.
    pub(super) kept: BTreeMap<Sha256Digest, usize>,
    pub(super) leases: Leases,
    /// The task that executes the program.
    pub(super) execute: TaskId,
    /// The running execution.
    pub(super) execution: Option<Execution>,
    /// Workers that have executed the program: each may hold records of which Hierophant does not know.
    pub(super) executors: BTreeSet<WorkerId>,
    /// Workers that failed at a task.
    pub(super) failed: BTreeSet<WorkerId>,
    /// Results that are being verified, because a worker has found them false.
    pub(super) doubted: BTreeSet<Sha256Digest>,
    pub(super) plan: Plan<TaskId>,
    pub(super) holders: Holders,
    pub(super) times: TaskTimes,
    /// Number of repeated tasks of all kinds.
    pub(super) retries: u32,
    pub(super) has_ended: bool,
}

/// Task with what is in memory only.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: TaskRecord,
    /// Running attempts: one, or two that race.
    pub(super) leases: BTreeSet<LeaseId>,
    /// Workers that failed at it: they get it again only if there is no other.
    pub(super) avoids: BTreeSet<WorkerId>,
}

impl ShardedJob {
    /// A new sharded job and its first effects. `engine` is the one of all its workers.
    #[must_use]
    pub fn begin(
        now: Millis,
        job: JobId,
        (mode, engine, max_elements): (ProofMode, &str, u64),
        limits: Limits,
        ids: IdSource,
    ) -> (Self, Vec<Effect>) {
        let record = ShardingRecord {
            job,
            mode,
            engine: engine.to_owned(),
            max_elements,
            common: None,
            public_values: None,
            executed_at: None,
            restarts: 0,
            created_at: now,
        };
        let mut begun = Self::empty(record, limits, ids, TaskId([0; 16]));
        let key = Key::single(engine, Single::Execute);
        let mut effects = vec![Effect::SaveSharding(begun.record.clone())];
        begun.execute = begun.add(now, TaskKind::Execute, key, |_| {}, &mut effects);
        (begun, effects)
    }

    pub(super) fn empty(
        record: ShardingRecord,
        limits: Limits,
        ids: IdSource,
        execute: TaskId,
    ) -> Self {
        Self {
            record,
            limits,
            ids,
            tasks: BTreeMap::new(),
            by_key: BTreeMap::new(),
            waiting: Waiting::default(),
            leaves: (0, 0),
            joins: 0,
            kept: BTreeMap::new(),
            leases: Leases::default(),
            execute,
            execution: None,
            executors: BTreeSet::new(),
            failed: BTreeSet::new(),
            doubted: BTreeSet::new(),
            plan: Plan::default(),
            holders: Holders::default(),
            times: TaskTimes::default(),
            retries: 0,
            has_ended: false,
        }
    }

    /// A task's record.
    #[must_use]
    pub fn task(&self, task: TaskId) -> Option<&TaskRecord> {
        self.tasks.get(&task).map(|task| &task.record)
    }

    /// All tasks, for views.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskRecord> {
        self.tasks.values().map(|task| &task.record)
    }

    /// Running attempts.
    pub fn leases(&self) -> impl Iterator<Item = &TaskLease> {
        self.leases.values().map(|lease| &lease.row)
    }

    /// Number of running attempts.
    #[must_use]
    pub fn running(&self) -> usize {
        self.leases.len()
    }

    /// SP1's `CommonProverInput`, once an execution has announced shards.
    #[must_use]
    pub const fn common(&self) -> Option<BlobInfo> {
        self.record.common
    }

    /// Engine of all its workers.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.record.engine
    }

    /// Trace area at which shards are cut, in cells.
    #[must_use]
    pub const fn max_elements(&self) -> u64 {
        self.record.max_elements
    }

    /// Kind of proof.
    #[must_use]
    pub const fn mode(&self) -> ProofMode {
        self.record.mode
    }

    /// Whether the program was executed completely.
    #[must_use]
    pub const fn is_executed(&self) -> bool {
        self.record.executed_at.is_some()
    }

    /// Number of shards whose proofs are stored, and of all announced shards.
    #[must_use]
    pub const fn shards_done(&self) -> (usize, usize) {
        self.leaves
    }

    /// Number of tasks that are done, and of all that the announced shards need, the execution left out.
    #[must_use]
    pub const fn steps(&self) -> (usize, usize) {
        let (done, leaves) = self.leaves;
        let reduces = match leaves {
            0 | 1 => leaves,
            _ => (leaves - 1).div_ceil(shard_plan::ARITY - 1),
        };
        let joins = match self.record.mode {
            ProofMode::Core => 0,
            ProofMode::Compressed => reduces,
            // Shrink and wrap are one task, PLONK or Groth16 another.
            ProofMode::Plonk | ProofMode::Groth16 => reduces + 2,
        };
        (done + self.joins, leaves + joins)
    }

    /// Whether any task waits that may be able to begin.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.has_ended && !self.waiting.is_blocked()
    }

    /// Whether the program waits to be executed.
    #[must_use]
    pub fn execution_waits(&self) -> bool {
        self.task(self.execute).is_some_and(|task| task.state == TaskState::Waiting)
    }

    /// Whether the job has ended. No method has an effect then, except answers to late messages.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Blobs that a lease of a task opens for `GET`, in addition to program and input of the job: for an execution, the
    /// precompile events of its shards.
    #[must_use]
    pub fn inputs(&self, task: TaskId) -> Vec<BlobInfo> {
        let Some(record) = self.task(task) else { return Vec::new() };
        if task == self.execute {
            let deferred = self.leaves().filter_map(|leaf| leaf.deferred.as_ref());
            return deferred.flat_map(DeferredEvents::blobs).copied().collect();
        }
        let children = record.children.iter().filter_map(|child| self.task(*child)?.output);
        let named = record.named.iter().map(|named| named.blob);
        self.record.common.into_iter().chain(record.record).chain(named).chain(children).collect()
    }

    /// Ends the job because its result is not needed.
    #[must_use]
    pub fn cancel(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.end(JobEnd::Cancelled, &mut effects);
        effects
    }

    /// Adds a task, or takes one of the same key into use again.
    pub(super) fn add(
        &mut self,
        now: Millis,
        kind: TaskKind,
        key: Key,
        fill: impl FnOnce(&mut TaskRecord),
        effects: &mut Vec<Effect>,
    ) -> TaskId {
        let known = self.by_key.get(&key).copied();
        let id = known.unwrap_or_else(|| TaskId(self.ids.draw()));
        let mut record = TaskRecord::new(id, self.record.job, key, kind, now);
        fill(&mut record);
        effects.push(Effect::SaveTask(record.clone()));
        self.insert(record);
        id
    }

    /// Inserts or replaces a task.
    pub(super) fn insert(&mut self, record: TaskRecord) {
        let (id, key) = (record.id, record.key);
        self.note(&record);
        self.by_key.insert(key, id);
        let task = Task { record, leases: BTreeSet::new(), avoids: BTreeSet::new() };
        if let Some(before) = self.tasks.insert(id, task) {
            self.discount(&before.record);
        }
    }

    /// Notes a task as it is now.
    fn note(&mut self, record: &TaskRecord) {
        if record.state == TaskState::Waiting {
            self.waiting.insert(record);
        } else {
            self.waiting.remove(record.id);
        }
        for blob in stored_blobs(record) {
            *self.kept.entry(blob).or_default() += 1;
            self.waiting.arrived(Missing::Blob(blob));
        }
        if record.output.is_some() {
            self.waiting.arrived(Missing::Output(record.id));
        }
        if is_leaf(record) {
            self.leaves.0 += usize::from(record.state == TaskState::Done);
            self.leaves.1 += 1;
        }
        self.joins += usize::from(is_done_join(record));
    }

    /// Discounts a task as it was, after [`ShardedJob::note`] of what it is now.
    fn discount(&mut self, record: &TaskRecord) {
        if is_leaf(record) {
            self.leaves.0 -= usize::from(record.state == TaskState::Done);
            self.leaves.1 -= 1;
        }
        self.joins -= usize::from(is_done_join(record));
        for blob in stored_blobs(record) {
            if let Some(count) = self.kept.get_mut(&blob) {
                *count -= 1;
                if *count == 0 {
                    self.kept.remove(&blob);
                }
            }
        }
    }

    /// Changes a task's record and saves it if that changes anything.
    pub(super) fn update(
        &mut self,
        task: TaskId,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut TaskRecord),
    ) {
        let Some(task) = self.tasks.get_mut(&task) else { return };
        let before = task.record.clone();
        change(&mut task.record);
        if task.record == before {
            return;
        }
        let now = task.record.clone();
        self.note(&now);
        self.discount(&before);
        effects.push(Effect::SaveTask(now));
    }

    /// Ends an attempt. Its task waits again, unless it has another attempt.
    pub(super) fn release(&mut self, lease: LeaseId, how: Release, effects: &mut Vec<Effect>) {
        let Some(ended) = self.leases.remove(lease) else { return };
        let id = ended.row.task;
        effects.push(Effect::EndLease(lease, how));
        let others = self.tasks.get_mut(&id).map(|task| {
            task.leases.remove(&lease);
            task.leases.clone()
        });
        let others: Vec<_> = others.into_iter().flatten().collect();
        if self.execution.as_ref().is_some_and(|running| running.lease == lease) {
            self.execution = None;
        }
        self.update(id, effects, |record| {
            if record.state == TaskState::Leased && others.is_empty() {
                record.state = TaskState::Waiting;
            }
        });
        if let Some(record) = self.task(id).and_then(|record| record.record) {
            // What was asked for under this lease is not taken any longer.
            self.holders.withdraw(record.sha256);
            for other in others {
                if let Some(row) = self.leases.get(&other).map(|held| held.row) {
                    self.request_record(row, effects);
                }
            }
            self.request_queued(effects);
        }
        let kept = self.task(id).and_then(|record| record.output);
        for blob in ended.handed_in.into_keys() {
            if kept.is_none_or(|output| output.sha256 != blob) && !self.is_kept(blob) {
                effects.push(Effect::Free(blob));
            }
        }
    }

    /// Ends the attempts at a task and stops their workers.
    pub(super) fn stop(&mut self, task: TaskId, why: &'static str, effects: &mut Vec<Effect>) {
        let leases = self.tasks.get(&task).map(|task| task.leases.clone()).unwrap_or_default();
        for lease in leases {
            if let Some(row) = self.leases.get(&lease).map(|held| held.row) {
                self.release(row.lease, Release::Cancelled, effects);
                effects.push(Effect::Cancel(row.worker, row.lease, why));
            }
        }
    }

    /// Whether any record names this blob as something that Hierophant stores.
    pub(super) fn is_kept(&self, blob: Sha256Digest) -> bool {
        let is = |kept: BlobInfo| kept.sha256 == blob;
        self.record.common.is_some_and(is)
            || self.record.public_values.is_some_and(is)
            || self.kept.contains_key(&blob)
    }

    /// Frees the kept result of a task that nothing needs.
    pub(super) fn free_output(&mut self, task: TaskId, effects: &mut Vec<Effect>) {
        let Some(output) = self.task(task).and_then(|record| record.output) else { return };
        self.update(task, effects, |record| record.output = None);
        if !self.is_kept(output.sha256) {
            effects.push(Effect::Free(output.sha256));
        }
    }

    /// Frees a record, wherever it is.
    pub(super) fn free_record(&mut self, task: TaskId, effects: &mut Vec<Effect>) {
        let Some(blob) = self.task(task).and_then(|record| record.record) else { return };
        let (workers, is_stored) = self.holders.forget(blob.sha256);
        if is_stored && !self.is_kept(blob.sha256) {
            effects.push(Effect::Free(blob.sha256));
        }
        for worker in workers {
            effects.push(Effect::Send(worker, self.forget_message(vec![blob.sha256])));
        }
    }

    pub(super) const fn forget_message(&self, blobs: Vec<Sha256Digest>) -> TaskToWorker {
        debug_assert!(blobs.len() <= MAX_BLOBS_PER_MESSAGE);
        TaskToWorker::Forget { job: self.record.job, blobs: Some(blobs) }
    }

    /// Starts all reduces that the plan has, and what follows the complete proof; ends a finished job.
    pub(super) fn advance(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.has_ended {
            return;
        }
        if self.record.mode == ProofMode::Core {
            self.finish_core(effects);
            return;
        }
        while let Some(reduce) = self.plan.next() {
            self.begin_reduce(now, &reduce, effects);
        }
        let Some(complete) = self.plan.finished() else { return };
        let wraps = match self.record.mode {
            ProofMode::Plonk => &[Single::ShrinkWrap, Single::Plonk][..],
            ProofMode::Groth16 => &[Single::ShrinkWrap, Single::Groth16],
            ProofMode::Core | ProofMode::Compressed => &[],
        };
        let mut last = complete;
        for wrap in wraps {
            let key = Key::single(&self.record.engine, *wrap);
            let kind = match wrap {
                Single::Plonk => TaskKind::Plonk,
                Single::Groth16 => TaskKind::Groth16,
                _ => TaskKind::ShrinkWrap,
            };
            let known = self.by_key.get(&key).copied().filter(|task| {
                self.task(*task).is_some_and(|record| record.state != TaskState::Obsolete)
            });
            last = known.unwrap_or_else(|| {
                let fill = |record: &mut TaskRecord| record.children = vec![last];
                self.add(now, kind, key, fill, effects)
            });
            if self.task(last).is_none_or(|record| record.state != TaskState::Done) {
                return;
            }
        }
        let output = self.task(last).and_then(|record| record.output);
        if let (Some(output), Some(public_values)) = (output, self.record.public_values) {
            self.end(JobEnd::Finished { parts: vec![(last, output)], public_values }, effects);
        }
    }

    fn begin_reduce(&mut self, now: Millis, reduce: &Reduce<TaskId>, effects: &mut Vec<Effect>) {
        let keys = reduce.children.iter().filter_map(|child| Some(self.task(*child)?.key));
        let key = Key::reduce(&self.record.engine, reduce.complete, &keys.collect::<Vec<_>>());
        let fill = |record: &mut TaskRecord| {
            record.range = Some(reduce.range);
            record.children.clone_from(&reduce.children);
            record.complete = reduce.complete;
        };
        let id = self.add(now, TaskKind::Reduce, key, fill, effects);
        self.plan.begin(id, reduce).expect("a reduce of the plan itself, under a new name");
    }

    /// Ends a Core job whose leaves are all done.
    fn finish_core(&mut self, effects: &mut Vec<Effect>) {
        let Some(public_values) = self.record.public_values else { return };
        if !self.plan.is_executed() {
            return;
        }
        let mut parts = Vec::new();
        for record in self.leaves() {
            let (Some(range), Some(output)) = (record.range, record.output) else { return };
            parts.push((range, record.id, output));
        }
        // In SP1's order; that of precompile shards among each other does not matter.
        parts.sort_by_key(|(range, id, _)| (*range, *id));
        let parts = parts.into_iter().map(|(_, id, output)| (id, output)).collect();
        self.end(JobEnd::Finished { parts, public_values }, effects);
    }

    /// Leaves that are in use.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &TaskRecord> {
        self.tasks().filter(|record| is_leaf(record))
    }

    /// Ends the job, once. The bytes of a finished one stay until its proof is assembled; those of others are freed.
    pub(super) fn end(&mut self, end: JobEnd, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let running: Vec<_> = self.leases.values().map(|lease| lease.row.task).collect();
        let busy = self.leases.values().map(|lease| lease.row.worker);
        let busy: BTreeSet<_> = busy.chain(std::mem::take(&mut self.executors)).collect();
        running.into_iter().for_each(|task| self.stop(task, "the job has ended", effects));
        let is_finished = matches!(end, JobEnd::Finished { .. });
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.update(id, effects, |record| {
                if matches!(record.state, TaskState::Waiting | TaskState::Leased) {
                    record.state = TaskState::Obsolete;
                }
            });
        }
        let (workers, records) = self.holders.drain();
        let mut freed = records;
        if is_finished {
            freed.retain(|record| !self.is_kept(*record));
        } else {
            freed.extend(self.results());
        }
        effects.push(Effect::End(end));
        effects.extend(freed.into_iter().map(Effect::Free));
        effects.extend(workers.union(&busy).map(|worker| Effect::ForgetAll(*worker)));
    }

    /// All results that Hierophant stores, of tasks and of the execution.
    pub(super) fn results(&self) -> impl Iterator<Item = Sha256Digest> + '_ {
        let of_execution = self.record.common.into_iter().chain(self.record.public_values);
        self.kept.keys().copied().chain(of_execution.map(|blob| blob.sha256))
    }

    /// Counts a repetition; ends the job if there were too many.
    pub(super) fn count_retry(&mut self, effects: &mut Vec<Effect>) {
        self.retries += 1;
        if self.retries > self.limits.max_retries {
            self.end(JobEnd::FallBack(Reason::TooManyRetries), effects);
        }
    }
}

/// Whether a task is a leaf in use.
fn is_leaf(record: &TaskRecord) -> bool {
    record.shard.is_some() && record.state != TaskState::Obsolete
}

/// Whether a task is one above the leaves, and done.
fn is_done_join(record: &TaskRecord) -> bool {
    record.shard.is_none() && record.kind != TaskKind::Execute && record.state == TaskState::Done
}

/// Blobs of a task that Hierophant stores: its result and its precompile events.
fn stored_blobs(record: &TaskRecord) -> impl Iterator<Item = Sha256Digest> {
    let deferred = record.deferred.iter().flat_map(DeferredEvents::blobs);
    record.output.iter().chain(deferred).map(|blob| blob.sha256)
}
