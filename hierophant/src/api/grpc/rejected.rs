//! Status codes of rejected calls. They alone decide whether a client retries.
//!
//! Codes follow the client's retry rules (contract, section 5.2): `Unavailable` where a retry can succeed, a
//! final code where it cannot.

use std::io;

use hierophant_model::clients::OverQuota;
use hierophant_model::text::error_chain;
use hierophant_scheduler::proofs::{CancelError, SubmitError};
use hierophant_store::StoreError;
use tonic::{Code, Status};

use crate::admission::Rejected;

impl From<Rejected> for Status {
    fn from(rejected: Rejected) -> Self {
        let code = match &rejected {
            Rejected::TooLong { .. }
            | Rejected::Version(_)
            | Rejected::DeadlinePassed(_)
            | Rejected::DeadlineTooFar { .. }
            | Rejected::ForeignUri(_)
            | Rejected::WrongKind { .. }
            | Rejected::VerifyingKey(_)
            | Rejected::WrongKey(_)
            | Rejected::NotProgram(_) => Code::InvalidArgument,
            Rejected::NeverIssued(_)
            | Rejected::Expired(_)
            | Rejected::NotUploaded(_)
            | Rejected::UnknownProgram(_)
            | Rejected::Unverifiable(_) => Code::FailedPrecondition,
            Rejected::OverQuota(over) => return over_quota(*over),
            Rejected::StorageLow(_) => Code::Unavailable,
            Rejected::Store(error) => {
                tracing::error!(error = %error_chain(error), "the store did not answer");
                Code::Unavailable
            }
            Rejected::Blobs(error) => {
                tracing::error!(error = %error_chain(error), "artifact data could not be read");
                Code::Unavailable
            }
        };
        let text = match &rejected {
            Rejected::Unverifiable(error) => error_chain(error),
            Rejected::WrongKey(_) => error_chain(&rejected),
            _ => rejected.to_string(),
        };
        Self::new(code, text)
    }
}

/// Status for a failed store access.
pub(super) fn store_unavailable(error: StoreError) -> Status {
    Rejected::Store(error).into()
}

/// Status for a failed access to artifact data.
pub(super) fn blobs_unavailable(error: io::Error) -> Status {
    Rejected::Blobs(error).into()
}

/// Status for an exhausted quota: retryable if it may be free within minutes, otherwise final.
pub(super) fn over_quota(over: OverQuota) -> Status {
    let text = over.to_string();
    if over.passes_soon() { Status::unavailable(text) } else { Status::failed_precondition(text) }
}

/// Status for a request that the scheduler did not accept.
pub(super) fn not_submitted(error: SubmitError) -> Status {
    match error {
        SubmitError::OverQuota(over) => over_quota(over),
        SubmitError::Busy { .. } | SubmitError::Unavailable => {
            Status::unavailable(error.to_string())
        }
    }
}

/// Status for a request that was not cancelled.
pub(super) fn not_cancelled(error: CancelError) -> Status {
    let text = error.to_string();
    match error {
        CancelError::NotFound => Status::not_found(text),
        CancelError::AlreadyEnded(_) => Status::failed_precondition(text),
        CancelError::Unavailable => Status::unavailable(text),
    }
}
