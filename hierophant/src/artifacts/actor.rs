//! Carries decisions about artifacts out: the bytes into their place, then the record into the store,
//! then the reply. A bucket takes its time, and so does the disk, so bytes are put in their place and recorded
//! beside the actor: many at once, whose records share a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use hierophant_model::clients::{Clients, OverQuota};
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change, Millis};
use hierophant_model::text::error_chain;
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use network_lib::task;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio::task::JoinHandle;

use super::blobs::{Blobs, StagedBlob};
use super::budget::DiskBudget;
use super::core::{Decision, decide};
use super::handle::ArtifactsHandle;
use super::held::Held;
use super::message::{ArtifactsMsg, UploadError, Waiting};
use super::retention::Rules;
use super::sweep::Sweeper;
use crate::ask::{reply, tell};
use crate::metrics::Metrics;
use hierophant_store::{JobStore, StoreError};

/// What the actor holds.
#[derive(Debug)]
pub struct ArtifactsState {
    store: Arc<dyn JobStore>,
    blobs: Blobs,
    rules: Rules,
    budget: DiskBudget,
    /// Whose bytes are being put in their place, and how many, if they count: nobody else's may come in between.
    adopting: BTreeMap<ArtifactId, Option<(Address, u64)>>,
    held: Held,
    metrics: Metrics,
    clients: Clients,
    sweeping: Option<JoinHandle<()>>,
}

/// Writes records beside the actor.
struct Recorder {
    store: Arc<dyn JobStore>,
    actor: ActorRef<ArtifactsMsg>,
}

impl Recorder {
    /// Writes; returns whether it is stored. When another Hierophant owns the database by now, this one must
    /// end.
    async fn record(&self, changes: &[Change]) -> bool {
        let outcome = self.store.commit(changes).await.inspect_err(|error| log_unavailable(error));
        if let Err(StoreError::InUse { location }) = &outcome {
            let taken = StoreError::InUse { location: location.clone() };
            tell(&self.actor, ArtifactsMsg::Superseded(taken));
        }
        outcome.is_ok()
    }
}

/// The actor.
#[derive(Debug)]
pub struct ArtifactsActor;

impl ArtifactsActor {
    /// Starts the actor under `supervisor`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn start(
        store: Arc<dyn JobStore>,
        blobs: Blobs,
        rules: Rules,
        budget: DiskBudget,
        clients: Clients,
        metrics: Metrics,
        supervisor: ActorCell,
    ) -> Result<ArtifactsHandle, SpawnErr> {
        let held = Held::read(clients.clone(), store.as_ref()).await;
        let held = held.map_err(|error| SpawnErr::StartupFailed(error.into()))?;
        let state = ArtifactsState {
            store,
            blobs,
            rules,
            budget,
            adopting: BTreeMap::new(),
            held,
            metrics,
            clients,
            sweeping: None,
        };
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
        myself: ActorRef<ArtifactsMsg>,
        state: ArtifactsState,
    ) -> Result<ArtifactsState, ActorProcessingErr> {
        let sweeper = state.sweeper(&myself);
        task::spawn("clear orphans", async move {
            if let Err(error) = sweeper.clear_orphans(Millis::now()).await {
                tracing::warn!(error = %error_chain(&error), "orphans could not be looked for");
            }
        });
        myself.send_interval(state.rules.sweep_interval(), || ArtifactsMsg::Sweep);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ArtifactsMsg>,
        message: ArtifactsMsg,
        state: &mut ArtifactsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // A ticket that could not be stored is not answered: its asker reports "unavailable".
            ArtifactsMsg::OpenTicket(kind, owner, port) => state.open(&myself, kind, owner, port),
            ArtifactsMsg::NotOpened(id) => state.held.closed(id),
            ArtifactsMsg::MayKeep(owner, bytes, port) => {
                reply(port, state.held.may_keep(owner, bytes));
            }
            ArtifactsMsg::KeepUpload(ticket, bytes, port) => {
                match state.look_at_upload(ticket, bytes.info()).await {
                    Ok(Some(record)) => state.adopt(&myself, record, bytes, Waiting::Upload(port)),
                    Ok(None) => reply(port, Ok(bytes.info())),
                    Err(refusal) => reply(port, Err(refusal)),
                }
            }
            ArtifactsMsg::KeepProof(bytes, port) => {
                let (id, now) = (ArtifactId::random(), Millis::now());
                let mut record =
                    ArtifactRecord::ticket(id, ArtifactKind::Proof, Address::ZERO, now);
                record.blob = Some(bytes.info());
                state.adopt(&myself, record, bytes, Waiting::Proof(port));
            }
            ArtifactsMsg::Adopted(record, kept, waiting) => {
                let kept = state.adopted(&record, kept);
                match waiting {
                    Waiting::Upload(port) => reply(port, kept),
                    Waiting::Proof(port) => reply(port, kept.map(|_| record.id)),
                }
            }
            ArtifactsMsg::Delivered(id) => {
                let recorder = state.recorder(&myself);
                task::spawn("note delivery", async move {
                    // If this is lost, the proof is kept for longer: no harm.
                    recorder.record(&[Change::Delivered(id, Millis::now())]).await;
                });
            }
            ArtifactsMsg::Superseded(error) => return Err(error.into()),
            ArtifactsMsg::Record(changes, gone, port) => {
                let stored = state.recorder(&myself).record(&changes).await;
                if stored {
                    state.recorded(&changes, &gone);
                }
                reply(port, stored);
            }
            ArtifactsMsg::Sweep => state.sweep(&myself),
        }
        Ok(())
    }
}

