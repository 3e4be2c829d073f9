//! One shard: prove it, or take its proof of an earlier attempt.

use std::sync::Arc;

use shard_plan::Key;
use sp1_prover::worker::{
    ProofId, ProveShardTaskRequest, RawTaskRequest, TaskId, TaskMetadata, WorkerClient,
};
use sp1_prover_types::{Artifact, ArtifactClient, ArtifactType, TaskType};
use tokio::sync::Semaphore;

use super::{Worker, tasks};
use crate::execution::{NO_EVENTS, retrace};
use crate::kept::{ENGINE, KeptShard, KeptShards};
use crate::record::{Record, sha256, user_of};

/// What a shard needs of its proof.
#[derive(Clone)]
pub(super) struct Shop {
    pub(super) worker: Worker,
    pub(super) proof: ProofId,
    pub(super) kept: Option<Arc<dyn KeptShards>>,
    /// Records that are traced again at once: each takes gigabytes.
    pub(super) retracing: Arc<Semaphore>,
}

/// How a shard's proof came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was proved now.
    Proved,
    /// It was proved in an earlier attempt, and kept.
    Kept,
}

impl Shop {
    /// Makes a shard's proof and keeps it, or finds it. The record must be in the depot, and held.
    pub(super) async fn shard(
        self,
        request: RawTaskRequest,
        record: Record,
    ) -> Result<Origin, String> {
        let shard = ProveShardTaskRequest::from_raw(request.clone()).map_err(text)?;
        let record = Arc::new(record);
        let key = self.key(&shard.record, &record).await?;
        if let Some(kept) = self.find(key).await {
            self.restore(kept, &shard, &record).await?;
            return Ok(Origin::Kept);
        }
        tasks::run(&self.worker, TaskType::ProveShard, &request).await.map_err(text)?;
        let defers = match &shard.deferred_output {
            Some(events) => {
                *self.worker.artifact_client().bytes(events).map_err(text)? != NO_EVENTS
            }
            None => false,
        };
        self.keep(key, defers, &shard.output).await?;
        Ok(Origin::Proved)
    }

    /// Makes the proof that verifies proofs `first` up to `end` of the input and keeps it, or finds it.
    pub(super) async fn deferred(
        self,
        request: RawTaskRequest,
        (first, end): (u64, u64),
    ) -> Result<Origin, String> {
        let output = request.outputs.first().cloned().ok_or("a task without an output")?;
        let key = self.kept.is_some().then(|| Key::deferred(ENGINE, first, end));
        if let Some(kept) = self.find(key).await {
            self.worker.artifact_client().put(&output, kept.proof).map_err(text)?;
            return Ok(Origin::Kept);
        }
        tasks::run(&self.worker, TaskType::RecursionDeferred, &request).await.map_err(text)?;
        self.keep(key, false, &output).await?;
        Ok(Origin::Proved)
    }

    /// The shard's key, if its proof is to be kept.
    async fn key(&self, artifact: &Artifact, record: &Arc<Record>) -> Result<Option<Key>, String> {
        if self.kept.is_none() {
            return Ok(None);
        }
        let (depot, record) = (self.worker.artifact_client().clone(), Arc::clone(record));
        let bytes = depot.bytes(artifact).map_err(text)?;
        blocking(move || {
            let digest_of = |events: &Artifact| Ok(sha256(&depot.bytes(events)?));
            record.key(ENGINE, &bytes, digest_of).map(Some).map_err(text)
        })
        .await?
    }

    async fn find(&self, key: Option<Key>) -> Option<KeptShard> {
        let (kept, key) = (self.kept.clone()?, key?);
        let found = blocking(move || kept.find(key)).await.ok()??;
        match KeptShard::decode(found) {
            Ok(kept) => Some(kept),
            Err(error) => {
                tracing::warn!(%key, %error, "a kept shard cannot be used; it is proved again");
                None
            }
        }
    }

    async fn keep(&self, key: Option<Key>, defers: bool, output: &Artifact) -> Result<(), String> {
        let (Some(kept), Some(key)) = (self.kept.clone(), key) else { return Ok(()) };
        let proof = self.worker.artifact_client().bytes(output).map_err(text)?;
        blocking(move || {
            let shard = KeptShard { defers, proof: proof.to_vec() };
            kept.keep(key, &shard.encode());
        })
        .await
    }

    /// Leaves the depot as it would be if the shard had been proved.
    async fn restore(
        &self,
        kept: KeptShard,
        shard: &ProveShardTaskRequest,
        record: &Record,
    ) -> Result<(), String> {
        let depot = self.worker.artifact_client();
        depot.put(&shard.output, kept.proof).map_err(text)?;
        match record {
            Record::Core { .. } => {
                let events = shard.deferred_output.as_ref().ok_or("a core shard without events")?;
                match kept.defers {
                    true => {
                        let _turn = self.retracing.acquire().await.map_err(text)?;
                        let opts = self.worker.controller().opts().clone();
                        let traced = retrace(depot, opts, &shard.elf, &shard.record, events).await;
                        traced.map_err(text)?;
                    }
                    false => depot.put(events, NO_EVENTS.to_vec()).map_err(text)?,
                }
                let marker = TaskId::new(shard.deferred_marker_task.clone().to_id());
                let done = TaskMetadata { gpu_ms: None };
                let link = self.worker.worker_client();
                link.complete_task(self.proof.clone(), marker, done).await.map_err(text)?;
            }
            Record::Precompile { slices, .. } => {
                for slice in slices {
                    let (user, any) = (user_of(slice), ArtifactType::UnspecifiedArtifactType);
                    depot.remove_ref(&slice.artifact, any, &user).await.map_err(text)?;
                }
            }
            Record::Memory => {}
        }
        Ok(())
    }
}

/// Computes on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(crate::runtime::panic_message)
}

fn text(error: impl std::fmt::Display) -> String {
    format!("{error:#}")
}
