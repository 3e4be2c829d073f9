//! JSON of requests, jobs and attempts.

use hierophant_model::clients::Clients;
use hierophant_model::records::{AttemptRecord, JobRecord, Millis, RequestRecord};
use hierophant_model::text::short_request_id;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AttemptOutcome, Backend, FailureClass, JobState, NetworkMode, Phase, Priority, ProofMode,
    RequestState, TaskKind, TaskSummary,
};

/// A proof request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Request {
    /// First 16 digits of the request id.
    pub id: String,
    /// Id of the job that proves it.
    pub job: String,
    /// Address of the requester.
    pub requester: String,
    /// Name of the client to which the request belongs, if it has one.
    #[serde(default)]
    pub client: Option<String>,
    /// Id of the token with which it was requested.
    #[serde(default)]
    pub token: Option<String>,
    /// Network variant that the client speaks.
    pub network_mode: NetworkMode,
    /// State of the request.
    pub state: RequestState,
    /// Deadline set by the client.
    pub deadline: i64,
    /// Time of acceptance.
    pub created_at: i64,
    /// Time of the last state change.
    pub updated_at: i64,
    /// Time of fulfilment.
    pub fulfilled_at: Option<i64>,
}

/// A proving job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Job id.
    pub id: String,
    /// State of the job.
    pub state: JobState,
    /// Priority set by an operator; without one the kind of proof decides.
    pub priority: Option<Priority>,
    /// Kind of proof.
    pub mode: ProofMode,
    /// Id of the program.
    pub program: String,
    /// SP1 circuit version.
    pub circuit_version: String,
    /// Maximum cycles of the execution.
    pub cycle_limit: u64,
    /// Maximum prover gas of the execution.
    pub gas_limit: u64,
    /// Size of the input in bytes.
    pub input_bytes: u64,
    /// Requests that the job serves.
    pub requests: Vec<Request>,
    /// Number of attempts started.
    pub attempts: u32,
    /// Name of the worker of the latest attempt.
    pub contemplant: Option<String>,
    /// Cycles of the execution.
    pub cycles: Option<u64>,
    /// Prover gas of the execution.
    pub gas: Option<u64>,
    /// Why the job failed, or why its latest attempt did.
    pub failure: Option<String>,
    /// Time of creation.
    pub created_at: i64,
    /// Start of the latest attempt.
    pub started_at: Option<i64>,
    /// Time of the end.
    pub finished_at: Option<i64>,
}

/// A job with its attempts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WholeJob {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// Attempts at the whole job, oldest first. `/jobs/{id}/tasks` has those at its tasks.
    pub history: Vec<Attempt>,
    /// Attempts in progress.
    pub running: Vec<Running>,
    /// Numbers of its tasks, if several workers make or made its proof and the tasks are kept.
    #[serde(default)]
    pub tasks: Option<TaskSummary>,
}

/// A queued job and its position.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// Number of jobs ahead of it.
    pub position: usize,
    /// Estimated seconds until its proof is finished, from recent proofs of the same kind, if known.
    pub eta_seconds: Option<u64>,
}

/// Why a job has no proof yet, or how it ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// State of the job.
    pub state: JobState,
    /// Explanation in one sentence.
    pub why: String,
    /// Number of jobs ahead of it while it is queued.
    pub ahead: Option<usize>,
}

/// An attempt: a job, or one of its tasks, assigned to a worker; or a job divided among several workers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Job id.
    pub job: String,
    /// Worker id.
    pub worker: String,
    /// Name of the worker.
    pub contemplant: String,
    /// Whether it is a proof that several workers make as tasks; it has no worker of its own then.
    #[serde(default)]
    pub divided: bool,
    /// Id of the task, for an attempt at a task of the job.
    #[serde(default)]
    pub task: Option<String>,
    /// Kind of the task.
    #[serde(default)]
    pub task_kind: Option<TaskKind>,
    /// Prover of the worker.
    pub backend: Backend,
    /// Outcome of the attempt.
    pub outcome: AttemptOutcome,
    /// Cause of the failure, if the attempt failed.
    pub failure_class: Option<FailureClass>,
    /// Details of the outcome.
    pub message: Option<String>,
    /// Start of the attempt.
    pub started_at: i64,
    /// End of the attempt.
    pub ended_at: Option<i64>,
}

