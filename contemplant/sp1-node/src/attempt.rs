//! State of the current proof, and the outcomes of its tasks.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sp1_primitives::{SP1ExtensionField, SP1Field};
use sp1_prover::worker::{TaskError, TaskMetadata};
use sp1_recursion_executor::RuntimeError;

use crate::runtime::caught;
use crate::tally::{Estimate, Step, Tally};

/// The proof that is being made.
pub(crate) struct Attempt {
    start: Instant,
    tally: Mutex<Tally>,
}

/// Why a task failed.
#[derive(Debug)]
pub(crate) struct TaskFailure {
    pub(crate) retryable: bool,
    /// Whether a recursion program has rejected its inputs. It does so on every machine.
    pub(crate) is_rejection: bool,
    pub(crate) reason: String,
}

impl std::fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<TaskError> for TaskFailure {
    fn from(error: TaskError) -> Self {
        if let TaskError::Fatal(cause) = &error
            && cause.is::<RuntimeError<SP1Field, SP1ExtensionField>>()
        {
            // SP1's message is a dump of the program.
            let reason = "a recursion program has rejected its inputs".to_owned();
            return Self { retryable: false, is_rejection: true, reason };
        }
        let retryable = matches!(error, TaskError::Retryable(_));
        Self { retryable, is_rejection: false, reason: error.to_string() }
    }
}

impl TaskFailure {
    pub(crate) fn fatal(reason: impl ToString) -> Self {
        Self { retryable: false, is_rejection: false, reason: reason.to_string() }
    }
}

impl Attempt {
    /// A proof that begins now.
    pub(crate) fn new(tally: Tally) -> Self {
        Self { start: Instant::now(), tally: Mutex::new(tally) }
    }

    pub(crate) fn count<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A task has succeeded, with the proof of an earlier attempt if `was_kept`.
    pub(crate) fn ended(&self, step: Step, was_kept: bool) {
        self.count(|tally| match was_kept {
            true => tally.found(step),
            false => tally.done(step, self.start.elapsed()),
        });
    }

    pub(crate) fn estimate(&self) -> Estimate {
        self.count(|tally| tally.estimate(self.start.elapsed()))
    }
}

/// The outcome of a task in SP1's engine; a panic is a failure.
pub(crate) fn joined<E: std::fmt::Debug>(
    outcome: Result<Result<TaskMetadata, TaskError>, E>,
) -> Result<TaskMetadata, TaskFailure> {
    match outcome {
        Ok(outcome) => outcome.map_err(TaskFailure::from),
        Err(error) => Err(TaskFailure::fatal(format!("the task panicked: {error:?}"))),
    }
}

/// Runs, where a panic is caught, a task that SP1 would run inline.
pub(crate) async fn isolated(
    work: impl Future<Output = Result<TaskMetadata, TaskError>> + Send + 'static,
) -> Result<TaskMetadata, TaskFailure> {
    match caught(work).await {
        Ok(outcome) => outcome.map_err(TaskFailure::from),
        Err(reason) => Err(TaskFailure::fatal(reason)),
    }
}
