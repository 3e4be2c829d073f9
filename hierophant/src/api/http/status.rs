//! Status pages: JSON for reading in a terminal. They predate `/api/v1`, are built from its structs, and keep
//! their format.
//!
//! Request ids are credentials (anyone who knows one may poll it), so only their first 16 digits appear.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hierophant_admin_model::{
    Backend, Job, JobState, Phase, ProofMode, Running, RunningTask, TaskKind, WorkerState,
};
use hierophant_model::clients::Clients;
use hierophant_model::records::{JobRecord, Millis, RequestRecord};
use hierophant_model::text::{error_chain, short_request_id};
use hierophant_scheduler::proofs::{RunningProof, WorkerWork};
use hierophant_scheduler::registry::{KnownWorker, RemovedWorker};
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::JobId;
use serde::{Deserialize, Serialize};

use super::text_response;
use super::v1::{known_with_work, render};
use crate::api::AdminContext;
use crate::api::readiness::Verdict;

/// Default number of finished proofs in a page.
const DEFAULT_HISTORY: u32 = 100;

/// Maximum number of finished proofs in a page.
const MAX_HISTORY: u32 = 1000;

/// Error text while the store cannot be read.
const STORE_UNAVAILABLE: &str = "store unavailable; try again later";

/// Error text for an actor that did not answer in time.
const ACTOR_TIMEOUT: &str = "actor timeout; try again later";

/// A page of finished proofs.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryPage {
    /// Maximum number of entries.
    limit: Option<u32>,
    /// Job that ended after all of this page: the last one of the previous page.
    before: Option<JobId>,
}

/// A connected worker.
#[derive(Debug, Serialize)]
struct Contemplant {
    /// Stable id of the installation.
    id: String,
    /// Name of the worker.
    name: String,
    /// Machine that it runs on, if it reports one.
    instance: Option<String>,
    /// IP address that it connects from.
    ip: String,
    /// Software version.
    version: String,
    /// Prover of the worker.
    backend: Backend,
    /// Kinds of proof that it currently offers.
    modes: Vec<ProofMode>,
    /// Number of jobs that it can run at once.
    slots: u32,
    /// State of the worker.
    state: WorkerState,
    /// Seconds since it connected.
    time_alive_seconds: u64,
    /// Seconds since its last message.
    seconds_since_heard: u64,
    /// Failed attempts that currently count against it, including those before a restart of Hierophant.
    strikes: usize,
    /// Proofs accepted from it since Hierophant started, or since it returned after more than a day.
    proofs_completed: u64,
    /// Mean seconds from lease to accepted proof, once there is one.
    average_proof_time_seconds: Option<f64>,
    /// Why it cannot prove although it should.
    obstacle: Option<String>,
    /// Proofs in progress.
    current_proofs: Vec<CurrentProof>,
    /// Tasks in progress of proofs that several workers make.
    current_tasks: Vec<CurrentTask>,
}

/// A task in progress.
#[derive(Debug, Serialize)]
struct CurrentTask {
    /// Job id.
    job: String,
    /// Kind of work.
    kind: TaskKind,
    /// Seconds since the attempt started.
    running_seconds: u64,
}

/// A proof in progress.
#[derive(Debug, Serialize)]
struct CurrentProof {
    /// Job id.
    job: String,
    /// First 16 digits of the ids of the requests that wait for it.
    requests: Vec<String>,
    /// Kind of proof.
    mode: ProofMode,
    /// Id of the program.
    program: String,
    /// Current step, once the worker has reported one.
    phase: Option<Phase>,
    /// Completed fraction of the step, 0 to 1, if known.
    fraction: Option<f32>,
    /// Cycles completed in the step, if known.
    cycles_done: Option<u64>,
    /// Cycles of the whole execution, once known.
    cycles_total: Option<u64>,
    /// Seconds until the proof is expected, if known.
    eta_seconds: Option<u64>,
    /// Whether fraction and ETA are estimated from past proofs.
    estimated: bool,
    /// Seconds since the attempt started.
    running_seconds: u64,
    /// Whether another worker proves the same job; the first valid proof wins.
    raced: bool,
}

/// A departed worker.
#[derive(Debug, Serialize)]
struct DeadContemplant {
    /// Stable id of the installation.
    id: String,
    /// Name of the worker.
    name: String,
    /// IP address that it connected from.
    ip: String,
    /// Software version.
    version: String,
    /// Time of departure in Unix seconds.
    died_at: u64,
    /// Seconds for which it was connected.
    time_alive_seconds: u64,
    /// Reason for the departure.
    reason: String,
}

