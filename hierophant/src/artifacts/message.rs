//! What the `artifacts` actor is asked.

use alloy_primitives::Address;
use hierophant_model::clients::OverQuota;
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change};
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use ractor::RpcReplyPort;

use super::blobs::StagedBlob;
use hierophant_store::StoreError;

/// Why an upload was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Nobody opened this ticket, or too long ago.
    #[error("no upload ticket has this id (any more); ask for one with CreateArtifact")]
    NoTicket,
    /// Other bytes came first.
    #[error("this ticket already holds other bytes; ask for a new one with CreateArtifact")]
    Conflict,
    /// Its owner may not have so much kept.
    #[error(transparent)]
    OverQuota(OverQuota),
    /// The same ticket's bytes are being put in their place, or disk, bucket or store do not work now;
    /// later they may.
    #[error("the upload could not be stored; try again later")]
    Unavailable,
}

/// Who waits for bytes to be kept.
#[derive(Debug)]
pub enum Waiting {
    /// The sender of an upload.
    Upload(RpcReplyPort<Result<BlobInfo, UploadError>>),
    /// The sender of a proof.
    Proof(RpcReplyPort<Result<ArtifactId, UploadError>>),
}

/// Messages of the `artifacts` actor.
#[derive(Debug)]
pub enum ArtifactsMsg {
    /// Open a ticket for an owner.
    OpenTicket(ArtifactKind, Address, RpcReplyPort<Result<ArtifactId, OverQuota>>),
    /// Whether so many bytes more may be kept for an owner.
    MayKeep(Address, u64, RpcReplyPort<Result<(), OverQuota>>),
    /// Keep the bytes uploaded to a ticket.
    KeepUpload(ArtifactId, StagedBlob, RpcReplyPort<Result<BlobInfo, UploadError>>),
    /// A ticket was not recorded, so it does not count.
    NotOpened(ArtifactId),
    /// The bytes of an artifact are in their place and that is recorded, or something of it failed.
    Adopted(Box<ArtifactRecord>, Result<(), UploadError>, Waiting),
    /// Another Hierophant writes to the database by now.
    Superseded(StoreError),
    /// API: a proof was served whole.
    Delivered(ArtifactId),
    /// Sweep: write what retention has decided, by which so many bytes of these owners are gone. Answers
    /// whether it is stored.
    Record(Vec<Change>, Vec<(Address, u64)>, RpcReplyPort<bool>),
    /// Time has passed.
    Sweep,
    /// Keep a proof, under a new id.
    KeepProof(StagedBlob, RpcReplyPort<Result<ArtifactId, UploadError>>),
}
