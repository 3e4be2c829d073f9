//! Jobs that are proved as tasks of many workers.

use network_lib::ids::{JobId, LeaseId, TaskId, WorkerId};
use network_lib::job::{BlobInfo, ProofMode};
use network_lib::named_enum;
use network_lib::shard::{Named, TaskKind};
use shard_plan::{Key, ShardKind, ShardRange};

use super::Millis;

/// Division of a job into tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardingRecord {
    /// Job.
    pub job: JobId,
    /// Kind of proof.
    pub mode: ProofMode,
    /// Software that makes and reads records, equal on all workers of the job.
    pub engine: String,
    /// Trace area at which shards are cut, in cells.
    pub max_elements: u64,
    /// SP1's `CommonProverInput`, stored by Hierophant, once an execution has announced shards.
    pub common: Option<BlobInfo>,
    /// Public values, once the execution has ended.
    pub public_values: Option<BlobInfo>,
    /// End of the first complete execution.
    pub executed_at: Option<Millis>,
    /// Number of times that all tasks were discarded.
    pub restarts: u32,
    /// Creation time.
    pub created_at: Millis,
}

named_enum! {
    /// State of a task.
    TaskState {
        /// Waiting for its inputs, or for a worker.
        Waiting = "waiting",
        /// Assigned to a worker.
        Leased = "leased",
        /// Its result is stored.
        Done = "done",
        /// Its result is not needed.
        Obsolete = "obsolete",
    }
}

named_enum! {
    /// What a task waits for.
    TaskWait {
        /// A worker with a free place.
        Worker = "worker",
        /// Its record, which another worker holds and hands in, or lists once it returns.
        Record = "record",
        /// Precompile events that its record refers to.
        Events = "events",
        /// Results of other tasks.
        Results = "results",
        /// An execution that announces it again, because its record or the common input is lost.
        Execution = "execution",
    }
}

/// Precompile events of a core shard, stored by Hierophant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredEvents {
    /// SP1's `DeferredEvents`, which refers to the others.
    pub index: Named<BlobInfo>,
    /// Blobs of events.
    pub events: Vec<Named<BlobInfo>>,
}

impl DeferredEvents {
    /// All its blobs.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobInfo> {
        std::iter::once(&self.index).chain(&self.events).map(|named| &named.blob)
    }
}

/// Task of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// Id.
    pub id: TaskId,
    /// Job.
    pub job: JobId,
    /// Key, unique within the job.
    pub key: Key,
    /// Kind.
    pub kind: TaskKind,
    /// Kind of shard, of a leaf.
    pub shard: Option<ShardKind>,
    /// Range, of a leaf or a reduce.
    pub range: Option<ShardRange>,
    /// Record, of a leaf.
    pub record: Option<BlobInfo>,
    /// Event blobs to which the record refers.
    pub named: Vec<Named<BlobInfo>>,
    /// Tasks whose results it takes, in their order.
    pub children: Vec<TaskId>,
    /// Whether the result of a reduce is the whole proof.
    pub complete: bool,
    /// State.
    pub state: TaskState,
    /// Result, as long as its bytes are kept.
    pub output: Option<BlobInfo>,
    /// Precompile events, of a core shard that was traced.
    pub deferred: Option<DeferredEvents>,
    /// Number of failures by the fault of workers.
    pub failures: u32,
    /// Worker that made the result.
    pub maker: Option<WorkerId>,
    /// Creation time.
    pub created_at: Millis,
    /// Time at which the result was stored.
    pub ended_at: Option<Millis>,
}

impl TaskRecord {
    /// New task that waits, without inputs.
    #[must_use]
    pub const fn new(id: TaskId, job: JobId, key: Key, kind: TaskKind, created_at: Millis) -> Self {
        Self {
            id,
            job,
            key,
            kind,
            shard: None,
            range: None,
            record: None,
            named: Vec::new(),
            children: Vec::new(),
            complete: false,
            state: TaskState::Waiting,
            output: None,
            deferred: None,
            failures: 0,
            maker: None,
            created_at,
            ended_at: None,
        }
    }
}

/// Division that has not ended of a job that has not ended, with all that a start needs to continue it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedSharding {
    /// Division of the job.
    pub sharding: ShardingRecord,
    /// All its tasks, in the order of their ids.
    pub tasks: Vec<TaskRecord>,
}

/// Task that a worker holds: a running attempt at a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLease {
    /// Id, which gives its worker access to the task's data.
    pub lease: LeaseId,
    /// Task.
    pub task: TaskId,
    /// Worker.
    pub worker: WorkerId,
    /// Start.
    pub started_at: Millis,
}
