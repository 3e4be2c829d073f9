//! SP1's prover, task by task.
//!
//! SP1 cuts a proof into tasks, puts them into queues and leaves their execution to its host. SP1's own
//! local node executes them too, but reports no progress, cannot be stopped, and waits forever for a task
//! that has panicked. This node runs the same tasks on the same engine without these limits.
//!
//! It makes one proof at a time. After a stop it starts no further step of any task; a running step
//! cannot be interrupted, so the node waits until SP1's permits, one for each running step, are all
//! returned.

mod count;
mod tasks;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sp1_core_machine::io::SP1Stdin;
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::prover::{CpuShardProver, ProverSemaphore};
use sp1_prover::worker::{
    LocalWorkerClient, ProofId, RawTaskRequest, RequesterId, SP1Worker, SP1WorkerBuilder,
    TaskContext, WorkerClient,
};
use sp1_prover::{
    CpuSP1ProverComponents, CpuWrapProverBuilder, SP1ProverComponents, SP1VerifyingKey,
};
use sp1_prover_types::network_base_types::ProofMode;
use sp1_prover_types::{
    Artifact, ArtifactClient, ArtifactType, InMemoryArtifactClient, ProofArtifacts,
    ProofRequestStatus,
};
use sp1_verifier::{ProofFromNetwork, SP1ProofMode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::BoxFuture;
use crate::attempt::{Attempt, Files};
use crate::runtime::{caught, spawn};
use crate::tally::{Estimate, Tally};

/// Proving steps that run at the same time, as in SP1's own node.
const PERMITS: u32 = 4;

/// The longest wait, after a stop, for steps that still run.
const MAX_WIND_DOWN: Duration = Duration::from_secs(30 * 60);

type Worker = SP1Worker<InMemoryArtifactClient, LocalWorkerClient, CpuSP1ProverComponents>;

/// The proofs that a prover is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Core proofs alone. The prover is ready in a fraction of the time and memory, because the programs and keys
    /// that join proofs are not made.
    Core,
    /// Proofs of every mode.
    Every,
}

impl Scope {
    /// The largest number of proofs that one recursive proof joins, for each of which SP1 compiles a program and
    /// derives its keys. 0 leaves out all of them.
    const fn compose_arity(self, of_sp1: usize) -> usize {
        match self {
            Self::Core => 0,
            Self::Every => of_sp1,
        }
    }
}

/// SP1's prover on this machine's processors.
pub struct Node {
    worker: Worker,
    scope: Scope,
    client: LocalWorkerClient,
    permits: ProverSemaphore,
    turn: tokio::sync::Mutex<()>,
    current: Mutex<Option<Arc<Attempt>>>,
    /// Numbers the proofs: names in SP1's memory are unique within one node.
    proofs: AtomicU64,
}

/// A proof to make.
pub struct Assignment {
    /// The program.
    pub elf: Arc<Vec<u8>>,
    /// Its verifying key.
    pub key: SP1VerifyingKey,
    /// Its input.
    pub stdin: SP1Stdin,
    /// Kind of proof.
    pub mode: SP1ProofMode,
    /// The tally to count its tasks in, still empty.
    pub tally: Tally,
}

impl Node {
    /// Builds the prover. With [`Scope::Every`] it takes a minute or two, in which SP1's recursion programs are
    /// compiled.
    ///
    /// # Errors
    ///
    /// When SP1 cannot build it.
    pub fn build(scope: Scope) -> BoxFuture<anyhow::Result<Arc<Self>>> {
        Box::pin(Self::build_now(scope))
    }

    async fn build_now(scope: Scope) -> anyhow::Result<Arc<Self>> {
        let machine = RiscvAir::machine();
        let permits = ProverSemaphore::new(PERMITS as usize);
        let core = CpuSP1ProverComponents::core_verifier(machine.clone());
        let compress = CpuSP1ProverComponents::compress_verifier();
        let shrink = CpuSP1ProverComponents::shrink_verifier();
        let core = CpuShardProver::new(core.shard_verifier().clone());
        let compress = CpuShardProver::new(compress.shard_verifier().clone());
        let shrink = CpuShardProver::new(shrink.shard_verifier().clone());

        let index = ProofArtifacts::default();
        let artifacts = InMemoryArtifactClient::with_index(index.clone());
        let (client, channels) = LocalWorkerClient::init_with_index(index);
        let worker = SP1WorkerBuilder::<CpuSP1ProverComponents>::new_with_machine(machine)
            .with_artifact_client(artifacts)
            .with_worker_client(client.clone())
            .with_core_air_prover(Arc::new(core), permits.clone())
            .with_compress_air_prover(Arc::new(compress), permits.clone())
            .with_shrink_air_prover(Arc::new(shrink), permits.clone())
            .with_wrap_air_prover(CpuWrapProverBuilder, permits.clone())
            .with_config(|config| {
                let recursion = &mut config.prover_config.recursion_prover_config;
                recursion.max_compose_arity = scope.compose_arity(recursion.max_compose_arity);
            })
            .build()
            .await?;
        let node = Arc::new(Self {
            worker,
            scope,
            client,
            permits,
            turn: tokio::sync::Mutex::default(),
            current: Mutex::default(),
            proofs: AtomicU64::new(0),
        });
        for (kind, queue) in channels.task_receivers {
            spawn(Arc::clone(&node).serve(kind, queue));
        }
        Ok(node)
    }

