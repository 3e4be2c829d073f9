//! What an execution announces: shards, precompile events in the order of clocks, its end.

use hierophant_model::records::{DeferredEvents, Millis, TaskState};
use network_lib::ids::{LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, ProofMode};
use network_lib::shard::{
    Blob, KnownShard, MAX_SHARDS_PER_MESSAGE, Named, NewShard, ShardState, Source, TaskKind,
    TaskToWorker,
};
use shard_plan::{Key, Plan, PlanError, ShardKind, ShardRange};

use super::effect::{Effect, JobEnd, Reason, Release};
use super::job::ShardedJob;
use super::waiting::Missing;

impl ShardedJob {
    /// The execution under this lease has found shards. They are stored, and acknowledged with their states.
    #[must_use]
    pub fn shards(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        common: BlobInfo,
        shards: &[NewShard],
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.held(worker, lease).is_none() {
            return effects;
        }
        if self.execution.as_ref().is_none_or(|running| running.lease != lease) {
            return self.answer_misplaced(now, lease);
        }
        if let Err(reason) = self.take_common(now, lease, common, &mut effects) {
            self.fail(now, lease, reason, &mut effects);
            return effects;
        }
        let mut known = Vec::new();
        if self.has_ended {
            return effects;
        }
        for shard in shards {
            match self.announce(now, shard, &mut effects) {
                Ok(task) => known.push((shard.no, task)),
                Err(reason) => {
                    self.fail(now, lease, reason, &mut effects);
                    return effects;
                }
            }
        }
        for part in known.chunks(MAX_SHARDS_PER_MESSAGE) {
            let shards = part.iter().map(|(no, task)| self.known_shard(*no, *task)).collect();
            let Some(running) = &self.execution else { break };
            let message = TaskToWorker::ShardsKnown { lease_id: lease, shards };
            effects.push(Effect::Send(running.worker, message));
        }
        self.release_markers(&mut effects);
        self.advance(now, &mut effects);
        effects
    }

