//! The `artifacts` actor. For each artifact it stores the bytes, then the record, then replies. Buckets and disks
//! are slow, so separate tasks store bytes and records: many at once, whose records share a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use hierophant_model::clients::{Client, Clients, OverQuota, Owner, Signer};
use hierophant_model::records::{ArtifactKind, ArtifactRecord, Change, Millis};
use hierophant_model::text::error_chain;
use hierophant_store::JobStore;
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use network_lib::task;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio::task::JoinHandle;

use super::blobs::{Blobs, StagedBlob};
use super::budget::DiskBudget;
use super::core::{Decision, decide};
use super::handle::ArtifactsHandle;
use super::message::{ArtifactsMsg, KeepReply, UploadError};
use super::quota_usage::QuotaUsage;
use super::retention::Rules;
use super::sweep::Sweeper;
use crate::ask::{reply, tell};
use crate::metrics::Metrics;

/// State of the actor.
#[derive(Debug)]
pub struct ArtifactsState {
    store: Arc<dyn JobStore>,
    blobs: Blobs,
    rules: Rules,
    budget: DiskBudget,
    /// Artifacts being adopted, each with the owner and size it counts for; a second upload to one is refused.
    adopting: BTreeMap<ArtifactId, Option<(Client, u64)>>,
    usage: QuotaUsage,
    metrics: Metrics,
    clients: Clients,
    sweeping: Option<JoinHandle<()>>,
}

/// Commits records outside the actor's task.
struct Recorder {
    store: Arc<dyn JobStore>,
    actor: ActorRef<ArtifactsMsg>,
}

impl Recorder {
    /// Commits changes; returns whether they are stored. Stops the actor if no later commit can succeed: another
    /// Hierophant has taken over the database, or it has lost transactions or refuses writes.
    async fn record(&self, changes: &[Change]) -> bool {
        match self.store.commit(changes).await {
            Ok(()) => true,
            Err(error) => {
                log_unavailable(&error);
                if !error.is_transient() {
                    tell(&self.actor, ArtifactsMsg::StoreLost(error));
                }
                false
            }
        }
    }
}

/// Removal of a proof outside the actor's task.
struct Discard {
    recorder: Recorder,
    blobs: Blobs,
    budget: DiskBudget,
}

impl Discard {
    /// Removes the bytes of a proof, after its record no longer promises them. If that breaks off, retention removes
    /// them later.
    async fn proof(&self, id: ArtifactId) {
        let record = match self.recorder.store.artifact(id).await {
            Ok(record) => record,
            Err(error) => return log_unavailable(&error),
        };
        let kept = |record: &ArtifactRecord| {
            record.kind == ArtifactKind::Proof && record.removed_at.is_none()
        };
        let Some(record) = record.filter(kept) else { return };
        let now = Millis::now();
        if !self.recorder.record(&[Change::Expired(id, Some(now))]).await {
            return;
        }
        if let Err(error) = self.blobs.remove(id).await {
            tracing::error!(%error, "cannot remove the bytes of a proof that was replaced");
        } else if self.recorder.record(&[Change::Removed(id, now)]).await {
            self.budget.shrank(record.blob.map_or(0, |blob| blob.size));
        }
    }
}

/// The `artifacts` actor.
#[derive(Debug)]
pub struct ArtifactsActor;

