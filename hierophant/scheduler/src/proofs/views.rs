//! Data that the scheduler reports and receives.

use std::collections::BTreeMap;

use hierophant_model::commands::Paused;
use hierophant_model::records::{JobRecord, Millis, RequestRecord, TaskWait};
use network_lib::handshake::{Backend, Capabilities, Welcome};
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, TaskId, VkHash, WorkerId};
use network_lib::job::{BlobInfo, Progress, ProofMode};
use network_lib::shard::TaskKind;

use super::lease::WorkerStats;
use crate::SessionId;

/// Worker that the registry has admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerJoined {
    /// Worker id.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
    /// Name.
    pub name: String,
    /// Supported modes and versions.
    pub capabilities: Capabilities,
    /// Attempts that the worker still runs from an earlier connection, as it reports.
    pub held: Vec<LeaseId>,
    /// Reason of the drain, if an operator has drained the worker.
    pub drained: Option<String>,
    /// Whether it has the right to private inputs, by its credential and the configuration.
    pub private_inputs: bool,
    /// Welcome message, without the attempts to resume.
    pub welcome: Welcome,
}

/// Data that the holder of a lease may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseAccess {
    /// Job of the attempt.
    pub job: JobId,
    /// Program.
    pub program: ArtifactId,
    /// Input; `None` if the task of the attempt does not read it.
    pub stdin: Option<ArtifactId>,
    /// Requested kind of proof.
    pub mode: ProofMode,
    /// Whether it is an attempt at a task, which hands in no proof.
    pub is_task: bool,
    /// The proof with size and digest, if it is stored.
    pub proof: Option<(ArtifactId, BlobInfo)>,
}

/// Running attempt, for display.
#[derive(Debug, Clone)]
pub struct RunningProof {
    /// Job.
    pub job: JobId,
    /// Open requests of the job.
    pub requests: Vec<RequestId>,
    /// Program.
    pub program: VkHash,
    /// Kind of proof.
    pub mode: ProofMode,
    /// Start of the attempt.
    pub started_at: Millis,
    /// Latest reported progress.
    pub progress: Option<Progress>,
    /// Whether another attempt at the same job is running.
    pub raced: bool,
}

/// Running attempt at a task, for display.
#[derive(Debug, Clone, Copy)]
pub struct RunningTask {
    /// Job.
    pub job: JobId,
    /// Task.
    pub task: TaskId,
    /// Kind.
    pub kind: TaskKind,
    /// Start of the attempt.
    pub started_at: Millis,
}

/// Numbers of a running job's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskNumbers {
    /// Tasks whose results are stored.
    pub done: usize,
    /// All known tasks whose results are needed; the execution announces more.
    pub all: usize,
    /// Running attempts.
    pub running: usize,
    /// Workers that run one or have made a result.
    pub workers: usize,
}

/// Proof that several workers make as tasks, for display.
#[derive(Debug, Clone)]
pub struct DividedProof {
    /// The attempt at the whole job.
    pub proof: RunningProof,
    /// Numbers of its tasks.
    pub tasks: TaskNumbers,
}

/// What an unfinished task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingTask {
    /// Task.
    pub task: TaskId,
    /// What it waits for.
    pub wait: TaskWait,
    /// Worker that holds its record.
    pub holder: Option<WorkerId>,
}

/// State of a connected worker in the scheduler, for display.
#[derive(Debug, Clone)]
pub struct WorkerWork {
    /// Worker id.
    pub worker: WorkerId,
    /// Backend.
    pub backend: Backend,
    /// Supported modes and versions.
    pub capabilities: Capabilities,
    /// Whether it has the right to private inputs.
    pub private_inputs: bool,
    /// Whether the worker accepts no more jobs.
    pub draining: bool,
    /// Statistics.
    pub stats: WorkerStats,
    /// Running attempts.
    pub running: Vec<RunningProof>,
    /// Jobs that are leased ahead to it, in arbitrary order.
    pub ahead: Vec<JobId>,
    /// Running attempts at tasks, in arbitrary order.
    pub tasks: Vec<RunningTask>,
}

/// Summary of the scheduler.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Number of waiting jobs.
    pub waiting: usize,
    /// Number of waiting jobs by kind of proof.
    pub waiting_by_mode: BTreeMap<ProofMode, usize>,
    /// Creation time of the oldest waiting job.
    pub oldest_waiting: Option<Millis>,
    /// Number of jobs that have not ended.
    pub unfinished: usize,
    /// Pause of the dispatch, if it is paused.
    pub paused: Option<Paused>,
    /// Connected workers.
    pub workers: Vec<WorkerWork>,
    /// Proofs that several workers make, oldest first.
    pub divided: Vec<DividedProof>,
    /// Number of their waiting tasks by kind.
    pub waiting_tasks: BTreeMap<TaskKind, usize>,
    /// Most main memory that a task of each kind has taken since the start, in bytes, as reported.
    pub task_memory: BTreeMap<TaskKind, u64>,
}

/// Waiting job.
#[derive(Debug, Clone)]
pub struct QueuedJob {
    /// Stored record.
    pub record: JobRecord,
    /// Open requests of the job.
    pub requests: Vec<RequestRecord>,
    /// Estimated time until it is proved, in milliseconds, from the latest proofs of its kind. `None` if the
    /// duration of this job or of one before it is unknown, if no worker supports it, or if more than ten thousand
    /// jobs precede it.
    pub eta_ms: Option<u64>,
}

/// Reason why a job has no proof yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Reason in one sentence.
    pub reason: String,
    /// Number of jobs ahead of it, if it is waiting.
    pub ahead: Option<usize>,
}