    /// The input that all shards have in common. Another one than that of an earlier execution discards its shards.
    fn take_common(
        &mut self,
        now: Millis,
        lease: LeaseId,
        common: BlobInfo,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reason> {
        if self.record.common == Some(common) {
            return Ok(());
        }
        if !self.was_handed_in(lease, common) {
            return Err(Reason::WrongResult);
        }
        if self.execution.as_ref().is_some_and(|running| !running.announced.is_empty()) {
            return Err(Reason::OutOfOrder);
        }
        let before = self.record.common.replace(common);
        self.waiting.arrived(Missing::Common);
        self.waiting.arrived(Missing::Blob(common.sha256));
        effects.push(Effect::SaveSharding(self.record.clone()));
        if let Some(before) = before {
            self.restart(now, None, effects);
            if !self.is_kept(before.sha256) {
                effects.push(Effect::Free(before.sha256));
            }
        }
        Ok(())
    }

    /// Adds one announced shard, or finds it by its key.
    fn announce(
        &mut self,
        now: Millis,
        shard: &NewShard,
        effects: &mut Vec<Effect>,
    ) -> Result<TaskId, Reason> {
        let key = Key(shard.key.0);
        let running = self.execution.as_ref().ok_or(Reason::WrongKind)?;
        let next = running.announced.len();
        let (worker, number) = (running.worker, usize::try_from(shard.no).unwrap_or(usize::MAX));
        if let Some(task) = running.announced.get(number) {
            let is_same = self.by_key.get(&key) == Some(&task);
            return if is_same { Ok(task) } else { Err(Reason::OutOfOrder) };
        }
        if number != next {
            return Err(Reason::OutOfOrder);
        }
        let known = self.by_key.get(&key).copied();
        let in_use = known.filter(|task| {
            self.task(*task).is_some_and(|record| record.state != TaskState::Obsolete)
        });
        if in_use.is_some_and(|task| running.announced.contains(task)) {
            return Err(Reason::OutOfOrder);
        }
        let is_done = in_use
            .and_then(|task| self.task(task))
            .is_some_and(|record| record.state == TaskState::Done);
        if !is_done && !running.has_room(shard.record.size) {
            return Err(Reason::BeyondWindow);
        }
        let task = match in_use {
            Some(task) if self.has_content(task, shard) => {
                self.renew_record(task, shard, effects);
                task
            }
            Some(_) => return Err(Reason::OutOfOrder),
            None => self.add_leaf(now, key, shard, effects)?,
        };
        if !is_done {
            self.holders.add(now, shard.record.sha256, worker);
            self.waiting.arrived(Missing::Blob(shard.record.sha256));
        }
        let clocks = shard.range.timestamp_range;
        let is_traced = self.task(task).is_some_and(|record| record.deferred.is_some());
        let Some(running) = &mut self.execution else { return Err(Reason::WrongKind) };
        running.announced.push(task);
        if !is_done {
            running.open(task, shard.record.size);
        }
        if is_traced {
            running.markers.add(clocks, shard.no).map_err(|_| Reason::Ranges)?;
        }
        Ok(task)
    }

    /// Whether a task has the range and record that are announced under its key.
    fn has_content(&self, task: TaskId, shard: &NewShard) -> bool {
        self.task(task).is_some_and(|record| {
            record.shard == Some(shard.kind)
                && record.range == Some(self.planned(shard.range))
                && (shard.kind == ShardKind::Precompile || record.record == Some(shard.record))
        })
    }

    /// Records of precompile shards hold random names, so each execution makes others under the same keys. A waiting task
    /// takes the new one: the earlier one may be lost.
    fn renew_record(&mut self, task: TaskId, shard: &NewShard, effects: &mut Vec<Effect>) {
        let is_renewed = |record: &hierophant_model::records::TaskRecord| {
            record.state == TaskState::Waiting && record.record != Some(shard.record)
        };
        if self.task(task).is_some_and(is_renewed) {
            self.free_record(task, effects);
            self.update(task, effects, |record| {
                record.record = Some(shard.record);
                record.named.clone_from(&shard.named);
            });
        }
    }

    /// A Core proof has no deferred shards: its ranges are those of the shards' public values.
    fn planned(&self, range: ShardRange) -> ShardRange {
        match self.record.mode {
            ProofMode::Core => ShardRange { deferred_proof_range: (0, 0), ..range },
            _ => range,
        }
    }

    fn add_leaf(
        &mut self,
        now: Millis,
        key: Key,
        shard: &NewShard,
        effects: &mut Vec<Effect>,
    ) -> Result<TaskId, Reason> {
        let range = self.planned(shard.range);
        let kind = match shard.kind {
            ShardKind::Deferred if self.record.mode == ProofMode::Core => {
                return Err(Reason::WrongKind);
            }
            ShardKind::Deferred => TaskKind::Deferred,
            ShardKind::Core | ShardKind::Memory | ShardKind::Precompile => TaskKind::ProveShard,
        };
        range.check(shard.kind).map_err(|_| Reason::Ranges)?;
        let fill = |record: &mut hierophant_model::records::TaskRecord| {
            (record.shard, record.range) = (Some(shard.kind), Some(range));
            record.record = Some(shard.record);
            record.named.clone_from(&shard.named);
        };
        let task = self.add(now, kind, key, fill, effects);
        let Err(error) = self.plan.announce(task, shard.kind, range) else { return Ok(task) };
        // An earlier execution has announced others: its shards are discarded, once.
        if self.has_stale() && matches!(error, PlanError::Range(_) | PlanError::Late) {
            self.restart(now, Some(task), effects);
            if !self.has_ended && self.plan.announce(task, shard.kind, range).is_ok() {
                return Ok(task);
            }
        }
        self.update(task, effects, |record| record.state = TaskState::Obsolete);
        Err(Reason::Ranges)
    }

    /// Whether leaves are in use that the running execution has not announced.
    fn has_stale(&self) -> bool {
        let Some(running) = &self.execution else { return false };
        self.leaves().any(|leaf| !running.announced.contains(leaf.id))
    }

    /// Discards every task that the running execution has not announced, and all reduces.
    fn restart(&mut self, now: Millis, keep: Option<TaskId>, effects: &mut Vec<Effect>) {
        self.record.restarts += 1;
        self.record.executed_at = None;
        effects.push(Effect::SaveSharding(self.record.clone()));
        if self.record.restarts > self.limits.max_restarts {
            self.end(JobEnd::FallBack(Reason::TooManyRestarts), effects);
            return;
        }
        let announced =
            self.execution.as_ref().map(|now| now.announced.clone()).unwrap_or_default();
        self.plan = Plan::default();
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            let Some(record) = self.task(id) else { continue };
            let is_kept = id == self.execute || keep == Some(id) || announced.contains(id);
            if is_kept || record.state == TaskState::Obsolete {
                continue;
            }
            self.stop(id, "the proof is planned again", effects);
            self.update(id, effects, |record| record.state = TaskState::Obsolete);
            self.free_record(id, effects);
            self.free_output(id, effects);
            self.free_events(id, effects);
        }
        for id in announced.iter() {
            let Some(record) = self.task(id) else { continue };
            let (Some(kind), Some(range)) = (record.shard, record.range) else { continue };
            let is_done = record.state == TaskState::Done && record.output.is_some();
            if self.plan.announce(id, kind, range).is_err() {
                continue;
            }
            if is_done {
                self.plan.done(id).expect("announced above");
            } else if self.task(id).is_some_and(|record| record.state == TaskState::Done) {
                self.reopen(now, id, effects);
            }
        }
    }

