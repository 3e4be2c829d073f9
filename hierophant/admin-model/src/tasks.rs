//! JSON of proofs that several workers make as tasks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AttemptOutcome, ShardKind, TaskKind, TaskState, TaskWait};

/// Numbers of a job's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskSummary {
    /// Tasks whose results are stored.
    pub done: u64,
    /// All known tasks whose results are needed. The execution announces more until it ends.
    pub all: u64,
    /// Running attempts.
    pub running: u64,
    /// Workers that run a task or have made a result.
    pub workers: u64,
}

/// The tasks as which several workers make the proof of a job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobTasks {
    /// Job id.
    pub job: String,
    /// Software that makes and reads records, equal on all workers of the job.
    pub engine: String,
    /// Trace area at which shards are cut, in cells.
    pub max_elements: u64,
    /// Numbers of the tasks.
    pub summary: TaskSummary,
    /// Shards whose proofs are stored.
    pub shards_done: u64,
    /// Shards announced so far.
    pub shards: u64,
    /// Total size in bytes of the records of these shards.
    pub record_bytes: u64,
    /// Total size in bytes of the stored results.
    pub result_bytes: u64,
    /// Number of times that all tasks were discarded, because two executions differed.
    pub restarts: u32,
    /// Time at which the job was divided.
    pub divided_at: i64,
    /// End of the first complete execution.
    pub executed_at: Option<i64>,
    /// Time at which the first shard was proved.
    pub first_shard_at: Option<i64>,
    /// Time at which the last shard was proved, once all are.
    pub last_shard_at: Option<i64>,
    /// End of the division: the proof is assembled and checked, or the job is proved as a whole or has ended.
    pub ended_at: Option<i64>,
    /// Tasks in the order of the proof, at most 5000, the oldest: first executions, then shards.
    pub tasks: Vec<Task>,
}

/// A task: a part of a proof that one worker makes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Task id.
    pub id: String,
    /// Kind of work.
    pub kind: TaskKind,
    /// Kind of the shard that it proves.
    pub shard: Option<ShardKind>,
    /// State.
    pub state: TaskState,
    /// Id of the worker of the latest attempt.
    pub worker: Option<String>,
    /// Name of that worker.
    pub contemplant: Option<String>,
    /// Outcome of the latest attempt.
    pub outcome: Option<AttemptOutcome>,
    /// Details of the outcome.
    pub message: Option<String>,
    /// Number of attempts.
    pub attempts: u32,
    /// Number of failures by the fault of workers.
    pub failures: u32,
    /// What it waits for, if it is unfinished and not in work.
    pub waits_for: Option<TaskWait>,
    /// Name of the worker that holds its record, if it waits for it or for a worker.
    pub record_on: Option<String>,
    /// Size in bytes of its record.
    pub record_bytes: Option<u64>,
    /// Size in bytes of its result, as long as it is stored.
    pub result_bytes: Option<u64>,
    /// Size in bytes of the precompile events that it hands over.
    pub event_bytes: Option<u64>,
    /// Creation time.
    pub created_at: i64,
    /// Start of the latest attempt.
    pub started_at: Option<i64>,
    /// End of the latest attempt.
    pub ended_at: Option<i64>,
}

/// A task that a worker runs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunningTask {
    /// Job id.
    pub job: String,
    /// Task id.
    pub task: String,
    /// Kind of work.
    pub kind: TaskKind,
    /// Start of the attempt.
    pub started_at: i64,
}