/// A job that has ended.
#[derive(Debug, Serialize)]
struct FinishedProof {
    /// Job id.
    job: String,
    /// First 16 digits of the ids of its requests.
    requests: Vec<String>,
    /// Kind of proof.
    mode: ProofMode,
    /// Id of the program.
    program: String,
    /// Address of the first requester.
    requester: Option<String>,
    /// Name of the worker of the latest attempt.
    contemplant: Option<String>,
    /// Prover of that worker.
    backend: Option<Backend>,
    /// Final state of the job.
    state: JobState,
    /// Why the job failed.
    failure: Option<String>,
    /// Number of attempts started.
    attempts: u32,
    /// Cycles of the execution.
    cycles: Option<u64>,
    /// Prover gas of the execution.
    gas: Option<u64>,
    /// Time of creation in Unix seconds.
    created_at: u64,
    /// Start of the latest attempt in Unix seconds.
    started_at: Option<u64>,
    /// Time of the end in Unix seconds.
    finished_at: Option<u64>,
    /// Seconds from the start of the latest attempt to the end.
    proof_seconds: Option<f64>,
}

/// The list of pages: `GET /` for clients that do not ask for HTML.
pub(super) const INDEX: &str = "Hierophant, an SP1 prover network.\n\n\
     /                    in a browser: the dashboard\n\
     /health              whether the process is alive\n\
     /ready               whether requests are accepted\n\n\
     From this machine, or with a token of role read (Authorization: Bearer):\n\n\
     /contemplants        connected workers and their proofs in progress\n\
     /dead-contemplants   departed workers and the reasons\n\
     /proof-history       finished proofs, latest first (?limit=100&before=JOB)\n\
     /metrics             metrics for Prometheus\n\
     /api/v1/docs         the REST API\n";

/// `GET /health`: whether the process is alive.
pub(super) async fn health(State(context): State<AdminContext>) -> Response {
    let low = context.budget.usage().low.is_some();
    let storage = if low { "low" } else { "ok" };
    pretty(&BTreeMap::from([("status", "ok"), ("storage", storage)]))
}

/// `GET /ready`: whether requests are accepted. It is public, so figures are left to `/api/v1/overview`.
pub(super) async fn ready(State(context): State<AdminContext>) -> Response {
    match context.readiness.verdict().await {
        // Low storage stops only new work: polls and downloads must still reach this machine.
        Verdict::Ready => pretty(&serde_json::json!({
            "status": if context.budget.usage().low.is_some() { "storage_low" } else { "ready" },
        })),
        Verdict::StoreUnavailable => unavailable(STORE_UNAVAILABLE),
        Verdict::ActorTimeout => unavailable(ACTOR_TIMEOUT),
    }
}

/// `GET /contemplants`: connected workers and their proofs in progress.
pub(super) async fn contemplants(State(context): State<AdminContext>) -> Response {
    let (known, overview) = tokio::join!(context.registry.workers(), context.proofs.overview());
    let (Ok(known), Ok(overview)) = (known, overview) else {
        return unavailable(ACTOR_TIMEOUT);
    };
    let now = Millis::now();
    let list: Vec<Contemplant> = known_with_work(&known, &overview)
        .map(|(known, work)| contemplant(now, known, work))
        .collect();
    pretty(&list)
}

/// `GET /dead-contemplants`: departed workers and the reasons.
pub(super) async fn dead_contemplants(State(context): State<AdminContext>) -> Response {
    match context.registry.removed_workers().await {
        Ok(dead) => pretty(&dead.into_iter().map(dead_contemplant).collect::<Vec<_>>()),
        Err(_) => unavailable(ACTOR_TIMEOUT),
    }
}

/// `GET /proof-history`: finished proofs, latest first; `?limit=` and `&before=` select the page.
pub(super) async fn proof_history(
    State(context): State<AdminContext>,
    page: Result<Query<HistoryPage>, QueryRejection>,
) -> Response {
    let Ok(Query(page)) = page else {
        let text = "invalid query: expected /proof-history?limit=NUMBER&before=JOB, both optional";
        return text_response(StatusCode::BAD_REQUEST, text);
    };
    let limit = page.limit.unwrap_or(DEFAULT_HISTORY).min(MAX_HISTORY);
    match history(&context, limit, page.before).await {
        Ok(Some(jobs)) => pretty(&jobs),
        Ok(None) => {
            text_response(StatusCode::NOT_FOUND, "unknown job in `before`: expected a finished job")
        }
        Err(error) if error.is_refused_list() => unavailable(&error.to_string()),
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "the history could not be read");
            unavailable(STORE_UNAVAILABLE)
        }
    }
}

