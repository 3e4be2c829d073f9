//! Surveys: an execution that is cut into shards without proving any of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shard_plan::{Key, ShardKind};
use sp1_core_machine::io::SP1Stdin;
use sp1_core_machine::riscv::RiscvAir;
use sp1_prover::SP1VerifyingKey;
use sp1_prover::verify::{SP1Verifier, VerifierRecursionVks};
use sp1_prover::worker::{
    ProofId, ProveShardTaskRequest, RawTaskRequest, SP1Controller, SP1WorkerConfig, TaskId,
    TaskMetadata, WorkerClient,
};
use sp1_prover_types::{Artifact, ArtifactClient, ArtifactType, TaskType};
use sp1_verifier::SP1ProofMode;

use crate::BoxFuture;
use crate::depot::Depot;
use crate::execution::{Executable, prepared, retrace};
use crate::kept::ENGINE;
use crate::link::{Order, TaskLink};
use crate::record::{Record, sha256, user_of};

/// Most shards that wait at once.
const WINDOW: usize = 16;

/// A shard that was found by a survey.
#[derive(Debug)]
pub struct SurveyedShard {
    /// Its kind.
    pub kind: ShardKind,
    /// Its key, the same in every execution.
    pub key: Key,
    /// Range of SP1's clock, of a core shard.
    pub clocks: Option<(u64, u64)>,
    /// The record from which it is proved: bincode of SP1's `TraceData`.
    pub record: Arc<Vec<u8>>,
}

/// Result of a survey.
#[derive(Debug, Clone, Copy)]
pub struct Survey {
    /// Cycles of the program.
    pub cycles: u64,
    /// Time from the begin of the execution to its end, with the traces that show precompile events.
    pub elapsed: Duration,
    /// Most bytes in memory that waited for shards.
    pub peak_bytes: u64,
}

/// Executes a program, cuts it into shards as for a proof, and passes each to `found`. Needs no prover.
pub fn survey(
    elf: Arc<Vec<u8>>,
    key: SP1VerifyingKey,
    stdin: SP1Stdin,
    found: impl FnMut(SurveyedShard) + Send + 'static,
) -> BoxFuture<anyhow::Result<Survey>> {
    let executable = Executable { elf, key, stdin, mode: SP1ProofMode::Core };
    Box::pin(survey_now(executable, Box::new(found)))
}

async fn survey_now(
    executable: Executable,
    mut found: Box<dyn FnMut(SurveyedShard) + Send>,
) -> anyhow::Result<Survey> {
    let (depot, link) = (Depot::new(u64::MAX), TaskLink::default());
    let scope = depot.open_for_engine(WINDOW);
    let proof = ProofId::new(scope.number().to_string());
    let mut orders = link.open(&proof);
    let machine = RiscvAir::machine();
    let config = SP1WorkerConfig::new(machine.clone()).controller_config;
    let opts = config.opts.clone();
    let verifier = SP1Verifier::new_with_machine(VerifierRecursionVks::default(), machine);
    let controller = SP1Controller::new(config, depot.clone(), link.clone(), verifier);
    let request = prepared(&depot, &proof, executable).await?;
    let start = Instant::now();
    let execution = controller.execute(TaskLink::execution(&proof), request);
    let mut execution = std::pin::pin!(execution);
    let output = loop {
        tokio::select! {
            biased;
            Some(order) = orders.recv() => {
                if let Order::Task { id, kind: TaskType::ProveShard, request } = order {
                    let shard = Shard { depot: &depot, link: &link, proof: &proof, id };
                    found(shard.survey(request, opts.clone()).await?);
                }
            }
            output = &mut execution => break output?,
        }
    };
    let peak_bytes = depot.usage().peak;
    Ok(Survey { cycles: output.cycles, elapsed: start.elapsed(), peak_bytes })
}

/// A shard that is not proved.
struct Shard<'a> {
    depot: &'a Depot,
    link: &'a TaskLink,
    proof: &'a ProofId,
    id: TaskId,
}

impl Shard<'_> {
    /// Does what its proof would do for other shards.
    async fn survey(
        self,
        request: RawTaskRequest,
        opts: sp1_core_executor::SP1CoreOpts,
    ) -> anyhow::Result<SurveyedShard> {
        let shard = ProveShardTaskRequest::from_raw(request)?;
        let bytes = self.depot.bytes(&shard.record)?;
        let record = Record::read(&bytes)?;
        let digest_of = |events: &Artifact| Ok(sha256(&self.depot.bytes(events)?));
        let key = record.key(ENGINE, &bytes, digest_of)?;
        let (kind, clocks) = match &record {
            Record::Core { clocks } => {
                if let Some(events) = &shard.deferred_output {
                    retrace(self.depot, opts, &shard.elf, &shard.record, events).await?;
                }
                let marker = TaskId::new(shard.deferred_marker_task.clone().to_id());
                self.link.place_marker(self.proof, marker.clone(), *clocks);
                let done = TaskMetadata { gpu_ms: None };
                self.link.complete_task(self.proof.clone(), marker, done).await?;
                (ShardKind::Core, Some(*clocks))
            }
            Record::Precompile { slices, .. } => {
                for slice in slices {
                    let (user, any) = (user_of(slice), ArtifactType::UnspecifiedArtifactType);
                    self.depot.remove_ref(&slice.artifact, any, &user).await?;
                }
                (ShardKind::Precompile, None)
            }
            Record::Memory => (ShardKind::Memory, None),
        };
        self.depot.free(&shard.record);
        self.link.succeeded(self.proof, &self.id);
        Ok(SurveyedShard { kind, key, clocks, record: bytes })
    }
}
