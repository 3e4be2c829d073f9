//! An attempt at a job or a task: what Hierophant assigns, the events while it runs, and its outcome.

use network_lib::ids::{JobId, LeaseId, TaskId};
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec, Progress};
use network_lib::shard::{TaskInput, TaskKind};

/// An attempt as Hierophant assigns it.
#[derive(Debug, Clone)]
pub struct Job {
    /// The attempt's lease.
    pub lease_id: LeaseId,
    /// What to prove.
    pub spec: JobSpec,
    /// Size and digest of the program as transferred.
    pub program: BlobInfo,
    /// Size and digest of the input as transferred.
    pub stdin: BlobInfo,
    /// The attempt's span context in the job's trace, as W3C's `traceparent`.
    pub traceparent: Option<String>,
}

/// An attempt at a task as Hierophant assigns it.
#[derive(Debug, Clone)]
pub struct TaskOrder {
    /// The attempt's lease.
    pub lease_id: LeaseId,
    /// The job that the task is a part of.
    pub job: JobId,
    /// The task.
    pub task: TaskId,
    /// What to work on.
    pub input: TaskInput,
    /// The attempt's span context in the job's trace, as W3C's `traceparent`.
    pub traceparent: Option<String>,
}

impl TaskOrder {
    /// Kind of the task.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        match self.input {
            TaskInput::Execute { .. } => TaskKind::Execute,
            TaskInput::Measure { .. } => TaskKind::Measure,
            TaskInput::ProveShard { .. } => TaskKind::ProveShard,
            TaskInput::Deferred { .. } => TaskKind::Deferred,
            TaskInput::Reduce { .. } => TaskKind::Reduce,
            TaskInput::ShrinkWrap { .. } => TaskKind::ShrinkWrap,
            TaskInput::Plonk { .. } => TaskKind::Plonk,
            TaskInput::Groth16 { .. } => TaskKind::Groth16,
            TaskInput::Retrace { .. } => TaskKind::Retrace,
        }
    }
}

/// An event of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    /// It made progress.
    Progress(Progress),
    /// The program has been executed.
    Executed(Execution),
    /// It waits until a slot is free. Only observed, not sent: its slot begins with the next progress.
    Waiting,
    /// It has ended, and the machine is free again.
    Ended(Outcome),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The proof is uploaded.
    Completed {
        /// What the execution found.
        execution: Execution,
        /// Size and digest of the proof.
        proof: BlobInfo,
    },
    /// No proof was made.
    Failed(Failure),
    /// It was cancelled, or the program ends; nothing is reported.
    Abandoned,
}

/// How an attempt at a task ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskOutcome {
    /// Hierophant has stored its result.
    Done,
    /// It has failed.
    Failed(Failure),
    /// Its result was not wanted, or the program ends.
    Abandoned,
}
