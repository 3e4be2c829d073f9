//! An executor that does what the test says.

use std::sync::Arc;

use async_trait::async_trait;
use contemplant::executor::tasks::TaskExecutor;
use contemplant::executor::{EventSink, Executor, ProveJob, Proved, cancelled};
use network_lib::handshake::{Backend, Capabilities, GpuLoad};
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{Execution, Failure, ProofMode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fake_tasks::{FakeTasks, TaskControl};
use crate::waiting::PATIENCE;

pub(crate) struct FakeExecutor {
    capabilities: watch::Receiver<Capabilities>,
    gpu_loads: watch::Receiver<Vec<GpuLoad>>,
    calls: mpsc::UnboundedSender<Call>,
    forgotten: mpsc::UnboundedSender<LeaseId>,
    tasks: Arc<FakeTasks>,
}

/// The test's hold on an executor.
pub(crate) struct Control {
    pub(crate) capabilities: watch::Sender<Capabilities>,
    pub(crate) gpu_loads: watch::Sender<Vec<GpuLoad>>,
    calls: mpsc::UnboundedReceiver<Call>,
    forgotten: mpsc::UnboundedReceiver<LeaseId>,
    pub(crate) tasks: TaskControl,
}

/// One job that is being proved.
pub(crate) struct Call {
    pub(crate) job: ProveJob,
    pub(crate) events: EventSink,
    pub(crate) cancel: CancellationToken,
    finish: oneshot::Sender<Result<Proved, Failure>>,
}

impl FakeExecutor {
    pub(crate) fn new() -> (Self, Control) {
        let (sender, receiver) = watch::channel(Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: vec!["v6.1.0".to_owned()],
            modes: vec![ProofMode::Core],
            backend: Backend::Cpu,
            slots: 1,
            prefetch: 0,
            memory_bytes: 0,
            gpus: Vec::new(),
            unavailable_reason: None,
            sharding: None,
        });
        let (calls_sender, calls) = mpsc::unbounded_channel();
        let (loads_sender, gpu_loads) = watch::channel(Vec::new());
        let (forgotten_sender, forgotten) = mpsc::unbounded_channel();
        let (fake_tasks, tasks) = FakeTasks::new();
        let executor = Self {
            capabilities: receiver,
            gpu_loads,
            calls: calls_sender,
            forgotten: forgotten_sender,
            tasks: Arc::new(fake_tasks),
        };
        let gpu_loads = loads_sender;
        (executor, Control { capabilities: sender, gpu_loads, calls, forgotten, tasks })
    }
}

impl Control {
    /// Whether a job has been given to the executor that the test has not seen yet.
    pub(crate) fn has_call(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The next attempt of which the executor need keep nothing.
    pub(crate) async fn next_forgotten(&mut self) -> LeaseId {
        timeout(PATIENCE, self.forgotten.recv()).await.expect("no attempt is forgotten").unwrap()
    }

    /// Whether an attempt was forgotten that the test has not seen yet.
    pub(crate) fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    pub(crate) async fn next_call(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv())
            .await
            .expect("no job is given to the executor")
            .unwrap()
    }
}

impl Call {
    /// Waits for the cancellation.
    pub(crate) async fn expect_cancelled(&self) {
        timeout(PATIENCE, self.cancel.cancelled()).await.expect("it is not cancelled");
    }

    pub(crate) fn finish(self, outcome: Result<Proved, Failure>) {
        // After a cancellation there is no receiver.
        let _ = self.finish.send(outcome);
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    fn capabilities(&self) -> watch::Receiver<Capabilities> {
        self.capabilities.clone()
    }

    fn gpu_loads(&self) -> watch::Receiver<Vec<GpuLoad>> {
        self.gpu_loads.clone()
    }

    fn forget(&self, lease_id: LeaseId) {
        // A program that ends may forget after the test.
        let _ = self.forgotten.send(lease_id);
    }

    fn tasks(&self) -> Option<Arc<dyn TaskExecutor>> {
        Some(self.tasks.clone())
    }

    /// Returns when the test says so, also after a cancellation: as a prover that winds down.
    async fn prove(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure> {
        let (finish, finished) = oneshot::channel();
        self.calls.send(Call { job, events, cancel, finish }).unwrap();
        finished.await.unwrap_or_else(|_| Err(cancelled()))
    }
}

pub(crate) fn execution() -> Execution {
    Execution { cycles: 1234, gas: Some(99), public_values_hash: Sha256Digest([3; 32]) }
}

pub(crate) fn proved() -> Result<Proved, Failure> {
    proved_as(b"a proof".to_vec())
}

pub(crate) fn proved_as(proof: Vec<u8>) -> Result<Proved, Failure> {
    Ok(Proved { execution: execution(), proof })
}
