//! State of the current proof, and the outcomes of its tasks.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sp1_prover::SP1VerifyingKey;
use sp1_prover::worker::{ProofId, TaskError};
use sp1_prover_types::Artifact;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::caught;
use crate::tally::Tally;

/// The proof that is being made.
pub(crate) struct Attempt {
    pub(crate) proof_id: ProofId,
    pub(crate) files: Files,
    pub(crate) key: SP1VerifyingKey,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) start: Instant,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) first_error: Mutex<Option<String>>,
}

/// Names of the proof's input and output in SP1's memory.
pub(crate) struct Files {
    pub(crate) elf: Artifact,
    pub(crate) stdin: Artifact,
    pub(crate) output: Artifact,
}

/// Why a task failed.
pub(crate) struct TaskFailure {
    pub(crate) retryable: bool,
    pub(crate) reason: String,
}

impl From<TaskError> for TaskFailure {
    fn from(error: TaskError) -> Self {
        Self { retryable: matches!(error, TaskError::Retryable(_)), reason: error.to_string() }
    }
}

impl TaskFailure {
    pub(crate) fn fatal(reason: impl ToString) -> Self {
        Self { retryable: false, reason: reason.to_string() }
    }
}

impl Attempt {
    pub(crate) fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn record_error(&self, reason: String) {
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    /// The error of the task that failed first, which is more precise than the controller's `reason`.
    pub(crate) fn error_or(&self, reason: String) -> String {
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.take().unwrap_or(reason)
    }
}

/// The outcome of a task in SP1's engine; a panic is a failure.
pub(crate) fn joined<T, E: std::fmt::Debug>(
    outcome: Result<Result<T, TaskError>, E>,
) -> Result<(), TaskFailure> {
    match outcome {
        Ok(outcome) => outcome.map(drop).map_err(TaskFailure::from),
        Err(error) => Err(TaskFailure::fatal(format!("the task panicked: {error:?}"))),
    }
}

/// Runs, where a panic is caught, a task that SP1 would run inline.
pub(crate) async fn isolated(
    work: impl Future<Output = Result<(), TaskError>> + Send + 'static,
) -> Result<(), TaskFailure> {
    match caught(work).await {
        Ok(outcome) => outcome.map_err(TaskFailure::from),
        Err(reason) => Err(TaskFailure::fatal(reason)),
    }
}
