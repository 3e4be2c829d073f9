//! SP1's prover, task by task.
//!
//! SP1 cuts a proof into tasks, puts them into queues and leaves it to the host who works on them. Its
//! own local node does so too, but it cannot be asked how far it is, cannot be stopped, and waits
//! forever for a task that has panicked. This one runs the same tasks on the same engine and can.
//!
//! One proof at a time. To stop it, no further step of any task is started; a step that computes
//! cannot be interrupted, so the node waits until SP1's permits, which each proving step holds, are
//! all back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use network_lib::ids::random_bytes;
use network_lib::job::{Progress, ProofMode};
use network_lib::task;
use sp1_hypercube::prover::{CpuShardProver, ProverSemaphore};
use sp1_prover::worker::{
    CoreExecuteTaskRequest, LocalWorkerClient, ProofId, ProveShardTaskRequest, RawTaskRequest,
    RequesterId, SP1Worker, SP1WorkerBuilder, TaskContext, TaskId, WorkerClient,
};
use sp1_prover::{
    CpuSP1ProverComponents, CpuWrapProverBuilder, SP1ProverComponents, SP1VerifyingKey,
};
use sp1_prover_types::network_base_types::ProofMode as Sp1Mode;
use sp1_prover_types::{
    Artifact, ArtifactClient, ArtifactType, InMemoryArtifactClient, ProofArtifacts,
    ProofRequestStatus, TaskStatus, TaskType,
};
use sp1_sdk::{ProofFromNetwork, RiscvAir, SP1Stdin};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::BoxFuture;
use crate::attempt::{Attempt, Files, Trouble, isolated, joined};
use crate::clock::clock_ticks;
use crate::runtime::caught;
use crate::tally::{Step, Tally};

/// Steps that prove at the same time, as in SP1's own node.
const PERMITS: u32 = 4;

/// How often a task is tried that SP1 calls retryable.
const TRIES: u32 = 3;

/// After a stop, the longest wait for steps that still compute.
const LONGEST_WIND_DOWN: Duration = Duration::from_secs(30 * 60);

type Worker = SP1Worker<InMemoryArtifactClient, LocalWorkerClient, CpuSP1ProverComponents>;
type Queue = mpsc::Receiver<(TaskId, RawTaskRequest)>;
type Running = BoxFuture<Result<(), Trouble>>;

/// SP1's prover on this machine's processors.
pub struct Node {
    worker: Worker,
    client: LocalWorkerClient,
    permits: ProverSemaphore,
    turn: tokio::sync::Mutex<()>,
    current: Mutex<Option<Arc<Attempt>>>,
}

/// What is to be proved.
pub struct Assignment {
    /// The program.
    pub elf: Arc<Vec<u8>>,
    /// Its verifying key.
    pub key: SP1VerifyingKey,
    /// Its input.
    pub stdin: SP1Stdin,
    /// Kind of proof.
    pub mode: ProofMode,
    /// What progress is counted in, with nothing counted yet.
    pub tally: Tally,
}

impl Node {
    /// Builds the prover. Takes a minute or two: it compiles SP1's recursion programs.
    ///
    /// # Errors
    ///
    /// When SP1 cannot build it.
    pub fn build() -> BoxFuture<anyhow::Result<Arc<Self>>> {
        Box::pin(Self::build_now())
    }

    async fn build_now() -> anyhow::Result<Arc<Self>> {
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
            .build()
            .await?;
        let node = Arc::new(Self {
            worker,
            client,
            permits,
            turn: tokio::sync::Mutex::default(),
            current: Mutex::default(),
        });
        for (kind, queue) in channels.task_receivers {
            task::spawn("prover queue", Arc::clone(&node).serve(kind, queue));
        }
        Ok(node)
    }