impl ArtifactsActor {
    /// Starts the actor under `supervisor`.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn start(
        store: Arc<dyn JobStore>,
        blobs: Blobs,
        rules: Rules,
        budget: DiskBudget,
        clients: Clients,
        metrics: Metrics,
        supervisor: ActorCell,
    ) -> Result<ArtifactsHandle, SpawnErr> {
        let usage = QuotaUsage::read(clients.clone(), store.as_ref()).await;
        let usage = usage.map_err(|error| SpawnErr::StartupFailed(error.into()))?;
        let state = ArtifactsState {
            store,
            blobs,
            rules,
            budget,
            adopting: BTreeMap::new(),
            usage,
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
                tracing::warn!(error = %error_chain(&error), "cannot look for orphaned artifacts");
            }
        });
        myself.send_after(state.rules.first_sweep(), || ArtifactsMsg::Sweep);
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
            // A ticket that cannot be stored gets no answer: the caller reports "unavailable".
            ArtifactsMsg::OpenTicket(kind, owner, port) => state.open(&myself, kind, owner, port),
            ArtifactsMsg::NotOpened(id) => state.usage.closed(id),
            ArtifactsMsg::MayKeep(owner, bytes, port) => {
                reply(port, state.usage.may_keep(&owner, bytes));
            }
            ArtifactsMsg::KeepUpload(ticket, bytes, port) => {
                match state.check_upload(ticket, bytes.info()).await {
                    Ok(Some(record)) => {
                        state.adopt(&myself, record, bytes, KeepReply::Upload(port));
                    }
                    Ok(None) => reply(port, Ok(bytes.info())),
                    Err(refusal) => reply(port, Err(refusal)),
                }
            }
            ArtifactsMsg::KeepProof(bytes, port) => {
                let (id, now) = (ArtifactId::random(), Millis::now());
                let mut record =
                    ArtifactRecord::ticket(id, ArtifactKind::Proof, Address::ZERO, now);
                record.blob = Some(bytes.info());
                state.adopt(&myself, record, bytes, KeepReply::Proof(port));
            }
            ArtifactsMsg::Adopted(record, kept, waiting) => {
                let kept = state.adopted(&record, kept);
                match waiting {
                    KeepReply::Upload(port) => reply(port, kept),
                    KeepReply::Proof(port) => reply(port, kept.map(|_| record.id)),
                }
            }
            ArtifactsMsg::Delivered(id) => {
                let recorder = state.recorder(&myself);
                task::spawn("note delivery", async move {
                    // If this write is lost, the proof is only kept for longer.
                    recorder.record(&[Change::Delivered(id, Millis::now())]).await;
                });
            }
            ArtifactsMsg::DiscardProof(id) => {
                let discard = Discard {
                    recorder: state.recorder(&myself),
                    blobs: state.blobs.clone(),
                    budget: state.budget.clone(),
                };
                task::spawn("discard proof", async move { discard.proof(id).await });
            }
            ArtifactsMsg::StoreLost(error) => return Err(error_chain(&error).into()),
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

    /// Starts a sweep in its own task, unless the previous one is still running.
    fn sweep(&mut self, myself: &ActorRef<ArtifactsMsg>) {
        if self.sweeping.as_ref().is_some_and(|sweep| !sweep.is_finished()) {
            return;
        }
        let (sweeper, now) = (self.sweeper(myself), Millis::now());
        let cutoffs = self.rules.cutoffs(now);
        self.sweeping = Some(task::spawn("sweep artifacts", async move {
            if let Err(error) = sweeper.sweep(cutoffs, now).await {
                tracing::warn!(error = %error_chain(&error), "the retention sweep failed");
            }
        }));
    }

    fn recorder(&self, myself: &ActorRef<ArtifactsMsg>) -> Recorder {
        Recorder { store: Arc::clone(&self.store), actor: myself.clone() }
    }

    /// Updates the quota usage after a sweep.
    fn recorded(&mut self, changes: &[Change], gone: &[(Owner, u64)]) {
        for change in changes {
            if let Change::Forgotten(id) = change {
                self.usage.closed(*id);
            }
        }
        for ((address, name), bytes) in gone {
            self.usage.shrank(&self.clients.of(*address, name.as_ref()), *bytes);
        }
    }

    /// Opens a ticket within its owner's quota. It counts from now on, before it is recorded.
    fn open(
        &mut self,
        myself: &ActorRef<ArtifactsMsg>,
        kind: ArtifactKind,
        owner: Signer,
        port: RpcReplyPort<Result<ArtifactId, OverQuota>>,
    ) {
        let client = self.clients.of_signer(&owner);
        if let Err(over) = self.usage.may_open(&client) {
            let client = self.clients.label(&client);
            tracing::info!(owner = %owner.address, client, quota = over.key(), "refused a ticket: quota exceeded");
            self.metrics.over_quota(client, over);
            return reply(port, Err(over));
        }
        let id = ArtifactId::random();
        self.usage.opened(id, client);
        let recorder = self.recorder(myself);
        task::spawn("open ticket", async move {
            let mut record = ArtifactRecord::ticket(id, kind, owner.address, Millis::now());
            record.client = owner.client;
            if recorder.record(&[Change::Artifact(record)]).await {
                reply(port, Ok(id));
            } else {
                tell(&recorder.actor, ArtifactsMsg::NotOpened(id));
            }
        });
    }

    fn client_of(&self, record: &ArtifactRecord) -> Client {
        self.clients.of(record.owner, record.client.as_ref())
    }

    /// Checks an upload against its ticket: the new record, or `None` if the bytes are already there.
    async fn check_upload(
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
                let owner = self.client_of(&record);
                self.usage.may_keep(&owner, info.size).map_err(UploadError::OverQuota)?;
                Ok(Some(ArtifactRecord { blob: Some(info), ..record }))
            }
            (Decision::AlreadyThere, _) => Ok(None),
            (Decision::Conflict, _) => Err(UploadError::Conflict),
            (Decision::Keep | Decision::NoTicket, _) => Err(UploadError::NoTicket),
        }
    }

    /// Starts a task that adopts bytes and records them.
    fn adopt(
        &mut self,
        myself: &ActorRef<ArtifactsMsg>,
        record: ArtifactRecord,
        bytes: StagedBlob,
        waiting: KeepReply,
    ) {
        let counts = (record.kind != ArtifactKind::Proof)
            .then(|| (self.client_of(&record), bytes.info().size));
        if let Some((owner, size)) = &counts {
            // Counted in advance, so that two concurrent uploads cannot both use the last of the quota.
            self.usage.grew(owner.clone(), *size);
        }
        self.adopting.insert(record.id, counts);
        let (blobs, recorder) = (self.blobs.clone(), self.recorder(myself));
        task::spawn("adopt", async move {
            let kept = match blobs.adopt(bytes, record.id).await {
                // On failure the bytes stay until orphans are cleared: the store may have committed the record
                // nevertheless.
                Ok(()) if recorder.record(&[Change::Artifact(record.clone())]).await => Ok(()),
                Ok(()) => Err(UploadError::Unavailable),
                Err(error) => Err(unavailable(error)),
            };
            tell(&recorder.actor, ArtifactsMsg::Adopted(Box::new(record), kept, waiting));
        });
    }

    /// Updates the counts after an adoption.
    fn adopted(
        &mut self,
        record: &ArtifactRecord,
        kept: Result<(), UploadError>,
    ) -> Result<BlobInfo, UploadError> {
        let id = record.id;
        let counted = self.adopting.remove(&id).flatten();
        let info = record.blob.ok_or(UploadError::NoTicket)?;
        if let (Err(_), Some((owner, size))) = (&kept, counted) {
            // A retry is counted again.
            self.usage.shrank(&owner, size);
        }
        kept?;
        self.budget.grew(info.size);
        self.usage.closed(id);
        Ok(info)
    }
}

fn log_unavailable(error: &dyn std::error::Error) {
    tracing::error!(error = %error_chain(error), "cannot store an artifact");
}

fn unavailable(error: impl std::error::Error) -> UploadError {
    log_unavailable(&error);
    UploadError::Unavailable
}