/// A page of the history; `None` if `before` is not a finished job.
async fn history(
    context: &AdminContext,
    limit: u32,
    before: Option<JobId>,
) -> Result<Option<Vec<FinishedProof>>, StoreError> {
    let store: &dyn JobStore = &*context.store;
    let before = match before {
        None => None,
        Some(id) => match store.job(id).await?.and_then(|job| job.finished_at) {
            Some(end) => Some((end, id)),
            None => return Ok(None),
        },
    };
    let jobs = store.finished_jobs(limit, before).await?;
    let entries = jobs.iter().map(|(job, requests)| finished(job, requests, &context.clients));
    Ok(Some(entries.collect()))
}

fn contemplant(now: Millis, known: &KnownWorker, work: &WorkerWork) -> Contemplant {
    let stats = &work.stats;
    let average = (stats.completed > 0).then(|| seconds(stats.proof_millis / stats.completed));
    let worker = render::worker(known, work);
    let running = worker.running.into_iter().zip(&work.running);
    Contemplant {
        id: worker.id,
        name: worker.name,
        instance: worker.instance,
        ip: worker.ip,
        version: worker.version,
        backend: worker.backend,
        modes: worker.modes,
        slots: worker.slots,
        state: worker.state,
        time_alive_seconds: now.since(known.joined_at) / 1000,
        seconds_since_heard: now.since(known.heard_at) / 1000,
        strikes: worker.strikes,
        proofs_completed: worker.proofs_completed,
        average_proof_time_seconds: average,
        obstacle: worker.obstacle,
        current_proofs: running.map(|(running, proof)| current(now, running, proof)).collect(),
        current_tasks: worker.tasks.into_iter().map(|task| current_task(now, task)).collect(),
    }
}

fn current_task(now: Millis, task: RunningTask) -> CurrentTask {
    CurrentTask {
        job: task.job,
        kind: task.kind,
        running_seconds: now.since(Millis(task.started_at)) / 1000,
    }
}

fn current(now: Millis, running: Running, proof: &RunningProof) -> CurrentProof {
    CurrentProof {
        job: running.job,
        requests: proof.requests.iter().map(|id| short_request_id(*id)).collect(),
        mode: running.mode,
        program: running.program,
        phase: running.phase,
        fraction: running.fraction,
        cycles_done: running.cycles_done,
        cycles_total: running.cycles_total,
        eta_seconds: running.eta_seconds,
        estimated: running.estimated,
        running_seconds: now.since(proof.started_at) / 1000,
        raced: proof.raced,
    }
}

fn dead_contemplant(dead: RemovedWorker) -> DeadContemplant {
    DeadContemplant {
        id: dead.worker.worker.to_string(),
        name: dead.worker.name,
        ip: dead.worker.ip.to_canonical().to_string(),
        version: dead.worker.version,
        died_at: dead.removed_at.seconds(),
        time_alive_seconds: dead.removed_at.since(dead.worker.joined_at) / 1000,
        reason: dead.reason,
    }
}

fn finished(record: &JobRecord, requests: &[RequestRecord], clients: &Clients) -> FinishedProof {
    let job = Job::of(record, requests, clients);
    let times = record.started_at.zip(record.finished_at);
    FinishedProof {
        job: job.id,
        requester: job.requests.first().map(|request| request.requester.clone()),
        requests: job.requests.into_iter().map(|request| request.id).collect(),
        mode: job.mode,
        program: job.program,
        contemplant: job.contemplant,
        backend: record.prover.as_ref().map(|prover| prover.backend.into()),
        state: job.state,
        failure: job.failure,
        attempts: job.attempts,
        cycles: job.cycles,
        gas: job.gas,
        created_at: record.created_at.seconds(),
        started_at: record.started_at.map(Millis::seconds),
        finished_at: record.finished_at.map(Millis::seconds),
        proof_seconds: times.map(|(start, end)| seconds(end.since(start))),
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a proof are far below 2^52")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn unavailable(text: &str) -> Response {
    text_response(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn pretty(value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => text_response(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
