//! What follows from decisions about a sharded job.

use hierophant_model::records::{ShardingRecord, TaskLease, TaskRecord};
use network_lib::ids::{LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, Failure};
use network_lib::shard::TaskToWorker;

use crate::proofs::task_bytes::DoubtedPart;

/// Effect of a decision.
///
/// All rows of a list ([`Effect::is_row`]) are stored in one transaction. Then the others are executed, in their order.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful lives for the length of one event")]
pub enum Effect {
    /// Row: insert or replace the job's division.
    SaveSharding(ShardingRecord),
    /// Row: insert or replace a task.
    SaveTask(TaskRecord),
    /// Row: an attempt at a task begins.
    SaveLease(TaskLease),
    /// Row: an attempt at a task has ended.
    EndLease(LeaseId, Release),
    /// Row: the job has ended.
    End(JobEnd),
    /// Message: start the task. Its input is [`ShardedJob::task`](super::ShardedJob::task).
    Run(TaskLease),
    /// Message: stop the attempt; for people, why.
    Cancel(WorkerId, LeaseId, &'static str),
    /// Message: the end of the attempt need not be reported again.
    Settle(WorkerId, LeaseId),
    /// Message to the worker.
    Send(WorkerId, TaskToWorker),
    /// Message: the worker may delete all bytes of the job.
    ForgetAll(WorkerId),
    /// Bytes that Hierophant stores are not needed any longer.
    Free(Sha256Digest),
    /// A strike against the worker, and why.
    Strike(WorkerId, Reason),
    /// This worker has found results of other tasks false. The verdict on each is reported to
    /// [`ShardedJob::judged`](super::ShardedJob::judged).
    Accuse(WorkerId, Vec<DoubtedPart>),
}

impl Effect {
    /// Whether it is a row of the transaction, which precedes all messages and freed bytes.
    #[must_use]
    pub const fn is_row(&self) -> bool {
        matches!(
            self,
            Self::SaveSharding(_)
                | Self::SaveTask(_)
                | Self::SaveLease(_)
                | Self::EndLease(..)
                | Self::End(_)
        )
    }
}

/// Outcome of an attempt at a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Its result is stored.
    Completed,
    /// It failed.
    Failed,
    /// Its worker does not return.
    Lost,
    /// Its result is not needed.
    Cancelled,
}

/// End of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    /// All parts of the proof are stored; nothing is freed until the proof is assembled.
    Finished {
        /// Kept results in their order: all shard proofs of a Core proof, otherwise one.
        parts: Vec<(TaskId, BlobInfo)>,
        /// Public values.
        public_values: BlobInfo,
    },
    /// The program or the request is at fault.
    Failed(Failure),
    /// The tasks cannot be finished: the job is to be proved as a whole.
    FallBack(Reason),
    /// It was cancelled.
    Cancelled,
}

/// Why a message is refused, a worker blamed or a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// More shards or bytes than the window allows.
    #[error("announced shards beyond the window: expected to wait")]
    BeyondWindow,
    /// Shards with numbers that are out of order, or announced again with another key.
    #[error("announced shards out of order: expected consecutive numbers")]
    OutOfOrder,
    /// Shards with ranges that are not those of one proof.
    #[error("ranges of shards that are not those of one proof")]
    Ranges,
    /// The end of an execution that has announced another number of shards.
    #[error("another number of shards than announced")]
    Count,
    /// A result that was not handed in, or has another size or digest.
    #[error("result differs from what was handed in: expected the same size and digest")]
    WrongResult,
    /// A message that does not fit the kind of task.
    #[error("message does not fit the kind of task")]
    WrongKind,
    /// A core shard without its precompile events.
    #[error("core shard without its precompile events: expected `traced` first")]
    NotTraced,
    /// Inputs that the task does not have are said to be lost or false.
    #[error("report about inputs that the task does not have")]
    ForeignInput,
    /// The result is false.
    #[error("result found false")]
    FoundFalse,
    /// A result that was reported as false is right.
    #[error("reported the result of another worker as false, which is right")]
    FalseAccusation,
    /// The inputs of a task do not belong together.
    #[error("results that are right, but do not belong together")]
    Unfit,
    /// The attempt takes too long.
    #[error("task was not finished within the limit of an attempt")]
    TooSlow,
    /// The attempt failed by the worker's fault.
    #[error("task failed by the worker's fault")]
    WorkerFailed,
    /// A task failed on too many workers.
    #[error("a task failed too often")]
    TooManyAttempts,
    /// Tasks of the job were repeated too often.
    #[error("too many tasks were repeated")]
    TooManyRetries,
    /// Executions announced different shards too often.
    #[error("executions announce different shards")]
    TooManyRestarts,
}
