//! What makes proofs: one trait, so that the rest of the program knows no prover.
//!
//! An executor gets bytes as the client encoded them and returns bytes as the client will decode
//! them. Everything between is its own affair, and its SP1 types stay in this module's folder.

use std::sync::Arc;

use async_trait::async_trait;
use network_lib::handshake::{Capabilities, GpuLoad};
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{Execution, Failure, FailureClass, JobSpec, Phase, Progress};
use network_lib::metrics::Counter;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attempt::{JobEvent, Outcome};
use crate::observed::Observed;

pub mod cpu;
pub mod cuda;
mod encode;
mod execute;
pub mod keys;
pub mod mock;
mod mode;
mod program;

/// Makes proofs, one or more at a time.
#[async_trait]
pub trait Executor: Send + Sync {
    /// What it can prove, now and from now on: modes appear as the prover warms up. `slots` is never more
    /// than at first.
    fn capabilities(&self) -> watch::Receiver<Capabilities>;

    /// Counts the prover servers that it starts, if it needs any.
    fn server_starts(&self) -> Counter {
        Counter::default()
    }

    /// How busy the GPUs of its capabilities are, in the same order; empty where that is not known.
    fn gpu_loads(&self) -> watch::Receiver<Vec<GpuLoad>> {
        watch::channel(Vec::new()).1
    }

    /// Begins what must not be done by two programs on one data folder. Called once, when the folder is
    /// locked.
    fn start(&self) {}

    /// Ends what would outlive the program, such as containers. Called once, when no more proofs are wanted.
    async fn stop(&self) {}

    /// Executes and proves one job. Reports progress and, as soon as it is known, what the execution
    /// found.
    ///
    /// Once `cancel` fires, the result is no longer wanted. The call may go on for as long as the
    /// machine is still busy with the job: its slot is free when it returns, not before.
    ///
    /// # Errors
    ///
    /// A [`Failure`] whose class says who is to blame. A panic inside the prover is one too and never
    /// leaves this call.
    async fn prove(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure>;
}

/// One job as the executor needs it: downloaded, checked and unpacked.
#[derive(Debug, Clone)]
pub struct ProveJob {
    /// What to prove.
    pub spec: JobSpec,
    /// Digest of the program as it was uploaded: the same digest means the same program.
    pub program_digest: Sha256Digest,
    /// The program's ELF.
    pub elf: Arc<Vec<u8>>,
    /// Bincode of SP1's `SP1Stdin`, not compressed.
    pub stdin: Vec<u8>,
}

/// A made proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// What the execution found.
    pub execution: Execution,
    /// Bincode of SP1's `ProofFromNetwork`.
    pub proof: Vec<u8>,
}

/// Where an attempt's events go. Cheap to clone; events of one attempt keep their order.
#[derive(Debug, Clone)]
pub struct EventSink {
    lease_id: LeaseId,
    observed: Option<Arc<Observed>>,
    sender: mpsc::UnboundedSender<(LeaseId, JobEvent)>,
}

impl EventSink {
    /// A sink for the events of `lease_id`.
    #[must_use]
    pub fn new(lease_id: LeaseId, sender: mpsc::UnboundedSender<(LeaseId, JobEvent)>) -> Self {
        Self { lease_id, observed: None, sender }
    }

    /// The same sink, which also tells the log, the metrics and the trace of this attempt.
    pub(crate) fn observed(self, by: Arc<Observed>) -> Self {
        Self { observed: Some(by), ..self }
    }

    /// Tells how far the attempt is.
    pub fn progress(&self, progress: Progress) {
        self.send(JobEvent::Progress(progress));
    }

    /// Tells that a new step has begun.
    pub fn phase(&self, phase: Phase) {
        self.progress(Progress::phase(phase));
    }

    /// Tells what the execution found.
    pub fn executed(&self, execution: Execution) {
        self.send(JobEvent::Executed(execution));
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        self.send(JobEvent::Ended(outcome));
    }

    fn send(&self, event: JobEvent) {
        if let Some(observed) = &self.observed {
            observed.note(&event);
        }
        // Without a receiver the program is ending, and nobody wants to know.
        let _ = self.sender.send((self.lease_id, event));
    }
}

/// What a cancelled attempt returns. Nobody reads it.
#[must_use]
pub fn cancelled() -> Failure {
    Failure::new(FailureClass::Infrastructure, "cancelled")
}

/// Main memory of this machine in bytes, 0 if it cannot be known.
#[must_use]
pub fn memory_bytes() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else { return 0 };
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}
