//! Attempts at jobs.

use network_lib::ids::{ArtifactId, JobId, LeaseId, TaskId};
use network_lib::job::{BlobInfo, Execution, FailureClass, OutOfMemory};
use network_lib::named_enum;
use network_lib::shard::TaskKind;

use super::{Millis, Prover};

named_enum! {
    /// Outcome of an attempt.
    AttemptOutcome {
        /// It is leased ahead: its worker prepares it while its slots are taken.
        Ahead = "ahead",
        /// It was leased ahead and taken back before it had begun.
        GivenBack = "given_back",
        /// It is running.
        Running = "running",
        /// Its proof was accepted.
        Completed = "completed",
        /// It failed, as class and message describe.
        Failed = "failed",
        /// Its proof is valid, but has other public values than its requests state.
        Disputed = "disputed",
        /// Its worker was disconnected.
        Lost = "lost",
        /// It was stopped because its result is not needed.
        Cancelled = "cancelled",
    }
}

/// Task of an attempt. Its kind is stored with the attempt, because the task itself is deleted sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptTask {
    /// Id.
    pub id: TaskId,
    /// Kind.
    pub kind: TaskKind,
}

/// Attempt: a job, or one of its tasks, leased to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Id, which gives its worker access to the job's data.
    pub lease: LeaseId,
    /// Job.
    pub job: JobId,
    /// Task of the job, for an attempt that is not at the whole job.
    pub task: Option<AttemptTask>,
    /// Worker.
    pub prover: Prover,
    /// Start of the lease; for one that was leased ahead, the time when it took a slot.
    pub started_at: Millis,
    /// Time of the worker's first report about it.
    pub first_progress_at: Option<Millis>,
    /// End.
    pub ended_at: Option<Millis>,
    /// Outcome.
    pub outcome: AttemptOutcome,
    /// Failure class, for a failed attempt.
    pub failure_class: Option<FailureClass>,
    /// Exhausted memory and its size, for an attempt that ran out of memory.
    pub out_of_memory: Option<OutOfMemory>,
    /// Failure message, for a failed or lost attempt.
    pub message: Option<String>,
    /// Reported execution, which the proof must match.
    pub execution: Option<Execution>,
    /// Uploaded proof, before its verification.
    pub proof: Option<(ArtifactId, BlobInfo)>,
}

impl AttemptRecord {
    /// An attempt that starts at `started_at`.
    #[must_use]
    pub const fn starting(lease: LeaseId, job: JobId, prover: Prover, started_at: Millis) -> Self {
        Self {
            lease,
            job,
            task: None,
            prover,
            started_at,
            first_progress_at: None,
            ended_at: None,
            outcome: AttemptOutcome::Running,
            failure_class: None,
            out_of_memory: None,
            message: None,
            execution: None,
            proof: None,
        }
    }
}
