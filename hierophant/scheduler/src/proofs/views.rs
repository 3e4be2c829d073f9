//! What the scheduler is shown as, and what it is shown of arriving workers.

use std::collections::BTreeMap;

use hierophant_model::commands::Paused;
use hierophant_model::records::{JobRecord, Millis, RequestRecord};
use network_lib::handshake::{Backend, Capabilities, Welcome};
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, VkHash, WorkerId};
use network_lib::job::{Progress, ProofMode};

use super::lease::WorkerStats;
use crate::SessionId;

/// What `registry` knows of a worker that it has admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerJoined {
    /// Its id.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// What it can prove.
    pub capabilities: Capabilities,
    /// Attempts that it says it holds from an earlier connection.
    pub held: Vec<LeaseId>,
    /// Why an operator has it take no more jobs, if so.
    pub drained: Option<String>,
    /// The welcome to send, without the attempts to resume.
    pub welcome: Welcome,
}

/// What the holder of a lease may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseAccess {
    /// The job of the attempt.
    pub job: JobId,
    /// The program's bytes.
    pub program: ArtifactId,
    /// The input's bytes.
    pub stdin: ArtifactId,
}

/// A proof in the making, for people.
#[derive(Debug, Clone)]
pub struct RunningProof {
    /// The job.
    pub job: JobId,
    /// The requests that wait for it.
    pub requests: Vec<RequestId>,
    /// The program.
    pub program: VkHash,
    /// Kind of proof.
    pub mode: ProofMode,
    /// When the attempt started.
    pub started_at: Millis,
    /// Latest word from the worker.
    pub progress: Option<Progress>,
    /// Whether another worker is at the same job.
    pub raced: bool,
}

/// A worker as the scheduler sees it, for people.
#[derive(Debug, Clone)]
pub struct WorkerWork {
    /// Its id.
    pub worker: WorkerId,
    /// What makes its proofs.
    pub backend: Backend,
    /// What it can prove.
    pub capabilities: Capabilities,
    /// Whether it takes no more jobs.
    pub draining: bool,
    /// How it has done.
    pub stats: WorkerStats,
    /// What it is working on.
    pub running: Vec<RunningProof>,
}

/// The scheduler at a glance.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Jobs that wait.
    pub waiting: usize,
    /// The same, by kind of proof.
    pub waiting_by_mode: BTreeMap<ProofMode, usize>,
    /// When the oldest of them was created.
    pub oldest_waiting: Option<Millis>,
    /// Jobs that are not terminal.
    pub unfinished: usize,
    /// Why nothing is given out, if so.
    pub paused: Option<Paused>,
    /// Connected workers.
    pub workers: Vec<WorkerWork>,
}

/// A job that waits.
#[derive(Debug, Clone)]
pub struct QueuedJob {
    /// What is stored about it.
    pub record: JobRecord,
    /// Who waits for it.
    pub requests: Vec<RequestRecord>,
    /// In how many milliseconds its proof may be there, estimated from the latest proofs of its kind;
    /// `None` if there were none, of it or of what goes before it, or if nobody takes it.
    pub eta_ms: Option<u64>,
}

/// Why a job has no proof yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// In a sentence.
    pub reason: String,
    /// How many jobs go before it, if it waits.
    pub ahead: Option<usize>,
}
