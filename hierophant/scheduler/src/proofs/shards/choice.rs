//! Which task a worker gets next.

use hierophant_model::records::{Millis, TaskLease, TaskRecord, TaskState, TaskWait};
use network_lib::ids::{LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::BlobInfo;
use network_lib::shard::{Named, Source, TaskKind, TaskToWorker};

use super::effect::Effect;
use super::job::{ShardedJob, Task};
use super::running::Execution;
use super::waiting::{Class, Missing};

/// What a worker offers at the moment.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// Worker.
    pub worker: WorkerId,
    /// Its engine.
    pub engine: &'a str,
    /// Kinds of tasks that it takes.
    pub kinds: &'a [TaskKind],
    /// Greatest shard that it takes, in cells.
    pub max_elements: u64,
    /// Number of tasks that it takes of this job, those that it holds included. An execution does not count: it waits
    /// for the shards that it announces, which may need the same worker.
    pub slots: usize,
    /// The other workers of its engine. It gets a task again at which it failed once all of them that take its kind have
    /// failed at it too. Needed only of a worker that has failed at a task of the job.
    pub others: &'a [Peer],
}

/// Worker that takes tasks of a job, at once or when it has a place again.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Worker.
    pub worker: WorkerId,
    /// Kinds of tasks that it takes.
    pub kinds: Vec<TaskKind>,
}

/// Where bytes are, as far as Hierophant can serve them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Hierophant stores them.
    Stored,
    /// A worker was asked to hand them in.
    Expected,
    /// Hierophant neither has nor expects them.
    Nowhere,
}

impl ShardedJob {
    /// The most urgent task that the worker can get; `None` if there is none for it.
    ///
    /// In this order: an execution; wraps and the last reduce; shards in the order of clocks, first those whose records
    /// the worker has; other reduces.
    #[must_use]
    pub fn next_for(&mut self, offer: &Offer<'_>) -> Option<TaskId> {
        if !self.fits(offer) || self.has_ended {
            return None;
        }
        let executes = self.executions_of(offer.worker) > 0;
        let has_slot = self.has_slot(offer);
        Class::ALL.into_iter().find_map(|class| {
            let is_open = if class == Class::Execution { !executes } else { has_slot };
            if is_open { self.next_of(class, offer) } else { None }
        })
    }

    /// Whether the worker has the job's engine and takes its shards.
    pub(super) fn fits(&self, offer: &Offer<'_>) -> bool {
        offer.engine == self.record.engine && offer.max_elements >= self.record.max_elements
    }

    /// Whether the worker takes one more task that is not an execution.
    pub(super) fn has_slot(&self, offer: &Offer<'_>) -> bool {
        let held = self.leases.of(offer.worker).count();
        held - self.executions_of(offer.worker) < offer.slots
    }

    fn executions_of(&self, worker: WorkerId) -> usize {
        self.leases.of(worker).filter(|held| held.row.task == self.execute).count()
    }

    /// The first task of a class that the worker can get.
    fn next_of(&mut self, class: Class, offer: &Offer<'_>) -> Option<TaskId> {
        let prefers_own = class == Class::Shard && self.holders.holds_any(offer.worker);
        let (mut first, mut blocked) = (None, Vec::new());
        for id in self.waiting.open(class) {
            let Some(task) = self.tasks.get(&id) else { continue };
            let record = &task.record;
            let is_refused = !offer.kinds.contains(&record.kind)
                || task.avoids.contains(&offer.worker) && has_alternative(task, offer);
            if is_refused {
                continue;
            }
            if let Some(missing) = self.missing(record) {
                blocked.push((id, missing));
                continue;
            }
            let is_own = |blob: BlobInfo| self.holders.is_held_by(blob.sha256, offer.worker);
            if !prefers_own || record.record.is_some_and(is_own) {
                first = Some(id);
                break;
            }
            first = first.or(Some(id));
        }
        for (task, missing) in blocked {
            self.waiting.block(task, missing);
        }
        first
    }

    /// Whether a worker has failed at any task of the job, since Hierophant's start.
    #[must_use]
    pub fn has_failed(&self, worker: WorkerId) -> bool {
        self.failed.contains(&worker)
    }

    /// Leases a waiting task to a worker under a new lease; `prove_slots` of all workers of the engine decide the window
    /// of an execution. Without effect if [`ShardedJob::next_for`] would not give it.
    #[must_use]
    pub fn lease(
        &mut self,
        now: Millis,
        (lease, task): (LeaseId, TaskId),
        offer: &Offer<'_>,
        prove_slots: u32,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.next_for(offer) != Some(task) || self.leases.contains_key(&lease) {
            return effects;
        }
        let row = self.begin_attempt(now, (lease, task), offer.worker, &mut effects);
        if task == self.execute {
            self.executors.insert(offer.worker);
            self.execution = Some(Execution::new(row, prove_slots, self.limits.window_bytes));
        }
        effects
    }

    /// Adds an attempt at a task, and asks for the record that it needs.
    pub(super) fn begin_attempt(
        &mut self,
        now: Millis,
        (lease, task): (LeaseId, TaskId),
        worker: WorkerId,
        effects: &mut Vec<Effect>,
    ) -> TaskLease {
        let row = TaskLease { lease, task, worker, started_at: now };
        self.update(task, effects, |record| record.state = TaskState::Leased);
        if let Some(known) = self.tasks.get_mut(&task) {
            known.leases.insert(lease);
        }
        self.leases.insert(row);
        effects.extend([Effect::SaveLease(row), Effect::Run(row)]);
        self.request_record(row, effects);
        row
    }