    pub(super) fn free_events(&mut self, task: TaskId, effects: &mut Vec<Effect>) {
        let mut freed = None;
        self.update(task, effects, |record| freed = record.deferred.take());
        let Some(deferred) = freed else { return };
        for blob in deferred.blobs().filter(|blob| !self.is_kept(blob.sha256)) {
            effects.push(Effect::Free(blob.sha256));
        }
    }

    /// State of an announced shard, as its execution needs it.
    fn known_shard(&self, no: u32, task: TaskId) -> KnownShard {
        let is_done = self.task(task).is_some_and(|record| record.state == TaskState::Done);
        let state = if is_done { ShardState::Done } else { ShardState::Waiting };
        KnownShard { no, task, state }
    }

    /// Hands the execution all precompile events that are next in the order of clocks.
    pub(super) fn release_markers(&mut self, effects: &mut Vec<Effect>) {
        let Some(mut running) = self.execution.take() else { return };
        while let Some(&no) = running.markers.release() {
            let task = usize::try_from(no).ok().and_then(|no| running.announced.get(no));
            let Some(task) = task else { continue };
            let Some(deferred) = self.task(task).and_then(|record| record.deferred.clone()) else {
                continue;
            };
            let from = |named: Named<BlobInfo>| Named {
                id: named.id,
                blob: Blob { info: named.blob, from: vec![Source::Hierophant] },
            };
            let state = ShardState::Traced {
                deferred: from(deferred.index),
                named: deferred.events.into_iter().map(from).collect(),
            };
            let shards = vec![KnownShard { no, task, state }];
            let message = TaskToWorker::ShardsKnown { lease_id: running.lease, shards };
            effects.push(Effect::Send(running.worker, message));
        }
        self.execution = Some(running);
    }

