//! Reasons for an attempt at a task to end without a result.

use network_lib::ids::Sha256Digest;
use network_lib::job::{Failure, FailureClass};

use crate::runner::Stop;
use crate::runner::transfer::TransferError;

/// Why an attempt at a task ended without a result.
#[derive(Debug)]
pub(super) enum TaskStop {
    /// Its result is no longer needed, or the program ends, or another part of the attempt has failed.
    Abandoned,
    /// It has failed; `lost` are inputs that no source has, `suspect` those that are false.
    Failed { failure: Failure, lost: Vec<Sha256Digest>, suspect: Vec<Sha256Digest> },
}

impl TaskStop {
    /// An input that no source has.
    pub(super) fn lost(what: &str, blob: Sha256Digest) -> Self {
        let message = format!("no source has the {what} {}", blob.hint());
        let failure = Failure::new(FailureClass::Infrastructure, message);
        Self::Failed { failure, lost: vec![blob], suspect: Vec::new() }
    }
}

impl From<Failure> for TaskStop {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, lost: Vec::new(), suspect: Vec::new() }
    }
}

impl From<Stop> for TaskStop {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Abandoned => Self::Abandoned,
            Stop::Failed(failure) => failure.into(),
        }
    }
}

impl From<TransferError> for TaskStop {
    fn from(error: TransferError) -> Self {
        Stop::from(error).into()
    }
}
