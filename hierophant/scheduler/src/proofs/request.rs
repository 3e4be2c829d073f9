//! Submitted requests, and errors of submission and cancellation.

use alloy_primitives::Address;
use hierophant_model::clients::{ClientName, OverQuota};
use hierophant_model::records::{NetworkMode, RequestState};
use network_lib::ids::{ArtifactId, RequestId, Sha256Digest, TokenId};
use network_lib::job::{BlobInfo, JobSpec};

/// Request that has passed admission.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// Id, drawn by admission.
    pub id: RequestId,
    /// Signer of the request.
    pub requester: Address,
    /// Client to which the presented token is bound.
    pub client: Option<ClientName>,
    /// Token that was presented with the request.
    pub token: Option<TokenId>,
    /// Digest of the public values that the client expects, if it has stated one.
    pub stated_digest: Option<Sha256Digest>,
    /// Specification of the proof.
    pub spec: JobSpec,
    /// Program.
    pub program: ArtifactId,
    /// Size and digest of the program.
    pub program_blob: BlobInfo,
    /// Whether a proof of the program was accepted before.
    pub program_confirmed: bool,
    /// Input.
    pub stdin: ArtifactId,
    /// Size and digest of the input.
    pub stdin_blob: BlobInfo,
    /// Network mode of the client.
    pub network_mode: NetworkMode,
    /// As sent; without effect.
    pub strategy: i32,
    /// `sp1-` and the circuit version, as sent.
    pub version: String,
    /// As sent.
    pub stdin_uri: String,
    /// Whether the input is private.
    pub stdin_private: bool,
    /// Deadline, Unix seconds.
    pub deadline: u64,
    /// As sent; without effect.
    pub min_auction_period: u64,
    /// As sent; without effect.
    pub whitelist: Vec<Address>,
}

/// Reason why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full. A retry may succeed.
    #[error("the queue is full ({waiting} jobs wait); try again later")]
    Busy {
        /// Number of waiting jobs.
        waiting: usize,
    },
    /// A quota of the requester is exhausted.
    #[error(transparent)]
    OverQuota(OverQuota),
    /// The store or the actor does not answer. A retry may succeed.
    #[error("the request could not be stored; try again later")]
    Unavailable,
}

/// Reason why a request was not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// The request does not exist, or belongs to another client.
    #[error("no such request of this client")]
    NotFound,
    /// The request has ended in another state.
    #[error("the request is already {0}")]
    AlreadyEnded(RequestState),
    /// The store or the actor does not answer. A retry may succeed.
    #[error("the cancellation could not be stored; try again later")]
    Unavailable,
}