/// A proof in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Running {
    /// Job id.
    pub job: String,
    /// Worker id.
    pub worker: String,
    /// Kind of proof.
    pub mode: ProofMode,
    /// Id of the program.
    pub program: String,
    /// Current step, once the worker has reported one.
    pub phase: Option<Phase>,
    /// Completed fraction of the step, 0 to 1, if known.
    pub fraction: Option<f32>,
    /// Cycles completed in the step, if known.
    pub cycles_done: Option<u64>,
    /// Cycles of the whole execution, once known.
    pub cycles_total: Option<u64>,
    /// Seconds until the proof is expected, if known.
    pub eta_seconds: Option<u64>,
    /// Whether fraction and ETA are estimated from past proofs.
    pub estimated: bool,
    /// Numbers of its tasks, if several workers make it; it has no worker of its own then.
    #[serde(default)]
    pub tasks: Option<TaskSummary>,
    /// Start of the attempt.
    pub started_at: i64,
}

impl Request {
    /// JSON of a request; `clients` knows its requester's name.
    #[must_use]
    pub fn of(record: &RequestRecord, clients: &Clients) -> Self {
        Self {
            id: short_request_id(record.id),
            job: record.job.to_string(),
            requester: record.requester.to_string(),
            client: clients.stored_name(record.requester, record.client.as_ref()),
            token: record.token.map(|token| token.to_string()),
            network_mode: record.network_mode.into(),
            state: record.state.into(),
            deadline: Millis::from_seconds(record.deadline).0,
            created_at: record.created_at.0,
            updated_at: record.updated_at.0,
            fulfilled_at: record.fulfilled_at.map(|at| at.0),
        }
    }
}

impl Job {
    /// JSON of a job and its requests.
    #[must_use]
    pub fn of(record: &JobRecord, requests: &[RequestRecord], clients: &Clients) -> Self {
        Self {
            id: record.id.to_string(),
            state: record.state.into(),
            priority: record.priority.map(Priority::Known),
            mode: record.spec.mode.into(),
            program: record.spec.vk_hash.to_string(),
            circuit_version: record.spec.circuit_version.clone(),
            cycle_limit: record.spec.cycle_limit,
            gas_limit: record.spec.gas_limit,
            input_bytes: record.stdin_blob.size,
            requests: requests.iter().map(|request| Request::of(request, clients)).collect(),
            attempts: record.attempts,
            contemplant: record.prover.as_ref().map(|prover| prover.name.clone()),
            cycles: record.execution.map(|found| found.cycles),
            gas: record.execution.and_then(|found| found.gas),
            failure: record.failure.as_ref().map(ToString::to_string),
            created_at: record.created_at.0,
            started_at: record.started_at.map(|at| at.0),
            finished_at: record.finished_at.map(|at| at.0),
        }
    }
}

impl Attempt {
    /// JSON of an attempt.
    #[must_use]
    pub fn of(record: &AttemptRecord) -> Self {
        Self {
            job: record.job.to_string(),
            worker: record.prover.worker.to_string(),
            contemplant: record.prover.name.clone(),
            divided: record.prover.is_fleet(),
            task: record.task.map(|task| task.id.to_string()),
            task_kind: record.task.map(|task| task.kind.into()),
            backend: record.prover.backend.into(),
            outcome: record.outcome.into(),
            failure_class: record.failure_class.map(FailureClass::Known),
            message: record.message.clone(),
            started_at: record.started_at.0,
            ended_at: record.ended_at.map(|at| at.0),
        }
    }
}