    /// Makes a proof. After `cancel` and after a failure it returns once all proving steps have ended.
    ///
    /// # Errors
    ///
    /// The first task's error, or SP1's, in one line; or that the prover was not built for this mode.
    pub fn prove(
        self: &Arc<Self>,
        assignment: Assignment,
        cancel: CancellationToken,
    ) -> BoxFuture<Result<ProofFromNetwork, String>> {
        let node = Arc::clone(self);
        Box::pin(async move { node.prove_now(assignment, cancel).await })
    }

    async fn prove_now(
        &self,
        assignment: Assignment,
        cancel: CancellationToken,
    ) -> Result<ProofFromNetwork, String> {
        if self.scope == Scope::Core && assignment.mode != SP1ProofMode::Core {
            return Err("the prover was built for Core proofs alone".to_owned());
        }
        let _turn = self.turn.lock().await;
        let name = format!("proof-{}", self.proofs.fetch_add(1, Ordering::Relaxed));
        let file = |part: &str| Artifact::from(format!("{name}-{part}"));
        let attempt = Arc::new(Attempt {
            proof_id: ProofId::new(name.as_str()),
            files: Files { elf: file("elf"), stdin: file("stdin"), output: file("output") },
            key: assignment.key.clone(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            start: Instant::now(),
            tally: Mutex::new(assignment.tally.clone()),
            first_error: Mutex::default(),
        });
        self.set_current(Some(Arc::clone(&attempt)));
        let outcome = tokio::select! {
            outcome = self.run_controller(&attempt, assignment) => outcome,
            () = cancel.cancelled() => Err("cancelled".to_owned()),
        };
        attempt.stop.cancel();
        attempt.tasks.close();
        attempt.tasks.wait().await;
        self.set_current(None);
        self.wait_until_idle().await;
        self.clean_up(&attempt).await;
        outcome
    }

    /// Estimate of the current proof's progress.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        let attempt = self.lock_current().clone()?;
        let tally = attempt.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Some(tally.estimate(attempt.start.elapsed()))
    }

    /// Seconds that one unit of work has taken in the current proof so far.
    #[must_use]
    pub fn seconds_per_unit(&self) -> Option<f64> {
        let attempt = self.lock_current().clone()?;
        let tally = attempt.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.seconds_per_unit()
    }

    /// Runs SP1's controller, which queues the tasks of the proof in their order.
    async fn run_controller(
        &self,
        attempt: &Attempt,
        assignment: Assignment,
    ) -> Result<ProofFromNetwork, String> {
        let artifacts = self.worker.artifact_client();
        let text = |error: anyhow::Error| format!("{error:#}");
        let Files { elf, stdin, output } = &attempt.files;
        let mode = Artifact::from((wire_mode(assignment.mode) as i32).to_string());
        artifacts.upload_program(elf, assignment.elf.to_vec()).await.map_err(text)?;
        artifacts
            .upload_with_type(stdin, ArtifactType::Stdin, assignment.stdin)
            .await
            .map_err(text)?;

        let request = RawTaskRequest {
            inputs: vec![elf.clone(), stdin.clone(), mode],
            outputs: vec![output.clone()],
            context: TaskContext {
                proof_id: attempt.proof_id.clone(),
                parent_id: None,
                parent_context: None,
                requester_id: RequesterId::new("contemplant"),
            },
        };
        let worker = self.worker.clone();
        let outcome = caught(async move { worker.controller().run(request).await }).await;
        match outcome {
            Ok(Ok(_)) => artifacts.download::<ProofFromNetwork>(output).await.map_err(text),
            Ok(Err(error)) => Err(attempt.error_or(error.to_string())),
            Err(reason) => Err(attempt.error_or(reason)),
        }
    }

    /// Waits until all proving steps have ended.
    async fn wait_until_idle(&self) {
        let all = self.permits.clone().acquire_many(PERMITS);
        if tokio::time::timeout(MAX_WIND_DOWN, all).await.is_err() {
            tracing::error!("the prover still works on a proof that was stopped");
        }
    }

    /// Deletes the data that SP1 keeps of a proof.
    async fn clean_up(&self, attempt: &Attempt) {
        let proof_id = attempt.proof_id.clone();
        // An error only says that the proof had no tasks yet.
        let _ = self.client.complete_proof(proof_id, None, ProofRequestStatus::Completed, "").await;
        let artifacts = self.worker.artifact_client();
        self.client.cleanup(&attempt.proof_id, artifacts).await;
        let Files { elf, stdin, output } = &attempt.files;
        for file in [elf, stdin, output] {
            let _ = artifacts.delete(file, ArtifactType::UnspecifiedArtifactType).await;
        }
    }

    fn set_current(&self, attempt: Option<Arc<Attempt>>) {
        *self.lock_current() = attempt;
    }

    fn lock_current(&self) -> std::sync::MutexGuard<'_, Option<Arc<Attempt>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mode as SP1's controller reads it.
fn wire_mode(mode: SP1ProofMode) -> ProofMode {
    match mode {
        SP1ProofMode::Core => ProofMode::Core,
        SP1ProofMode::Compressed => ProofMode::Compressed,
        SP1ProofMode::Plonk => ProofMode::Plonk,
        SP1ProofMode::Groth16 => ProofMode::Groth16,
    }
}
