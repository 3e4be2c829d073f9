//! Views of stored records and running components, for lists, metrics and starts.

use alloy_primitives::Address;
use network_lib::ids::VkHash;
use network_lib::ids::{JobId, RequestId};
use network_lib::job::{ExecutionFailureCause, ProofMode};
use network_lib::named_enum;

use crate::clients::ClientRecords;

use super::{AttemptRecord, JobRecord, Millis, RequestRecord, RequestState};

/// Accepted request and the job that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The request.
    pub request: RequestId,
    /// Its job.
    pub job: JobId,
}

/// Request with its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// Request.
    pub request: RequestRecord,
    /// Job.
    pub job: JobRecord,
}

impl RequestView {
    /// The request in the state that its client learns. A job whose proof is lost is queued again with its requests;
    /// with very many, one whose turn to be saved has not come is open nevertheless.
    #[must_use]
    pub fn as_reopened(mut self, now: Millis) -> Self {
        let Self { request, job } = &mut self;
        let is_queued_again =
            !job.state.is_terminal() && job.finished_at.is_none() && job.proof.is_none();
        let is_needed = Millis::from_seconds(request.deadline) > now;
        if request.state == RequestState::Fulfilled && is_queued_again && is_needed {
            request.reopen(now);
        }
        self
    }
}

/// Job that has not ended, with everything that a start needs to continue it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedJob {
    /// Job.
    pub job: JobRecord,
    /// Open requests, and fulfilled ones if the job has no proof: it was being queued again when Hierophant ended. The
    /// oldest first.
    pub requests: Vec<RequestRecord>,
    /// All attempts, including ended ones.
    pub attempts: Vec<AttemptRecord>,
}

/// Filter of requests; all conditions must hold. Each field mirrors one of `GetFilteredProofRequests`.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// `sp1-` and circuit version.
    pub version: Option<String>,
    /// States; an empty list matches nothing.
    pub states: Option<Vec<RequestState>>,
    /// Execution status as clients see it.
    pub execution: Option<ExecutionFilter>,
    /// Earliest deadline, Unix seconds.
    pub minimum_deadline: Option<u64>,
    /// Program.
    pub vk_hash: Option<VkHash>,
    /// Requester.
    pub requester: Option<Address>,
    /// Client to which they belong.
    pub client: Option<ClientRecords>,
    /// Earliest time of acceptance.
    pub from: Option<Millis>,
    /// Latest time of acceptance.
    pub to: Option<Millis>,
    /// Kind of proof.
    pub mode: Option<ProofMode>,
    /// Cause of a failed execution.
    pub execution_failure_cause: Option<ExecutionFailureCause>,
    /// Last request of the previous page.
    pub before: Option<(Millis, RequestId)>,
    /// Number of the latest requests, by `requester`, `client`, `from` and `to`, among which the other conditions are looked
    /// for; none = all.
    pub examined: Option<u32>,
    /// Maximum number of results.
    pub limit: u32,
    /// Number of results to skip.
    pub offset: u64,
}

/// Execution status as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionFilter {
    /// Not executed yet.
    Unexecuted,
    /// Executed with success.
    Executed,
    /// Executed and failed.
    Unexecutable,
}

/// Reason why there is too little storage for new work. A retry may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StorageLow {
    /// The disk is nearly full.
    #[error(
        "disk nearly full: {free} bytes free, `min_free_bytes` = {min_free} reserved; try again \
         later"
    )]
    Disk {
        /// Free bytes.
        free: u64,
        /// Bytes that must stay free.
        min_free: u64,
    },
    /// Uploads and proofs have reached their limit.
    #[error(
        "storage full: uploads and proofs take {stored} of `max_bytes` = {max} bytes; try \
             again later"
    )]
    Quota {
        /// Stored bytes.
        stored: u64,
        /// Maximum stored bytes.
        max: u64,
    },
}

/// Storage in use, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Free bytes on the disk; `None` if unknown.
    pub free: Option<u64>,
    /// Bytes of uploads and proofs.
    pub stored: u64,
    /// Reason why new work is rejected, if it is.
    pub low: Option<StorageLow>,
}

/// Delivery failure of a webhook receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Start of the failure.
    pub since: Millis,
    /// Error of the latest delivery attempt.
    pub reason: String,
}

/// State of a webhook receiver, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverState {
    /// Host and port of its URL; the rest may contain secrets.
    pub receiver: String,
    /// Number of undelivered notices.
    pub undelivered: u64,
    /// Number of notices dropped since the start because too many were queued.
    pub dropped: u64,
    /// Current delivery failure, if any.
    pub trouble: Option<Trouble>,
}

named_enum! {
    /// State of a worker that is connected or may reconnect.
    WorkerState {
        /// Connected and accepting jobs.
        Ready = "ready",
        /// Connected, but accepting no more jobs.
        Draining = "draining",
        /// Disconnected; it may reconnect.
        Away = "away",
    }
}
