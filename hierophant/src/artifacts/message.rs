//! Messages of the `artifacts` actor.

use hierophant_model::clients::{Client, OverQuota, Owner, Signer};
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change};
use hierophant_store::StoreError;
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use ractor::RpcReplyPort;

use super::blobs::StagedBlob;

/// Why an upload was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Unknown or expired ticket.
    #[error("unknown or expired upload ticket; create one with CreateArtifact")]
    NoTicket,
    /// The ticket already holds other bytes.
    #[error("this ticket already holds other bytes; create a new one with CreateArtifact")]
    Conflict,
    /// The owner's quota is exceeded.
    #[error(transparent)]
    OverQuota(OverQuota),
    /// Another upload to the same ticket is in progress, or disk, bucket or store is unavailable; a retry may
    /// succeed.
    #[error("the upload could not be stored; try again later")]
    Unavailable,
}

/// Reply of a keep operation.
#[derive(Debug)]
pub enum KeepReply {
    /// To the sender of an upload.
    Upload(RpcReplyPort<Result<BlobInfo, UploadError>>),
    /// To the sender of a proof.
    Proof(RpcReplyPort<Result<ArtifactId, UploadError>>),
}

/// Messages of the `artifacts` actor.
#[derive(Debug)]
pub enum ArtifactsMsg {
    /// Open a ticket for an owner.
    OpenTicket(ArtifactKind, Signer, RpcReplyPort<Result<ArtifactId, OverQuota>>),
    /// Check that a client's quota allows more bytes.
    MayKeep(Client, u64, RpcReplyPort<Result<(), OverQuota>>),
    /// Keep the bytes uploaded to a ticket.
    KeepUpload(ArtifactId, StagedBlob, RpcReplyPort<Result<BlobInfo, UploadError>>),
    /// A ticket could not be recorded and does not count.
    NotOpened(ArtifactId),
    /// An artifact was adopted and recorded, or that failed.
    Adopted(Box<ArtifactRecord>, Result<(), UploadError>, KeepReply),
    /// No later commit can succeed.
    StoreLost(StoreError),
    /// A proof was delivered completely.
    Delivered(ArtifactId),
    /// Commit changes of a sweep, which removed the given bytes of each owner. Answers whether they are stored.
    Record(Vec<Change>, Vec<(Owner, u64)>, RpcReplyPort<bool>),
    /// Remove the bytes of a proof that no attempt refers to.
    DiscardProof(ArtifactId),
    /// Start a sweep.
    Sweep,
    /// Keep a proof under a new id.
    KeepProof(StagedBlob, RpcReplyPort<Result<ArtifactId, UploadError>>),
}
