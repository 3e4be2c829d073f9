//! Tasks of the `cpu` backend, in this process like its whole proofs.
//!
//! A program is executed twice. The first execution runs in a process of its own, with the request's limits, and
//! classifies every failure as for a whole proof. Only a program that has ended well is executed again, here, to be cut
//! into shards.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use network_lib::ids::Sha256Digest;
use network_lib::job::{Failure, FailureClass};
use network_lib::shard::Sharding;
use sp1_node::{
    Announce, BoxFuture, Execution, FoundShard, ProverRuntime, RecursionAssignment, RecursionError,
    RecursionInputs, ShardAssignment, ShardTraced, TracedEvents,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Ready;
use crate::executor::helper::Helper;
use crate::executor::mode::sp1_mode;
use crate::executor::prepare::{Prepared, prepare};
use crate::executor::program::Programs;
use crate::executor::tasks::{
    CutShard, ExecuteTask, Executed, JoinFailure, JoinInputs, JoinTask, ShardNews, ShardSink,
    ShardTask, TaskExecutor, TaskProof, Traced,
};
use crate::executor::{EventSink, ProveJob, cancelled, unless_cancelled};

/// The prover of tasks.
pub(super) struct CpuTasks {
    pub(super) runtime: Arc<ProverRuntime>,
    pub(super) helper: Helper,
    pub(super) programs: Arc<Programs>,
    pub(super) ready: Arc<OnceLock<Ready>>,
    pub(super) offered: watch::Receiver<Option<Sharding>>,
}

impl CpuTasks {
    fn ready(&self) -> Result<&Ready, Failure> {
        self.ready.get().ok_or_else(|| {
            Failure::new(FailureClass::Infrastructure, "the prover is still starting")
        })
    }

    async fn execute_now(
        &self,
        task: ExecuteTask,
        shards: ShardSink,
        mut states: mpsc::Receiver<ShardNews>,
    ) -> Result<Executed, Failure> {
        let mode = sp1_mode(task.spec.mode);
        let ExecuteTask { spec, program_digest, elf, stdin, max_elements } = task;
        let job = ProveJob { spec, program_digest, elf, stdin };
        let events = EventSink::nowhere();
        let prepared = prepare(&self.helper, &self.programs, job, false, &events).await?;
        let Prepared { program, stdin, executed } = prepared;
        let (elf, key) = (Arc::clone(&program.elf), program.key.clone());
        let execution = Execution { mode, elf, key, stdin, max_elements };
        let _room = self.helper.room().await?;

        let (news, traced) = mpsc::channel(1);
        let passing = async {
            while let Some(state) = states.recv().await {
                // An error says that the execution has ended.
                if let Some(traced) = traced_of(state)
                    && news.send(traced).await.is_err()
                {
                    break;
                }
            }
            drop(news);
            std::future::pending().await
        };
        let cutting = sp1_node::execute(execution, Arc::new(Sink(shards)), traced);
        let public_values = tokio::select! {
            cut = self.runtime.run(cutting) => cut,
            never = passing => never,
        };
        let not_cut = |reason: String| {
            let message = format!("the program could not be cut into shards: {reason}");
            Failure::new(FailureClass::Worker, message)
        };
        let public_values = public_values
            .and_then(|cut| cut.map_err(|error| format!("{error:#}")))
            .map_err(not_cut)?;
        if public_values != executed.public_values.as_slice() {
            let reason = "its public values differ from those of the first execution";
            return Err(not_cut(reason.to_owned()));
        }
        Ok(Executed { execution: executed.execution, public_values })
    }
}

#[async_trait]
impl TaskExecutor for CpuTasks {
    fn offered(&self) -> watch::Receiver<Option<Sharding>> {
        self.offered.clone()
    }

    async fn execute(
        &self,
        task: ExecuteTask,
        shards: ShardSink,
        states: mpsc::Receiver<ShardNews>,
        cancel: CancellationToken,
    ) -> Result<Executed, Failure> {
        // Dropping the execution stops it.
        unless_cancelled(&cancel, self.execute_now(task, shards, states)).await
    }

    async fn prove_shard(
        &self,
        task: ShardTask,
        traced: mpsc::Sender<Traced>,
        cancel: CancellationToken,
    ) -> Result<TaskProof, Failure> {
        let ready = self.ready()?;
        let ShardTask { elf, common, record, named, events_prefix, defers, mode, .. } = task;
        let mode = sp1_mode(mode);
        let index_id = format!("{events_prefix}-index");
        let (sender, mut made) = mpsc::channel(1);
        let events = named;
        let assignment =
            ShardAssignment { mode, elf, common, record, events, events_prefix, traced: sender };
        let proving = self.runtime.run(ready.node.prove_shard(assignment, cancel.clone()));
        let passing = async {
            while let Some(TracedEvents { index, blobs }) = made.recv().await {
                if defers {
                    let deferred = (index_id.clone(), index);
                    // Without a receiver nothing needs the events.
                    let _ = traced.send(Traced { deferred, named: blobs }).await;
                }
            }
        };
        let (proved, ()) = tokio::join!(proving, passing);
        let proved = proved.and_then(|proved| proved).map_err(|reason| {
            Failure::new(FailureClass::Worker, format!("the shard could not be proved: {reason}"))
        });
        match proved {
            Ok(proved) => Ok(TaskProof { bytes: proved.proof, prove_ms: proved.prove_ms }),
            Err(_) if cancel.is_cancelled() => Err(cancelled()),
            Err(failure) => Err(failure),
        }
    }

    async fn join(
        &self,
        task: JoinTask,
        cancel: CancellationToken,
    ) -> Result<TaskProof, JoinFailure> {
        let ready = self.ready()?;
        let JoinTask { common, inputs } = task;
        let inputs = match inputs {
            JoinInputs::Deferred(data) => RecursionInputs::Deferred(data),
            JoinInputs::Reduce { complete, range, children } => {
                RecursionInputs::Reduce { complete, range, children }
            }
            JoinInputs::ShrinkWrap(proof) => RecursionInputs::ShrinkWrap(proof),
            JoinInputs::Plonk(proof) => RecursionInputs::Plonk(proof),
            JoinInputs::Groth16(proof) => RecursionInputs::Groth16(proof),
        };
        let assignment = RecursionAssignment { common, inputs };
        let joined = self.runtime.run(ready.node.join(assignment, cancel.clone())).await;
        match joined.unwrap_or_else(|panicked| Err(RecursionError::Failed(panicked))) {
            Ok(proved) => Ok(TaskProof { bytes: proved.proof, prove_ms: proved.prove_ms }),
            Err(_) if cancel.is_cancelled() => Err(cancelled().into()),
            Err(error) => Err(failure_of(error)),
        }
    }
}

fn failure_of(error: RecursionError) -> JoinFailure {
    let message = format!("the proofs could not be joined: {error}");
    match error {
        RecursionError::False { inputs, .. } => JoinFailure {
            failure: Failure::new(FailureClass::Infrastructure, message),
            false_inputs: inputs,
        },
        RecursionError::Unfit(_) => Failure::new(FailureClass::Request, message).into(),
        RecursionError::Failed(_) => Failure::new(FailureClass::Worker, message).into(),
    }
}

/// Passes on the shards of an execution.
struct Sink(ShardSink);

impl Announce for Sink {
    fn common(&self, bytes: Vec<u8>) -> BoxFuture<()> {
        let sink = Arc::clone(&self.0);
        Box::pin(async move { sink.common(bytes).await })
    }

    fn shard(&self, shard: FoundShard) -> BoxFuture<()> {
        let sink = Arc::clone(&self.0);
        let FoundShard { kind, key, range, record, events } = shard;
        let cut = CutShard { key, kind, range, record, named: events };
        Box::pin(async move { sink.shard(cut).await })
    }
}

/// The news that SP1's execution needs; none about a shard that is done.
fn traced_of(news: ShardNews) -> Option<ShardTraced> {
    let ShardNews::Traced { no, deferred: (_, index), named } = news else { return None };
    let digest = |(id, blob): (String, network_lib::job::BlobInfo)| {
        let Sha256Digest(digest) = blob.sha256;
        (id, digest)
    };
    Some(ShardTraced { no: no as usize, index, digests: named.into_iter().map(digest).collect() })
}
