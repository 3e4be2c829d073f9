//! How the rest of Hierophant talks to the `artifacts` actor.

use alloy_primitives::Address;
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use ractor::ActorRef;

use super::blobs::StagedBlob;
use super::message::{ArtifactsMsg, UploadError};
use crate::ask::{Unanswered, ask};
use crate::records::ArtifactKind;

/// Handle to the owner of artifacts.
#[derive(Debug, Clone)]
pub struct ArtifactsHandle(ActorRef<ArtifactsMsg>);

impl ArtifactsHandle {
    pub(super) const fn new(actor: ActorRef<ArtifactsMsg>) -> Self {
        Self(actor)
    }

    /// Opens an upload ticket; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn open_ticket(
        &self,
        kind: ArtifactKind,
        owner: Address,
    ) -> Result<ArtifactId, Unanswered> {
        ask(&self.0, |reply| ArtifactsMsg::OpenTicket(kind, owner, reply)).await
    }

    /// Keeps the bytes that were uploaded to a ticket; they are durable when this returns.
    ///
    /// # Errors
    ///
    /// [`UploadError`].
    pub async fn keep_upload(
        &self,
        ticket: ArtifactId,
        bytes: StagedBlob,
    ) -> Result<BlobInfo, UploadError> {
        ask(&self.0, |reply| ArtifactsMsg::KeepUpload(ticket, bytes, reply))
            .await
            .unwrap_or(Err(UploadError::Unavailable))
    }

    /// Keeps the bytes of a proof under a new id; they are durable when this returns.
    ///
    /// # Errors
    ///
    /// [`UploadError::Unavailable`].
    pub async fn keep_proof(&self, bytes: StagedBlob) -> Result<ArtifactId, UploadError> {
        ask(&self.0, |reply| ArtifactsMsg::KeepProof(bytes, reply))
            .await
            .unwrap_or(Err(UploadError::Unavailable))
    }
}
