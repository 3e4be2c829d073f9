//! What is read of stored records and running parts, for lists, metrics and starts.

use alloy_primitives::Address;
use network_lib::ids::VkHash;
use network_lib::ids::{JobId, RequestId};
use network_lib::job::{ExecutionFailureCause, ProofMode};

use super::{AttemptRecord, JobRecord, Millis, RequestRecord, RequestState};

/// An accepted request and the job that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The request.
    pub request: RequestId,
    /// Its job.
    pub job: JobId,
}

/// A request with the job that it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// What the client asked for.
    pub request: RequestRecord,
    /// The work behind it.
    pub job: JobRecord,
}

/// A job that is not terminal, with all that a start needs to go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedJob {
    /// The job.
    pub job: JobRecord,
    /// Its open requests, the oldest first.
    pub requests: Vec<RequestRecord>,
    /// All its attempts, those included that have ended.
    pub attempts: Vec<AttemptRecord>,
}

/// Which requests to list; all conditions must hold. Every field mirrors one of
/// `GetFilteredProofRequests`.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// `sp1-` and circuit version.
    pub version: Option<String>,
    /// Any of these states; empty = none matches.
    pub states: Option<Vec<RequestState>>,
    /// Execution status as clients see it.
    pub execution: Option<ExecutionFilter>,
    /// Deadline at or after, unix seconds.
    pub minimum_deadline: Option<u64>,
    /// Program.
    pub vk_hash: Option<VkHash>,
    /// Who asked.
    pub requester: Option<Address>,
    /// Accepted at or after.
    pub from: Option<Millis>,
    /// Accepted at or before.
    pub to: Option<Millis>,
    /// Kind of proof.
    pub mode: Option<ProofMode>,
    /// Why the execution failed.
    pub execution_failure_cause: Option<ExecutionFailureCause>,
    /// At most so many.
    pub limit: u32,
    /// After leaving out so many.
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

/// The disk is too full for new work; later there may be room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StorageLow {
    /// The disk is nearly full.
    #[error(
        "the disk has {free} bytes left, of which `min_free_bytes` = {min_free} are held back; try \
         again later"
    )]
    Disk {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        min_free: u64,
    },
    /// Uploads and proofs take as much as they may.
    #[error("uploads and proofs take {stored} of `max_bytes` = {most} bytes; try again later")]
    Quota {
        /// Bytes that they take.
        stored: u64,
        /// Bytes that they may take.
        most: u64,
    },
}

/// What the budget knows, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Free bytes on the disk, `None` if they cannot be found out.
    pub free: Option<u64>,
    /// Bytes of uploads and proofs.
    pub stored: u64,
    /// Why new work is turned away, if it is.
    pub low: Option<StorageLow>,
}

/// Why a receiver takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Millis,
    /// What the last try met.
    pub reason: String,
}

/// How a receiver stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverState {
    /// Host and port of its URL; the rest may hold secrets.
    pub receiver: String,
    /// Notices that it has yet to take.
    pub undelivered: u64,
    /// Notices that were not kept because too many were already kept, since the start.
    pub dropped: u64,
    /// Why it takes nothing, if so.
    pub trouble: Option<Trouble>,
}
