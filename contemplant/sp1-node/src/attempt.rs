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

/// Reads the stretch of SP1's clock from the front of a shard's record, without the megabytes behind
/// it: variant and length of `TraceData::Core`, then of `TraceChunk` the registers, the program
/// counter and the clock's start and end.
pub(crate) fn clock_ticks(record: &[u8]) -> Option<u64> {
    const START: usize = 4 + 8 + 32 * 8 + 8;
    if record.get(..4)? != [0; 4] {
        return None;
    }
    let word = |at: usize| {
        let bytes = record.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    word(START + 8)?.checked_sub(word(START)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sp1_prover::worker::TraceData;

    use super::*;

    #[test]
    fn the_clock_is_found_where_this_version_of_sp1_writes_it() {
        let chunk = sp1_jit::TraceChunk {
            pc_start: 5,
            clk_start: 1_000,
            clk_end: 9_000,
            ..Default::default()
        };
        let chunk = bincode::serialize(&chunk).unwrap();
        let record = bincode::serialize(&TraceData::Core(chunk)).unwrap();
        assert_eq!(clock_ticks(&record), Some(8_000));
        assert_eq!(clock_ticks(&[]), None);
        assert_eq!(clock_ticks(&[0; 100]), None);
    }
}
