//! One task of a proof that several workers make: here, a shard.

use std::sync::Arc;

use anyhow::{Context, ensure};
use sp1_prover::worker::{
    CommonProverInput, ProofId, ProveShardTaskRequest, TaskId, TaskMetadata, WorkerClient,
};
use sp1_prover_types::{Artifact, ArtifactClient, TaskStatus, TaskType};
use sp1_verifier::SP1ProofMode;
use tokio::sync::mpsc;

use super::{Worker, tasks};
use crate::depot::{Depot, Scope};
use crate::events::{TracedEvents, bring, take};
use crate::execution::{context, wire_mode};
use crate::link::TaskLink;
use crate::record::Record;

/// A shard to prove.
pub struct ShardAssignment {
    /// Kind of proof: for all but Core the shard's proof is made in recursive form.
    pub mode: SP1ProofMode,
    /// The program.
    pub elf: Arc<Vec<u8>>,
    /// Bincode of SP1's `CommonProverInput`.
    pub common: Vec<u8>,
    /// Bincode of SP1's `TraceData`.
    pub record: Vec<u8>,
    /// Precompile events to which the record refers, by their names.
    pub events: Vec<(String, Vec<u8>)>,
    /// Prefix of the names of the events that a core shard defers to others.
    pub events_prefix: String,
    /// Receives the events of a core shard as soon as it is traced, before the proof.
    pub traced: mpsc::Sender<TracedEvents>,
}

/// Result of a task.
#[derive(Debug)]
pub struct ProvedTask {
    /// Bincode of SP1's `ShardProof` for a shard of a Core proof, of its `SP1WrapProof` for a wrap, of its proof for
    /// PLONK and Groth16, and of its `SP1RecursionProof` for all others.
    pub proof: Vec<u8>,
    /// Milliseconds of the prover alone.
    pub prove_ms: u64,
}

/// One task.
pub(super) struct Single {
    worker: Worker,
    scope: Scope,
    /// Keeps open what the engine names while shards are proved.
    _of_engine: Arc<Scope>,
    proof: ProofId,
}

impl Single {
    pub(super) fn new(worker: Worker, of_engine: Arc<Scope>) -> Self {
        let scope = worker.artifact_client().open(1);
        let proof = ProofId::new(format!("task-{}", scope.number()));
        Self { worker, scope, _of_engine: of_engine, proof }
    }

    /// Proves the shard.
    pub(super) async fn prove(&self, assignment: ShardAssignment) -> anyhow::Result<ProvedTask> {
        let ShardAssignment { mode, elf, common, record, events, events_prefix, traced } =
            assignment;
        {
            let input: CommonProverInput =
                bincode::deserialize(&common).context("the common input cannot be decoded")?;
            let (found, expected) = (input.mode, wire_mode(mode));
            ensure!(
                found == expected,
                "the common input is that of a {found:?} proof: expected a {expected:?} proof"
            );
        }
        let depot = self.depot();
        let record = bring(depot, &self.scope, record, events)?;
        let is_core = matches!(Record::read(&record)?, Record::Core { .. });
        let marker = TaskId::new(format!("{}/marker", self.proof));
        let shard = ProveShardTaskRequest {
            elf: self.scope.name(),
            common_input: self.scope.name(),
            record: self.scope.name(),
            output: self.scope.name(),
            deferred_marker_task: Artifact::from(marker.to_string()),
            deferred_output: is_core.then(|| self.scope.name()),
            context: context(&self.proof),
        };
        depot.upload_program(&shard.elf, elf.to_vec()).await?;
        depot.put(&shard.common_input, common)?;
        depot.put(&shard.record, record)?;
        let (output, index) = (shard.output.clone(), shard.deferred_output.clone());
        let request = shard.into_raw()?;

        // The only marker of this board: it waits for no earlier one.
        let _orders = self.link().open(&self.proof);
        self.link().place_marker(&self.proof, marker.clone(), (1, 2));
        let mut passing =
            index.map(|index| Box::pin(self.pass_on(marker, index, &events_prefix, traced)));
        let proving = async {
            tasks::run(&self.worker, TaskType::ProveShard, &request)
                .await
                .map_err(|failure| anyhow::Error::msg(failure.reason))
        };
        let metadata = match &mut passing {
            // SP1 ends the task after the events are stored; if it fails, they may never be.
            Some(passing) => tokio::try_join!(proving, passing)?.0,
            None => proving.await?,
        };
        let TaskMetadata { gpu_ms } = metadata;
        let proof = depot.bytes(&output)?;
        depot.free(&output);
        Ok(ProvedTask { proof: Arc::unwrap_or_clone(proof), prove_ms: gpu_ms.unwrap_or(0) })
    }

    /// Waits until the shard is traced, and passes its events on.
    async fn pass_on(
        &self,
        marker: TaskId,
        index: Artifact,
        prefix: &str,
        traced: mpsc::Sender<TracedEvents>,
    ) -> anyhow::Result<()> {
        let ends = self.link().subscriber(self.proof.clone()).await?.per_task();
        let end = ends.wait_task(marker).await?;
        ensure!(end == TaskStatus::Succeeded, "the shard's events have failed");
        let events = take(self.depot(), &index, prefix)?;
        // Without a receiver nothing needs the events.
        let _ = traced.send(events).await;
        Ok(())
    }

    /// A new name in the depot.
    pub(super) fn name(&self) -> Artifact {
        self.scope.name()
    }

    pub(super) const fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(super) const fn proof(&self) -> &ProofId {
        &self.proof
    }

    pub(super) fn depot(&self) -> &Depot {
        self.worker.artifact_client()
    }

    fn link(&self) -> &TaskLink {
        self.worker.worker_client()
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        self.link().close(&self.proof);
    }
}
