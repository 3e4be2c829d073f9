//! SP1's prover, task by task.
//!
//! SP1 cuts a proof into tasks and leaves their execution to its host. SP1's own local node executes them too, but
//! reports no progress, cannot be stopped, waits forever for a task that has panicked, and begins again after a
//! restart. This node runs the same tasks on the same engine without these limits: `depot` has the bytes that tasks
//! exchange, `link` connects the engine, and `conductor` decides what is run.
//!
//! It makes one whole proof at a time, or single tasks of proofs that several workers make. After a
//! stop it starts no further step of any task; a running step cannot be interrupted, so the node waits
//! until SP1's permits, one for each running step, are all returned.

mod conductor;
mod recursion;
mod shard;
mod single;
mod tasks;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sp1_core_machine::io::SP1Stdin;
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::prover::{CpuShardProver, ProverSemaphore};
use sp1_prover::worker::{ProofId, SP1Worker, SP1WorkerBuilder, SP1WorkerConfig};
use sp1_prover::{
    CpuSP1ProverComponents, CpuWrapProverBuilder, SP1ProverComponents, SP1VerifyingKey,
};
use sp1_verifier::{ProofFromNetwork, SP1ProofMode};
use tokio_util::sync::CancellationToken;

use self::conductor::Conductor;
pub use self::recursion::{RecursionAssignment, RecursionError, RecursionInputs};
use self::single::Single;
pub use self::single::{ProvedTask, ShardAssignment};
use crate::BoxFuture;
use crate::attempt::Attempt;
use crate::depot::{self, Depot, Usage};
use crate::kept::KeptShards;
use crate::link::TaskLink;
use crate::tally::{Estimate, Tally};

/// The longest wait, after a stop, for steps that still run.
const MAX_WIND_DOWN: Duration = Duration::from_secs(30 * 60);

type Worker = SP1Worker<Depot, TaskLink, CpuSP1ProverComponents>;

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

/// How a prover is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The proofs to build it for.
    pub scope: Scope,
    /// Most shards that are traced or proved at the same time, and most proving steps of any kind. SP1's own node has 4.
    pub shards_at_once: u32,
    /// Most bytes of records, events and proofs that wait in memory.
    pub depot_bytes: u64,
}

impl Settings {
    /// The settings of SP1's own node, without a limit of waiting data.
    #[must_use]
    pub const fn of_sp1(scope: Scope) -> Self {
        Self { scope, shards_at_once: 4, depot_bytes: u64::MAX }
    }

    fn apply(self, config: &mut SP1WorkerConfig) {
        let prover = &mut config.prover_config;
        let recursion = &mut prover.recursion_prover_config;
        recursion.max_compose_arity = self.scope.compose_arity(recursion.max_compose_arity);
        // Each worker has the traces of one shard in memory, before and while it has a permit.
        let shards = self.shards_at_once as usize;
        prover.core_prover_config.num_core_workers = shards;
        let recursion_steps = recursion.num_recursion_executor_workers.min(shards);
        recursion.num_recursion_executor_workers = recursion_steps;
        recursion.num_recursion_prover_workers =
            recursion.num_recursion_prover_workers.min(2 * shards);
    }

    /// Most shards that wait or are proved: some more than are proved, so that the next one is there in time.
    const fn window(self) -> usize {
        2 * self.shards_at_once as usize + 2
    }
}

/// SP1's prover on this machine's processors.
pub struct Node {
    worker: Worker,
    settings: Settings,
    permits: ProverSemaphore,
    /// Held for a whole proof alone, for single tasks together.
    turn: tokio::sync::RwLock<()>,
    /// Scope of what the engine names while it does single tasks.
    of_engine: Mutex<Weak<depot::Scope>>,
    current: Mutex<Option<Arc<Attempt>>>,
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
    /// Where finished shards are kept for another attempt, if they are.
    pub kept: Option<Arc<dyn KeptShards>>,
}

impl Node {
    /// Builds the prover. With [`Scope::Every`] it takes a minute or two, in which SP1's recursion programs are
    /// compiled.
    ///
    /// # Errors
    ///
    /// When SP1 cannot build it.
    pub fn build(settings: Settings) -> BoxFuture<anyhow::Result<Arc<Self>>> {
        Box::pin(Self::build_now(settings))
    }

    async fn build_now(settings: Settings) -> anyhow::Result<Arc<Self>> {
        let machine = RiscvAir::machine();
        let permits = ProverSemaphore::new(settings.shards_at_once as usize);
        let core = CpuSP1ProverComponents::core_verifier(machine.clone());
        let compress = CpuSP1ProverComponents::compress_verifier();
        let shrink = CpuSP1ProverComponents::shrink_verifier();
        let core = CpuShardProver::new(core.shard_verifier().clone());
        let compress = CpuShardProver::new(compress.shard_verifier().clone());
        let shrink = CpuShardProver::new(shrink.shard_verifier().clone());

        let worker = SP1WorkerBuilder::<CpuSP1ProverComponents>::new_with_machine(machine)
            .with_artifact_client(Depot::new(settings.depot_bytes))
            .with_worker_client(TaskLink::default())
            .with_core_air_prover(Arc::new(core), permits.clone())
            .with_compress_air_prover(Arc::new(compress), permits.clone())
            .with_shrink_air_prover(Arc::new(shrink), permits.clone())
            .with_wrap_air_prover(CpuWrapProverBuilder, permits.clone())
            .with_config(|config| settings.apply(config))
            .build()
            .await?;
        Ok(Arc::new(Self {
            worker,
            settings,
            permits,
            turn: tokio::sync::RwLock::default(),
            of_engine: Mutex::default(),
            current: Mutex::default(),
        }))
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
        if self.settings.scope == Scope::Core && assignment.mode != SP1ProofMode::Core {
            return Err("the prover was built for Core proofs alone".to_owned());
        }
        let _turn = self.turn.write().await;
        let depot = self.worker.artifact_client();
        let scope = depot.open_for_engine(self.settings.window());
        let proof = ProofId::new(scope.number().to_string());
        let orders = self.worker.worker_client().open(&proof);
        let attempt = Arc::new(Attempt::new(assignment.tally.clone()));
        self.set_current(Some(Arc::clone(&attempt)));
        let mut conductor =
            Conductor::new(self.worker.clone(), proof.clone(), attempt, &assignment);
        let outcome = tokio::select! {
            outcome = conductor.conduct(assignment, orders) => outcome,
            () = cancel.cancelled() => Err("cancelled".to_owned()),
        };
        // First what tasks wait for, so that none of them waits for another one's end.
        drop(scope);
        self.worker.worker_client().close(&proof);
        conductor.stop().await;
        self.set_current(None);
        self.wait_for_permits(self.settings.shards_at_once).await;
        outcome
    }

