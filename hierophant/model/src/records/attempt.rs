//! Attempts at jobs.

use network_lib::ids::{ArtifactId, JobId, LeaseId};
use network_lib::job::{BlobInfo, Execution, FailureClass, OutOfMemory};
use network_lib::named_enum;

use super::{Millis, Prover};

named_enum! {
    /// How an attempt ended.
    AttemptOutcome {
        /// Still going on.
        Running = "running",
        /// Its proof was accepted.
        Completed = "completed",
        /// It failed; the class and message say how.
        Failed = "failed",
        /// Its Contemplant went away.
        Lost = "lost",
        /// It was stopped because nobody wants the result.
        Cancelled = "cancelled",
    }
}

/// One job leased to one Contemplant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its id, and the Contemplant's key to the job's bytes.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// Who works on it.
    pub prover: Prover,
    /// When it was leased.
    pub started_at: Millis,
    /// When the Contemplant first said a word about it.
    pub first_progress_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// For a failed one: who is to blame.
    pub failure_class: Option<FailureClass>,
    /// For a failed one: which memory ran out and how much of it there was, if that is why.
    pub out_of_memory: Option<OutOfMemory>,
    /// For a failed or lost one: what happened.
    pub message: Option<String>,
    /// What this attempt's execution found: its proof must fit it.
    pub execution: Option<Execution>,
    /// The proof's bytes, once they were handed in, before they are checked.
    pub proof: Option<(ArtifactId, BlobInfo)>,
}

impl AttemptRecord {
    /// An attempt that starts at `started_at`.
    #[must_use]
    pub const fn starting(lease: LeaseId, job: JobId, prover: Prover, started_at: Millis) -> Self {
        Self {
            lease,
            job,
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
