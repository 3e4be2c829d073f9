//! What belongs to the one proof that is being made, and what becomes of its tasks.

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

/// Where SP1 finds what goes in and leaves what comes out.
pub(crate) struct Files {
    pub(crate) elf: Artifact,
    pub(crate) stdin: Artifact,
    pub(crate) output: Artifact,
}

/// Why a task failed.
pub(crate) struct Trouble {
    pub(crate) retryable: bool,
    pub(crate) reason: String,
}

impl From<TaskError> for Trouble {
    fn from(error: TaskError) -> Self {
        Self { retryable: matches!(error, TaskError::Retryable(_)), reason: error.to_string() }
    }
}

impl Trouble {
    pub(crate) fn fatal(reason: impl ToString) -> Self {
        Self { retryable: false, reason: reason.to_string() }
    }
}

impl Attempt {
    pub(crate) fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn note_error(&self, reason: String) {
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    /// The first task's error, which says more than what the controller makes of it.
    pub(crate) fn error_or(&self, reason: String) -> String {
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.take().unwrap_or(reason)
    }
}

/// What became of a task in SP1's engine; a panic is an outcome like any other.
pub(crate) fn joined<T, E: std::fmt::Debug>(
    outcome: Result<Result<T, TaskError>, E>,
) -> Result<(), Trouble> {
    match outcome {
        Ok(outcome) => outcome.map(drop).map_err(Trouble::from),
        Err(error) => Err(Trouble::fatal(format!("the task died: {error:?}"))),
    }
}

/// Runs a task that SP1 runs inline where a panic is caught.
pub(crate) async fn isolated(
    work: impl Future<Output = Result<(), TaskError>> + Send + 'static,
) -> Result<(), Trouble> {
    match caught(work).await {
        Ok(outcome) => outcome.map_err(Trouble::from),
        Err(reason) => Err(Trouble::fatal(reason)),
    }
}
