//! The `mock` backend: real executions and mock proofs, with the true public values, cycles and gas. For trials of a
//! network in seconds; Hierophant accepts such proofs only if it is configured to.

mod shards;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use network_lib::handshake::{Backend, Capabilities};
use network_lib::job::{Execution, Failure, FailureClass, Phase, Progress, ProofMode};
use sp1_node::mock_proof;
use sp1_prover::SP1_CIRCUIT_VERSION;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::tasks::MockTasks;
use super::helper::Helper;
use super::keys::KeyFiles;
use super::mode::sp1_mode;
use super::prepare::{Prepared, prepare};
use super::program::Programs;
use super::tasks::TaskExecutor;
use super::{EventSink, Executor, ProveJob, Proved, unless_cancelled};
use crate::config::MockShards;
use crate::machine::memory_bytes;

/// Interval between two progress reports.
const TICK: Duration = Duration::from_millis(500);

/// The executor behind `backend = "mock"`.
pub struct MockExecutor {
    helper: Helper,
    programs: Arc<Programs>,
    tasks: Arc<MockTasks>,
    proof_time: Duration,
    capabilities: watch::Sender<Capabilities>,
}

impl MockExecutor {
    /// A mock prover that takes `proof_time` for each proof, offers `modes`, executes programs by `helper` and keeps
    /// verifying keys in `keys`.
    #[must_use]
    pub fn new(
        proof_time: Duration,
        modes: Vec<ProofMode>,
        helper: Helper,
        keys: KeyFiles,
    ) -> Self {
        let capabilities = Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: vec![SP1_CIRCUIT_VERSION.to_owned()],
            modes,
            backend: Backend::Mock,
            slots: 1,
            prefetch: 0,
            memory_bytes: memory_bytes(),
            gpus: Vec::new(),
            unavailable_reason: None,
            sharding: None,
        };
        let programs = Arc::new(Programs::new(keys));
        let tasks = MockTasks::new(helper.clone(), Arc::clone(&programs), MockShards::default(), 1);
        Self {
            helper,
            programs,
            tasks: Arc::new(tasks),
            proof_time,
            capabilities: watch::Sender::new(capabilities),
        }
    }

    /// Has it cut proofs into pseudo shards of these sizes, and prove at most `at_once` of them at the same time.
    #[must_use]
    pub fn with_shards(self, shards: MockShards, at_once: u32) -> Self {
        let (helper, programs) = (self.helper.clone(), Arc::clone(&self.programs));
        Self { tasks: Arc::new(MockTasks::new(helper, programs, shards, at_once)), ..self }
    }

    /// Has it offer to take `jobs` ahead, which are downloaded while it works on another.
    #[must_use]
    pub fn with_prefetch(self, jobs: u32) -> Self {
        self.capabilities.send_modify(|offered| offered.prefetch = jobs);
        self
    }

    async fn run(&self, job: ProveJob, events: &EventSink) -> Result<Proved, Failure> {
        let mode = sp1_mode(job.spec.mode);
        let prepared = prepare(&self.helper, &self.programs, job, true, events).await?;
        let Prepared { program, executed, .. } = prepared;
        self.pretend(&executed.execution, events).await;

        let proof = mock_proof(&program.key, executed.public_values, mode);
        let proof = bincode::serialize(&proof).map_err(|error| {
            Failure::new(FailureClass::Worker, format!("the proof could not be encoded: {error}"))
        })?;
        Ok(Proved { execution: executed.execution, proof })
    }

    /// Waits for the configured duration of a proof, with progress reports as from a real prover.
    async fn pretend(&self, execution: &Execution, events: &EventSink) {
        let start = Instant::now();
        loop {
            let elapsed = start.elapsed().min(self.proof_time);
            let left = self.proof_time - elapsed;
            let fraction = match self.proof_time.is_zero() {
                true => 1.0,
                false => elapsed.as_secs_f64() / self.proof_time.as_secs_f64(),
            };
            events.progress(Progress {
                fraction: Some(fraction as f32),
                cycles_done: Some((execution.cycles as f64 * fraction) as u64),
                cycles_total: Some(execution.cycles),
                eta_seconds: Some(left.as_secs_f64().ceil() as u64),
                ..Progress::phase(Phase::Proving)
            });
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(TICK.min(left)).await;
        }
    }
}

#[async_trait]
impl Executor for MockExecutor {
    fn capabilities(&self) -> watch::Receiver<Capabilities> {
        self.capabilities.subscribe()
    }

    fn tasks(&self) -> Option<Arc<dyn TaskExecutor>> {
        Some(Arc::clone(&self.tasks) as _)
    }

    fn start(&self) {
        self.helper.start();
    }

    async fn prove(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure> {
        // Dropping the run stops it at once, with its execution.
        unless_cancelled(&cancel, self.run(job, &events)).await
    }
}
