//! Requests on their way in, and why they are turned away.

use alloy_primitives::Address;
use hierophant_model::clients::OverQuota;
use hierophant_model::records::{NetworkMode, RequestState};
use network_lib::ids::{ArtifactId, RequestId};
use network_lib::job::{BlobInfo, JobSpec};

/// A request that has passed all checks of the API.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// Its id, drawn by the API.
    pub id: RequestId,
    /// Who asks.
    pub requester: Address,
    /// What to prove.
    pub spec: JobSpec,
    /// The program's bytes.
    pub program: ArtifactId,
    /// Size and digest of the program's bytes.
    pub program_blob: BlobInfo,
    /// The input's bytes.
    pub stdin: ArtifactId,
    /// Size and digest of the input's bytes.
    pub stdin_blob: BlobInfo,
    /// The client's network mode.
    pub network_mode: NetworkMode,
    /// As sent; without effect.
    pub strategy: i32,
    /// As sent: `sp1-` and circuit version.
    pub version: String,
    /// As sent.
    pub stdin_uri: String,
    /// Whether the input is private.
    pub stdin_private: bool,
    /// Unix seconds.
    pub deadline: u64,
    /// As sent; without effect.
    pub min_auction_period: u64,
    /// As sent; without effect.
    pub whitelist: Vec<Address>,
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many jobs wait as this Hierophant holds; later there may be room.
    #[error("the queue is full ({waiting} jobs wait); try again later")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The requester may take no more.
    #[error(transparent)]
    OverQuota(OverQuota),
    /// The store or the actor does not answer; later it may.
    #[error("the request could not be stored; try again later")]
    Unavailable,
}

/// Why a request was not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// No such request.
    #[error("no such request")]
    NotFound,
    /// Somebody else made it.
    #[error("only its requester may cancel a request")]
    NotYours,
    /// It has ended otherwise.
    #[error("the request is already {0}")]
    AlreadyEnded(RequestState),
    /// The store or the actor does not answer; later it may.
    #[error("the cancellation could not be stored; try again later")]
    Unavailable,
}