    /// Asks a holder of the task's record to hand it in, unless the worker has it or Hierophant stores it.
    pub(super) fn request_record(&mut self, row: TaskLease, effects: &mut Vec<Effect>) {
        let record = self.task(row.task).and_then(|record| record.record);
        let Some(blob) = record.map(|record| record.sha256) else { return };
        if self.holders.is_held_by(blob, row.worker) || self.holders.is_stored(blob) {
            return;
        }
        if let Some(holder) = self.holders.request(blob, row.lease, row.worker) {
            let message = TaskToWorker::Provide { lease_id: row.lease, blob };
            effects.push(Effect::Send(holder, message));
        }
    }

    /// Makes the requests that waited until workers had handed in other records.
    pub(super) fn request_queued(&mut self, effects: &mut Vec<Effect>) {
        while let Some(lease) = self.holders.next_queued() {
            if let Some(row) = self.leases.get(&lease).map(|held| held.row) {
                self.request_record(row, effects);
            }
        }
    }

    /// The sources of an input for a worker, in the order in which they are tried.
    #[must_use]
    pub fn sources(&self, blob: Sha256Digest, worker: WorkerId) -> Vec<Source> {
        let own = self.holders.is_held_by(blob, worker).then_some(Source::Own);
        own.into_iter().chain([Source::Hierophant]).collect()
    }

    /// Where the bytes of an input are now.
    #[must_use]
    pub fn place(&self, blob: Sha256Digest) -> Place {
        if self.is_kept(blob) || self.holders.is_stored(blob) {
            Place::Stored
        } else if self.holders.is_expected(blob) {
            Place::Expected
        } else {
            Place::Nowhere
        }
    }

    /// Most bytes that a worker may hand in as this blob under a lease: of its own lease what is left of `most` for all
    /// blobs together, and of another worker's the record that its task needs, which this worker holds. `None` if it may
    /// not.
    #[must_use]
    pub fn may_hand_in(
        &self,
        (worker, lease): (WorkerId, LeaseId),
        blob: Sha256Digest,
        most: u64,
    ) -> Option<u64> {
        let held = self.leases.get(&lease)?;
        if held.row.worker == worker {
            let others = held.handed_in.iter().filter(|(handed_in, _)| **handed_in != blob);
            let used = others.fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
            return Some(most.saturating_sub(used));
        }
        let record = self.task(held.row.task)?.record.filter(|record| record.sha256 == blob)?;
        self.holders.is_held_by(blob, worker).then_some(record.size.min(most))
    }

    /// Window of the running execution: shards and bytes, for its input.
    #[must_use]
    pub fn window(&self) -> Option<(u32, u64)> {
        self.execution.as_ref().map(|running| (running.window, running.window_bytes))
    }

    /// An input of a task that is not there; `None` if it can begin.
    pub(super) fn missing(&self, record: &TaskRecord) -> Option<Missing> {
        // Without it no execution has announced anything since it was lost.
        if record.id != self.execute && self.record.common.is_none() {
            return Some(Missing::Common);
        }
        let blob = record.record.map(|blob| blob.sha256).filter(|blob| !self.holders.has(*blob));
        let events = || record.named.iter().map(|named| named.blob.sha256);
        let blob = blob.or_else(|| events().find(|blob| !self.is_kept(*blob)));
        let output = |child: &TaskId| self.task(*child).and_then(|child| child.output);
        let of_child = |child: &TaskId| match output(child) {
            None => Some(Missing::Output(*child)),
            Some(blob) => {
                self.doubted.contains(&blob.sha256).then_some(Missing::Verdict(blob.sha256))
            }
        };
        blob.map(Missing::Blob).or_else(|| record.children.iter().find_map(of_child))
    }

    /// What an unfinished task waits for, and the worker that holds its record if another one makes it; `None` for a task
    /// that is done or in work.
    #[must_use]
    pub fn waits_for(&self, record: &TaskRecord) -> Option<(TaskWait, Option<WorkerId>)> {
        let blob = record.record.map(|blob| blob.sha256);
        let holder = blob.and_then(|blob| self.holders.holder(blob));
        match record.state {
            TaskState::Done | TaskState::Obsolete => None,
            TaskState::Leased => {
                let is_awaited = blob.is_some_and(|blob| self.holders.is_expected(blob));
                is_awaited.then_some((TaskWait::Record, holder))
            }
            TaskState::Waiting if self.missing(record).is_none() => {
                Some((TaskWait::Worker, holder))
            }
            TaskState::Waiting => {
                let lacks_common = record.id != self.execute && self.record.common.is_none();
                let is_kept = |named: &Named<BlobInfo>| self.is_kept(named.blob.sha256);
                let wait = match blob {
                    _ if lacks_common => TaskWait::Execution,
                    Some(blob) if self.holders.is_lost(blob) => TaskWait::Execution,
                    Some(blob) if !self.holders.has(blob) => TaskWait::Record,
                    _ if !record.named.iter().all(is_kept) => TaskWait::Events,
                    _ => TaskWait::Results,
                };
                Some((wait, holder))
            }
        }
    }
}

/// Whether a worker other than that of the offer takes a task and has not failed at it.
fn has_alternative(task: &Task, offer: &Offer<'_>) -> bool {
    let takes = |peer: &Peer| peer.kinds.contains(&task.record.kind);
    offer.others.iter().any(|peer| takes(peer) && !task.avoids.contains(&peer.worker))
}
