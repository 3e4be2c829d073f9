//! The interface to provers: one trait, so that the rest of the program depends on no prover.
//!
//! An executor receives bytes as the client encoded them and returns bytes as the client will decode them. SP1's
//! types are used in this module's folder only.

use std::sync::Arc;

use async_trait::async_trait;
use network_lib::handshake::{Capabilities, GpuLoad};
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{Execution, Failure, FailureClass, JobSpec, Phase, Progress};
use network_lib::metrics::Counter;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attempt::{JobEvent, Outcome};
use crate::observer::AttemptObserver;

use self::tasks::TaskExecutor;

pub mod checks;
pub mod cpu;
pub mod cuda;
mod encode;
pub mod example;
mod execute;
pub mod guarded;
pub mod helper;
pub mod keys;
pub mod mock;
mod mode;
mod prepare;
pub mod probe_program;
mod program;
pub mod tasks;

/// Start of `unavailable_reason` while a prover warms up: it offers nothing yet, and needs nothing but time.
pub const WARMING_UP: &str = "warming up: ";

/// A prover that makes one or more proofs at a time.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Its capabilities, now and in future: modes are added as the prover warms up. `slots` never exceeds its first
    /// value.
    fn capabilities(&self) -> watch::Receiver<Capabilities>;

    /// Number of jobs that it takes at once: its slots, and those that it prepares while they are taken. Constant.
    fn jobs_at_once(&self) -> usize {
        self.capabilities().borrow().slots.max(1) as usize
    }

    /// Its prover of single tasks, if it has one.
    fn tasks(&self) -> Option<Arc<dyn TaskExecutor>> {
        None
    }

    /// Counter of the prover servers that it starts.
    fn server_starts(&self) -> Counter {
        Counter::default()
    }

    /// Load of the GPUs in its capabilities, in the same order; empty where it is unknown.
    fn gpu_loads(&self) -> watch::Receiver<Vec<GpuLoad>> {
        watch::channel(Vec::new()).1
    }

    /// Starts work that only one program may do on a data folder. Called once, after the folder is locked.
    fn start(&self) {}

    /// Ends what would outlive the program, such as containers. Called once, after the last proof.
    async fn stop(&self) {}

    /// The proof of this attempt is on disk, or its result is not wanted: what was kept for another attempt at the same job
    /// can go. May block for as long as it takes to delete files.
    fn forget(&self, _lease_id: LeaseId) {}

    /// Executes and proves one job. Reports progress and, as soon as it is known, the result of the execution.
    ///
    /// After `cancel` the result is no longer wanted. The call may continue while the machine is still busy with the
    /// job: its slot is free when the call returns, not before. A job that waits for a slot ends at once.
    ///
    /// Between the result of the execution and the begin of the proof no progress is reported: Hierophant takes the
    /// first progress after that result as a sign that the job has taken a slot.
    ///
    /// # Errors
    ///
    /// A [`Failure`] whose class names the cause. A panic inside the prover is returned as a failure too.
    async fn prove(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure>;
}

/// A job as the executor needs it: downloaded, checked and unpacked.
#[derive(Debug, Clone)]
pub struct ProveJob {
    /// The proof to make.
    pub spec: JobSpec,
    /// Digest of the program as uploaded: the same digest means the same program.
    pub program_digest: Sha256Digest,
    /// The program's ELF.
    pub elf: Arc<Vec<u8>>,
    /// Bincode of SP1's `SP1Stdin`, not compressed.
    pub stdin: Vec<u8>,
}

/// A proof and its execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Result of the execution.
    pub execution: Execution,
    /// Bincode of SP1's `ProofFromNetwork`.
    pub proof: Vec<u8>,
}

/// The sender of an attempt's events. Cheap to clone; the events of one attempt keep their order.
#[derive(Debug, Clone)]
pub struct EventSink {
    lease_id: LeaseId,
    observed: Option<Arc<AttemptObserver>>,
    sender: mpsc::UnboundedSender<(LeaseId, JobEvent)>,
}

impl EventSink {
    /// A sink for the events of `lease_id`.
    #[must_use]
    pub fn new(lease_id: LeaseId, sender: mpsc::UnboundedSender<(LeaseId, JobEvent)>) -> Self {
        Self { lease_id, observed: None, sender }
    }

    /// A sink whose events are not needed.
    #[must_use]
    pub(crate) fn nowhere() -> Self {
        Self::new(LeaseId([0; LeaseId::LEN]), mpsc::unbounded_channel().0)
    }

    /// The same sink, which also passes each event to `by`: the log, metrics and trace of the attempt.
    pub(crate) fn observed(self, by: Arc<AttemptObserver>) -> Self {
        Self { observed: Some(by), ..self }
    }

    /// Sends the progress of the attempt.
    pub fn progress(&self, progress: Progress) {
        self.send(JobEvent::Progress(progress));
    }

    /// Sends the start of a phase.
    pub fn phase(&self, phase: Phase) {
        self.progress(Progress::phase(phase));
    }

    /// Sends how much has been finished in a phase, where nothing else is known: transferred bytes, or seconds of
    /// processor time of an execution. Hierophant stops an attempt whose steps stand still for too long.
    pub fn steps(&self, phase: Phase, done: u64) {
        self.progress(Progress::steps(phase, done));
    }

    /// Sends the result of the execution.
    pub fn executed(&self, execution: Execution) {
        self.send(JobEvent::Executed(execution));
    }

    /// Sends that the job is prepared and waits for a slot.
    pub(crate) fn waiting(&self) {
        self.send(JobEvent::Waiting);
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        self.send(JobEvent::Ended(outcome));
    }

    fn send(&self, event: JobEvent) {
        if let Some(observed) = &self.observed {
            observed.record(&event);
        }
        // Without a receiver the program is ending, and the event is not needed.
        let _ = self.sender.send((self.lease_id, event));
    }
}

/// The outcome of `work`, which is dropped if `cancel` comes first.
pub(crate) async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(cancelled()))
}

/// The failure that a cancelled attempt returns; it is not reported.
#[must_use]
pub fn cancelled() -> Failure {
    Failure::new(FailureClass::Infrastructure, "cancelled")
}