    /// Proves a single shard; of several ones as many at once as the settings allow. Waits while a whole proof is made.
    /// After `cancel` and after a failure it returns once there is room for another shard.
    ///
    /// # Errors
    ///
    /// The error of SP1, or of the shard's data, in one line.
    pub fn prove_shard(
        self: &Arc<Self>,
        assignment: ShardAssignment,
        cancel: CancellationToken,
    ) -> BoxFuture<Result<ProvedTask, String>> {
        let node = Arc::clone(self);
        Box::pin(async move { node.prove_shard_now(assignment, cancel).await })
    }

    async fn prove_shard_now(
        &self,
        assignment: ShardAssignment,
        cancel: CancellationToken,
    ) -> Result<ProvedTask, String> {
        let cancelled = || "cancelled".to_owned();
        let prove = async |single: &Single| {
            single.prove(assignment).await.map_err(|error| format!("{error:#}"))
        };
        self.do_single(cancel, prove, cancelled).await
    }

    /// Does a single task above the shards. As for [`Node::prove_shard`], it waits while a whole proof is made.
    ///
    /// # Errors
    ///
    /// [`RecursionError`] distinguishes false inputs from failures of the prover.
    pub fn join(
        self: &Arc<Self>,
        assignment: RecursionAssignment,
        cancel: CancellationToken,
    ) -> BoxFuture<Result<ProvedTask, RecursionError>> {
        let node = Arc::clone(self);
        Box::pin(async move {
            let failed = |reason: &str| RecursionError::Failed(reason.to_owned());
            if node.settings.scope == Scope::Core {
                return Err(failed("the prover was built for shards alone"));
            }
            let join = async |single: &Single| single.join(assignment).await;
            node.do_single(cancel, join, || failed("cancelled")).await
        })
    }

    async fn do_single<E>(
        &self,
        cancel: CancellationToken,
        work: impl AsyncFnOnce(&Single) -> Result<ProvedTask, E>,
        cancelled: impl Fn() -> E,
    ) -> Result<ProvedTask, E> {
        let turn = cancel.run_until_cancelled(self.turn.read()).await;
        let _turn = turn.ok_or_else(&cancelled)?;
        let single = Single::new(self.worker.clone(), self.of_engine());
        let done = cancel.run_until_cancelled(work(&single)).await;
        drop(single);
        let failure = match done {
            Some(Ok(proved)) => return Ok(proved),
            Some(Err(error)) => error,
            None => cancelled(),
        };
        // What was stopped may still hold a permit.
        self.wait_for_permits(1).await;
        Err(failure)
    }

    fn of_engine(&self) -> Arc<depot::Scope> {
        let mut current = self.of_engine.lock().unwrap_or_else(PoisonError::into_inner);
        current.upgrade().unwrap_or_else(|| {
            let opened = Arc::new(self.worker.artifact_client().open_for_engine(1));
            *current = Arc::downgrade(&opened);
            opened
        })
    }

    /// The largest trace area of a shard that is cut or proved here, in cells.
    #[must_use]
    pub fn max_elements(&self) -> u64 {
        self.worker.controller().opts().sharding_threshold.element_threshold
    }

    /// Bytes of records, events and proofs that the current proof has in memory.
    #[must_use]
    pub fn depot_usage(&self) -> Usage {
        self.worker.artifact_client().usage()
    }

    /// Estimate of the current proof's progress.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        let attempt = self.lock_current().clone()?;
        Some(attempt.estimate())
    }

    /// Seconds that one unit of work has taken in the current proof so far.
    #[must_use]
    pub fn seconds_per_unit(&self) -> Option<f64> {
        let attempt = self.lock_current().clone()?;
        attempt.count(|tally| tally.seconds_per_unit())
    }

    /// Waits until this number of permits is free, of which each proving step holds one.
    async fn wait_for_permits(&self, permits: u32) {
        let free = self.permits.clone().acquire_many(permits);
        if tokio::time::timeout(MAX_WIND_DOWN, free).await.is_err() {
            tracing::error!("the prover still works on a proof that was stopped");
        }
    }

    fn set_current(&self, attempt: Option<Arc<Attempt>>) {
        *self.lock_current() = attempt;
    }

    fn lock_current(&self) -> std::sync::MutexGuard<'_, Option<Arc<Attempt>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
