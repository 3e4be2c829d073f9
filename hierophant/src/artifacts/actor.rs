//! Carries decisions about artifacts out: the file into its place, then the record into the store,
//! then the reply.

use std::sync::Arc;

use alloy_primitives::Address;
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};

use super::blobs::{Blobs, StagedBlob};
use super::core::{Decision, decide};
use super::handle::ArtifactsHandle;
use super::message::{ArtifactsMsg, UploadError};
use crate::ask::reply;
use crate::records::{ArtifactKind, ArtifactRecord, Change, Millis};
use crate::store::{JobStore, StoreError};

/// What the actor holds.
#[derive(Debug)]
pub struct ArtifactsState {
    store: Arc<dyn JobStore>,
    blobs: Blobs,
}

/// The actor.
#[derive(Debug)]
pub struct ArtifactsActor;

impl ArtifactsActor {
    /// Starts the actor under `supervisor`.
    ///
    /// # Errors
    ///
    /// When the actor system refuses.
    pub async fn start(
        store: Arc<dyn JobStore>,
        blobs: Blobs,
        supervisor: ActorCell,
    ) -> Result<ArtifactsHandle, SpawnErr> {
        let state = ArtifactsState { store, blobs };
        let (actor, _) = Actor::spawn_linked(None, Self, state, supervisor).await?;
        Ok(ArtifactsHandle::new(actor))
    }
}

#[ractor::async_trait]
impl Actor for ArtifactsActor {
    type Msg = ArtifactsMsg;
    type State = ArtifactsState;
    type Arguments = ArtifactsState;

    async fn pre_start(
        &self,
        _myself: ActorRef<ArtifactsMsg>,
        state: ArtifactsState,
    ) -> Result<ArtifactsState, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<ArtifactsMsg>,
        message: ArtifactsMsg,
        state: &mut ArtifactsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // A ticket that could not be stored is not answered: its asker reports "unavailable".
            ArtifactsMsg::OpenTicket(kind, owner, port) => match state.open(kind, owner).await {
                Ok(id) => reply(port, id),
                Err(error) => log_unavailable(&error),
            },
            ArtifactsMsg::KeepUpload(ticket, bytes, port) => {
                reply(port, state.keep_upload(ticket, bytes).await);
            }
            ArtifactsMsg::KeepProof(bytes, port) => reply(port, state.keep_proof(bytes).await),
        }
        Ok(())
    }
}

impl ArtifactsState {
    async fn open(&self, kind: ArtifactKind, owner: Address) -> Result<ArtifactId, StoreError> {
        let id = ArtifactId::random();
        let record = ArtifactRecord::ticket(id, kind, owner, Millis::now());
        self.store.commit(&[Change::Artifact(record)]).await?;
        Ok(id)
    }

    async fn keep_upload(
        &self,
        ticket: ArtifactId,
        bytes: StagedBlob,
    ) -> Result<BlobInfo, UploadError> {
        let record = self.store.artifact(ticket).await.map_err(unavailable)?;
        let info = bytes.info();
        match (decide(record.as_ref(), &info), record) {
            (Decision::Keep, Some(mut record)) => {
                self.blobs.adopt(bytes, ticket).await.map_err(unavailable)?;
                record.blob = Some(info);
                self.store.commit(&[Change::Artifact(record)]).await.map_err(unavailable)?;
                Ok(info)
            }
            (Decision::AlreadyThere, _) => Ok(info),
            (Decision::Conflict, _) => Err(UploadError::Conflict),
            (Decision::Keep | Decision::NoTicket, _) => Err(UploadError::NoTicket),
        }
    }

    async fn keep_proof(&self, bytes: StagedBlob) -> Result<ArtifactId, UploadError> {
        let id = ArtifactId::random();
        let mut record =
            ArtifactRecord::ticket(id, ArtifactKind::Proof, Address::ZERO, Millis::now());
        record.blob = Some(bytes.info());
        self.blobs.adopt(bytes, id).await.map_err(unavailable)?;
        self.store.commit(&[Change::Artifact(record)]).await.map_err(unavailable)?;
        Ok(id)
    }
}

fn log_unavailable(error: &dyn std::error::Error) {
    tracing::error!(error = %crate::proofs::actor::chain(error), "an artifact could not be stored");
}

fn unavailable(error: impl std::error::Error) -> UploadError {
    log_unavailable(&error);
    UploadError::Unavailable
}