impl ArtifactsState {
    fn sweeper(&self, myself: &ActorRef<ArtifactsMsg>) -> Sweeper {
        let owner = ArtifactsHandle::new(myself.clone());
        let (store, blobs) = (Arc::clone(&self.store), self.blobs.clone());
        Sweeper { store, blobs, owner, budget: self.budget.clone() }
    }

    /// Starts a sweep beside the actor, unless the last one is still going on.
    fn sweep(&mut self, myself: &ActorRef<ArtifactsMsg>) {
        if self.sweeping.as_ref().is_some_and(|sweep| !sweep.is_finished()) {
            return;
        }
        let (sweeper, now) = (self.sweeper(myself), Millis::now());
        let cutoffs = self.rules.cutoffs(now);
        self.sweeping = Some(task::spawn("sweep artifacts", async move {
            if let Err(error) = sweeper.sweep(cutoffs, now).await {
                tracing::warn!(error = %error_chain(&error), "retention could not be looked after");
            }
        }));
    }

    fn recorder(&self, myself: &ActorRef<ArtifactsMsg>) -> Recorder {
        Recorder { store: Arc::clone(&self.store), actor: myself.clone() }
    }

    /// Keeps the counts in line with what retention has recorded.
    fn recorded(&mut self, changes: &[Change], gone: &[(Address, u64)]) {
        for change in changes {
            if let Change::Forgotten(id) = change {
                self.held.closed(*id);
            }
        }
        for (owner, bytes) in gone {
            self.held.shrank(*owner, *bytes);
        }
    }

    /// Opens a ticket, if its owner may have one more. It counts already while it is being recorded.
    fn open(
        &mut self,
        myself: &ActorRef<ArtifactsMsg>,
        kind: ArtifactKind,
        owner: Address,
        port: RpcReplyPort<Result<ArtifactId, OverQuota>>,
    ) {
        if let Err(over) = self.held.may_open(owner) {
            let client = self.clients.name(owner);
            tracing::info!(%owner, client, quota = over.key(), "a ticket over its quota");
            self.metrics.over_quota(client, over);
            return reply(port, Err(over));
        }
        let id = ArtifactId::random();
        self.held.opened(id, owner);
        let recorder = self.recorder(myself);
        task::spawn("open ticket", async move {
            let record = ArtifactRecord::ticket(id, kind, owner, Millis::now());
            if recorder.record(&[Change::Artifact(record)]).await {
                reply(port, Ok(id));
            } else {
                tell(&recorder.actor, ArtifactsMsg::NotOpened(id));
            }
        });
    }

    /// What becomes of an upload: its ticket's record to be, or nothing to do.
    async fn look_at_upload(
        &self,
        ticket: ArtifactId,
        info: BlobInfo,
    ) -> Result<Option<ArtifactRecord>, UploadError> {
        let record = self.store.artifact(ticket).await.map_err(unavailable)?;
        match (decide(record.as_ref(), &info), record) {
            (Decision::Keep, Some(_)) if self.adopting.contains_key(&ticket) => {
                Err(UploadError::Unavailable)
            }
            (Decision::Keep, Some(record)) => {
                self.held.may_keep(record.owner, info.size).map_err(UploadError::OverQuota)?;
                Ok(Some(ArtifactRecord { blob: Some(info), ..record }))
            }
            (Decision::AlreadyThere, _) => Ok(None),
            (Decision::Conflict, _) => Err(UploadError::Conflict),
            (Decision::Keep | Decision::NoTicket, _) => Err(UploadError::NoTicket),
        }
    }

    /// Starts putting bytes in their place and recording that.
    fn adopt(
        &mut self,
        myself: &ActorRef<ArtifactsMsg>,
        record: ArtifactRecord,
        bytes: StagedBlob,
        waiting: Waiting,
    ) {
        let counts =
            (record.kind != ArtifactKind::Proof).then(|| (record.owner, bytes.info().size));
        if let Some((owner, size)) = counts {
            // Already now, so that two uploads at once cannot both take the last room.
            self.held.grew(owner, size);
        }
        self.adopting.insert(record.id, counts);
        let (blobs, recorder) = (self.blobs.clone(), self.recorder(myself));
        task::spawn("adopt", async move {
            let kept = match blobs.adopt(bytes, record.id).await {
                // Should this fail, the bytes stay until orphans are cleared: the store may have taken the
                // record all the same, and its promise must be kept.
                Ok(()) if recorder.record(&[Change::Artifact(record.clone())]).await => Ok(()),
                Ok(()) => Err(UploadError::Unavailable),
                Err(error) => Err(unavailable(error)),
            };
            tell(&recorder.actor, ArtifactsMsg::Adopted(Box::new(record), kept, waiting));
        });
    }

    /// Counts what is in its place now, or is not.
    fn adopted(
        &mut self,
        record: &ArtifactRecord,
        kept: Result<(), UploadError>,
    ) -> Result<BlobInfo, UploadError> {
        let id = record.id;
        let counted = self.adopting.remove(&id).flatten();
        let info = record.blob.ok_or(UploadError::NoTicket)?;
        if let (Err(_), Some((owner, size))) = (&kept, counted) {
            // The sender comes again, and is counted again.
            self.held.shrank(owner, size);
        }
        kept?;
        self.budget.grew(info.size);
        self.held.closed(id);
        Ok(info)
    }
}

fn log_unavailable(error: &dyn std::error::Error) {
    tracing::error!(error = %error_chain(error), "an artifact could not be stored");
}

fn unavailable(error: impl std::error::Error) -> UploadError {
    log_unavailable(&error);
    UploadError::Unavailable
}
