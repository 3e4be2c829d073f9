//! Handle to the `artifacts` actor.

use std::time::Duration;

use hierophant_model::clients::{Client, OverQuota, Owner, Signer};
use hierophant_model::records::{ArtifactKind, Change};
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use ractor::ActorRef;

use super::blobs::StagedBlob;
use super::message::{ArtifactsMsg, UploadError};
use crate::ask::{Unanswered, ask, ask_for, tell};

/// Timeout of storing bytes, which may go to a distant bucket. The sender waits that long.
const KEEP_LIMIT: Duration = Duration::from_secs(600);

/// Handle to the `artifacts` actor.
#[derive(Debug, Clone)]
pub struct ArtifactsHandle(ActorRef<ArtifactsMsg>);

impl ArtifactsHandle {
    pub(super) const fn new(actor: ActorRef<ArtifactsMsg>) -> Self {
        Self(actor)
    }

    /// Opens an upload ticket; it is durable when this returns. The inner error is the exhausted quota.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] if the actor or its store does not answer.
    pub async fn open_ticket(
        &self,
        kind: ArtifactKind,
        owner: Signer,
    ) -> Result<Result<ArtifactId, OverQuota>, Unanswered> {
        ask(&self.0, |reply| ArtifactsMsg::OpenTicket(kind, owner, reply)).await
    }

    /// Checks that a client's quota allows `bytes` more. The inner error is the quota.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] if the actor or its store does not answer.
    pub async fn may_keep(
        &self,
        owner: Client,
        bytes: u64,
    ) -> Result<Result<(), OverQuota>, Unanswered> {
        ask(&self.0, |reply| ArtifactsMsg::MayKeep(owner, bytes, reply)).await
    }

    /// Keeps the bytes uploaded to a ticket; they are durable when this returns.
    ///
    /// # Errors
    ///
    /// [`UploadError`].
    pub async fn keep_upload(
        &self,
        ticket: ArtifactId,
        bytes: StagedBlob,
    ) -> Result<BlobInfo, UploadError> {
        ask_for(KEEP_LIMIT, &self.0, |reply| ArtifactsMsg::KeepUpload(ticket, bytes, reply))
            .await
            .unwrap_or(Err(UploadError::Unavailable))
    }

    /// Keeps the bytes of a proof under a new id; they are durable when this returns.
    ///
    /// # Errors
    ///
    /// [`UploadError::Unavailable`].
    pub async fn keep_proof(&self, bytes: StagedBlob) -> Result<ArtifactId, UploadError> {
        ask_for(KEEP_LIMIT, &self.0, |reply| ArtifactsMsg::KeepProof(bytes, reply))
            .await
            .unwrap_or(Err(UploadError::Unavailable))
    }

    /// Reports the complete delivery of a proof.
    pub fn delivered(&self, proof: ArtifactId) {
        tell(&self.0, ArtifactsMsg::Delivered(proof));
    }

    /// Removes the bytes of a proof that no attempt refers to.
    pub fn discard_proof(&self, proof: ArtifactId) {
        tell(&self.0, ArtifactsMsg::DiscardProof(proof));
    }

    /// Commits changes of a sweep, which removed the given bytes of each owner. Returns whether they are stored.
    pub(super) async fn record(&self, changes: Vec<Change>, gone: Vec<(Owner, u64)>) -> bool {
        ask(&self.0, |reply| ArtifactsMsg::Record(changes, gone, reply)).await.unwrap_or(false)
    }
}