    /// Makes a proof. After `cancel`, or after a failure, it returns once no proving step computes
    /// any more.
    ///
    /// # Errors
    ///
    /// What went wrong, in one line.
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
        let _turn = self.turn.lock().await;
        let name = hex::encode(random_bytes::<16>());
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
            outcome = self.control(&attempt, assignment) => outcome,
            () = cancel.cancelled() => Err("cancelled".to_owned()),
        };
        attempt.stop.cancel();
        attempt.tasks.close();
        attempt.tasks.wait().await;
        self.set_current(None);
        self.wait_until_idle().await;
        self.forget(&attempt).await;
        outcome
    }

    /// How far the current proof is.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let attempt = self.lock_current().clone()?;
        let tally = attempt.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Some(tally.progress(attempt.start.elapsed()))
    }

    /// What one unit of work has taken in the current proof so far.
    #[must_use]
    pub fn seconds_per_unit(&self) -> Option<f64> {
        let attempt = self.lock_current().clone()?;
        let tally = attempt.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.seconds_per_unit()
    }

    /// Lets SP1's controller take the proof through its tasks.
    async fn control(
        &self,
        attempt: &Attempt,
        assignment: Assignment,
    ) -> Result<ProofFromNetwork, String> {
        let artifacts = self.worker.artifact_client();
        let text = |error: anyhow::Error| format!("{error:#}");
        let Files { elf, stdin, output } = &attempt.files;
        let mode = Artifact::from((sp1_mode(assignment.mode) as i32).to_string());
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

    /// Works off one of SP1's queues.
    async fn serve(self: Arc<Self>, kind: TaskType, mut queue: Queue) {
        while let Some((id, request)) = queue.recv().await {
            if kind == TaskType::MarkerDeferredRecord {
                // Marks a place; the shard that fills it settles it.
                continue;
            }
            let Some(attempt) = self.attempt_of(&request) else {
                self.settle(id, TaskStatus::FailedFatal).await;
                continue;
            };
            let step = self.step_of(kind, &request).await;
            if let Some(step) = step {
                attempt.count(|tally| tally.submitted(step));
            }
            // Waiting here for room in the engine is what keeps SP1 from cutting up the whole program
            // into memory at once.
            let submitted = self.submit(kind, &id, &request, &attempt);
            let Some(submitted) = attempt.stop.run_until_cancelled(submitted).await else {
                self.settle(id, TaskStatus::FailedFatal).await;
                continue;
            };
            let node = Arc::clone(&self);
            let tracked = attempt.tasks.track_future({
                let attempt = Arc::clone(&attempt);
                async move {
                    let work = node.carry_out(kind, &id, &request, &attempt, submitted);
                    let succeeded = attempt.stop.run_until_cancelled(work).await.unwrap_or(false);
                    if succeeded && let Some(step) = step {
                        attempt.count(|tally| tally.done(step, attempt.start.elapsed()));
                    }
                    let status =
                        if succeeded { TaskStatus::Succeeded } else { TaskStatus::FailedFatal };
                    node.settle(id, status).await;
                }
            });
            task::spawn("prover task", tracked);
        }
    }

    /// Waits for a submitted task, trying again where SP1 says that it may help.
    async fn carry_out(
        &self,
        kind: TaskType,
        id: &TaskId,
        request: &RawTaskRequest,
        attempt: &Arc<Attempt>,
        mut submitted: Result<Running, Trouble>,
    ) -> bool {
        for tries_left in (0..TRIES).rev() {
            let outcome = match submitted {
                Ok(running) => running.await,
                Err(trouble) => Err(trouble),
            };
            let Err(Trouble { retryable, reason }) = outcome else { return true };
            tracing::warn!(task = kind.as_str_name(), reason, retryable, "a prover task failed");
            if !retryable || tries_left == 0 {
                attempt.note_error(format!("{}: {reason}", kind.as_str_name()));
                return false;
            }
            submitted = self.submit(kind, id, request, attempt).await;
        }
        false
    }

    /// Hands a task to SP1's engine.
    async fn submit(
        &self,
        kind: TaskType,
        id: &TaskId,
        request: &RawTaskRequest,
        attempt: &Arc<Attempt>,
    ) -> Result<Running, Trouble> {
        let engine = self.worker.prover_engine();
        let request = request.clone();
        let worker = self.worker.clone();
        let running: Running = match kind {
            TaskType::SetupVkey => {
                // The key is known already: it was checked before the execution.
                let output = request.outputs.first().ok_or_else(|| Trouble::fatal("no output"))?;
                let artifacts = self.worker.artifact_client();
                artifacts.upload(output, attempt.key.clone()).await.map_err(Trouble::fatal)?;
                Box::pin(async { Ok(()) })
            }
            TaskType::ProveShard => {
                let handle = engine.submit_prove_core_shard(request).await?;
                Box::pin(async move { joined(handle.await) })
            }
            TaskType::RecursionReduce => {
                let handle = engine.submit_recursion_reduce(request).await?;
                Box::pin(async move { joined(handle.await) })
            }
            TaskType::RecursionDeferred => {
                let handle = engine.submit_prove_deferred(request).await?;
                Box::pin(async move { joined(handle.await) })
            }
            TaskType::CoreExecute => {
                let id = id.clone();
                let attempt = Arc::clone(attempt);
                Box::pin(isolated(async move {
                    let request = CoreExecuteTaskRequest::from_raw(request)?;
                    worker.controller().execute(id, request).await?;
                    attempt.count(Tally::all_shards_submitted);
                    Ok(())
                }))
            }
            TaskType::ShrinkWrap => Box::pin(isolated(async move {
                worker.prover_engine().run_shrink_wrap(request).await.map(drop)
            })),
            TaskType::PlonkWrap => {
                Box::pin(isolated(async move { worker.prover_engine().run_plonk(request).await }))
            }
            TaskType::Groth16Wrap => {
                Box::pin(isolated(async move { worker.prover_engine().run_groth16(request).await }))
            }
            _ => return Err(Trouble::fatal("no such task is expected here")),
        };
        Ok(running)
    }

    /// What a task counts for in the tally.
    async fn step_of(&self, kind: TaskType, request: &RawTaskRequest) -> Option<Step> {
        match kind {
            TaskType::ProveShard => Some(Step::Shard { ticks: self.ticks_of(request).await }),
            TaskType::RecursionReduce => Some(Step::Reduce),
            TaskType::RecursionDeferred => Some(Step::Deferred),
            TaskType::ShrinkWrap | TaskType::PlonkWrap | TaskType::Groth16Wrap => Some(Step::Wrap),
            _ => None,
        }
    }

    /// How much of SP1's clock a shard covers, if it is one of the execution.
    async fn ticks_of(&self, request: &RawTaskRequest) -> Option<u64> {
        let shard = ProveShardTaskRequest::from_raw(request.clone()).ok()?;
        // Only these leave precompile events behind.
        shard.deferred_output?;
        let artifacts = self.worker.artifact_client();
        let bytes = artifacts
            .download_raw(&shard.record, ArtifactType::UnspecifiedArtifactType)
            .await
            .ok()?;
        clock_ticks(&bytes)
    }

    /// Waits until no proving step computes any more.
    async fn wait_until_idle(&self) {
        let all = self.permits.clone().acquire_many(PERMITS);
        if tokio::time::timeout(LONGEST_WIND_DOWN, all).await.is_err() {
            tracing::error!("the prover still computes for a proof that was given up");
        }
    }

    /// Frees what SP1 keeps of a proof.
    async fn forget(&self, attempt: &Attempt) {
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

    /// Tells SP1 how a task ended.
    async fn settle(&self, id: TaskId, status: TaskStatus) {
        // An error only says that nobody waits for the task any more.
        let _ = self.client.update_task_status(id, status).await;
    }

    fn attempt_of(&self, request: &RawTaskRequest) -> Option<Arc<Attempt>> {
        let current = self.lock_current().clone()?;
        let wanted = current.proof_id == request.context.proof_id && !current.stop.is_cancelled();
        wanted.then_some(current)
    }

    fn set_current(&self, attempt: Option<Arc<Attempt>>) {
        *self.lock_current() = attempt;
    }

    fn lock_current(&self) -> std::sync::MutexGuard<'_, Option<Arc<Attempt>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sp1_mode(mode: ProofMode) -> Sp1Mode {
    match mode {
        ProofMode::Core => Sp1Mode::Core,
        ProofMode::Compressed => Sp1Mode::Compressed,
        ProofMode::Plonk => Sp1Mode::Plonk,
        ProofMode::Groth16 => Sp1Mode::Groth16,
    }
}