    /// The execution under this lease has ended, after this number of shards.
    #[must_use]
    pub fn execute_ended(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        shards: u32,
        public_values: BlobInfo,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.held(worker, lease).is_none() {
            return vec![Effect::Settle(worker, lease)];
        }
        let Some(running) = self.execution.as_ref().filter(|running| running.lease == lease) else {
            return self.answer_misplaced(now, lease);
        };
        if usize::try_from(shards) != Ok(running.announced.len()) {
            self.fail(now, lease, Reason::Count, &mut effects);
            return effects;
        }
        if !self.was_handed_in(lease, public_values) {
            self.fail(now, lease, Reason::WrongResult, &mut effects);
            return effects;
        }
        if self.has_stale() {
            self.restart(now, None, &mut effects);
        }
        if !self.has_ended && self.plan.execute_ended().is_err() {
            self.fail(now, lease, Reason::Ranges, &mut effects);
            return effects;
        }
        if self.has_ended {
            return effects;
        }
        let before = self.record.public_values.replace(public_values);
        self.waiting.arrived(Missing::Blob(public_values.sha256));
        self.record.executed_at = Some(now);
        effects.push(Effect::SaveSharding(self.record.clone()));
        self.update(self.execute, &mut effects, |record| {
            record.state = TaskState::Done;
            (record.maker, record.ended_at) = (Some(worker), Some(now));
        });
        self.release(lease, Release::Completed, &mut effects);
        if let Some(before) = before.filter(|before| !self.is_kept(before.sha256)) {
            effects.push(Effect::Free(before.sha256));
        }
        effects.push(Effect::Settle(worker, lease));
        self.require_records(now, &mut effects);
        self.advance(now, &mut effects);
        effects
    }

    /// A core shard is traced under this lease, and its precompile events are stored.
    #[must_use]
    pub fn traced(
        &mut self,
        now: Millis,
        (worker, lease): (WorkerId, LeaseId),
        deferred: DeferredEvents,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(task) = self.held(worker, lease) else { return effects };
        let is_stored = deferred.blobs().all(|blob| self.was_handed_in(lease, *blob));
        let record = self.task(task);
        let reason = match record.map(|record| record.shard) {
            Some(Some(ShardKind::Core)) if is_stored => None,
            Some(Some(ShardKind::Core)) => Some(Reason::WrongResult),
            _ => Some(Reason::WrongKind),
        };
        if let Some(reason) = reason {
            self.fail(now, lease, reason, &mut effects);
            return effects;
        }
        if record.is_some_and(|record| record.deferred.is_none()) {
            self.update(task, &mut effects, |record| record.deferred = Some(deferred));
            self.add_marker(task);
            self.release_markers(&mut effects);
        }
        effects
    }

    /// The precompile events of a shard are lost: unless they were released, the execution waits for them again.
    pub(super) fn remove_marker(&mut self, task: TaskId) {
        let clocks = self.task(task).and_then(|record| Some(record.range?.timestamp_range));
        let (Some(running), Some((from, _))) = (&mut self.execution, clocks) else { return };
        running.markers.remove(from);
    }

    fn add_marker(&mut self, task: TaskId) {
        let clocks = self.task(task).and_then(|record| Some(record.range?.timestamp_range));
        let (Some(running), Some(clocks)) = (&mut self.execution, clocks) else { return };
        if let Some(no) = running.announced.number(task) {
            // Ranges of announced shards do not overlap, because the plan has accepted them.
            let _ = running.markers.add(clocks, no);
        }
    }

    /// Whether bytes of this size and digest were handed in under the lease.
    pub(super) fn was_handed_in(&self, lease: LeaseId, blob: BlobInfo) -> bool {
        let handed_in = self.leases.get(&lease).and_then(|held| held.handed_in.get(&blob.sha256));
        handed_in == Some(&blob.size)
    }

    /// Bytes were handed in under a lease, and are stored. Bytes that nothing needs are freed.
    #[must_use]
    pub fn handed_in(&mut self, lease: LeaseId, blob: BlobInfo) -> Vec<Effect> {
        let sha256: Sha256Digest = blob.sha256;
        if self.holders.store(sha256) {
            self.waiting.arrived(Missing::Blob(sha256));
            let mut effects = Vec::new();
            self.request_queued(&mut effects);
            return effects;
        }
        if let Some(held) = self.leases.get_mut(lease) {
            held.handed_in.insert(sha256, blob.size);
            return Vec::new();
        }
        if self.is_kept(sha256) { Vec::new() } else { vec![Effect::Free(sha256)] }
    }
}
