//! Status for people: JSON that reads well in a terminal. Each field is documented here and its form
//! is kept.
//!
//! Request ids are credentials (whoever knows one may poll it), so only their first 16 digits appear.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hierophant_model::records::{JobRecord, Millis, RequestRecord};
use hierophant_model::text::{error_chain, short_request_id};
use hierophant_scheduler::proofs::{RunningProof, WorkerWork};
use hierophant_scheduler::registry::{KnownWorker, RemovedWorker};
use network_lib::ids::{JobId, VkHash, WorkerId};
use serde::{Deserialize, Serialize};

use super::answer;
use crate::api::AdminContext;
use hierophant_store::{JobStore, StoreError};

/// How many finished proofs are listed if the caller does not say, and at most.
const HISTORY: u32 = 100;
const MOST_HISTORY: u32 = 1000;

/// Which finished proofs to list.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryPage {
    /// At most so many.
    limit: Option<u32>,
    /// Those that ended before this job: the last one of the page before.
    before: Option<JobId>,
}

/// A connected Contemplant.
#[derive(Debug, Serialize)]
pub struct Contemplant {
    /// Stable id of the installation.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// Where it connects from.
    pub ip: String,
    /// Its software version.
    pub version: String,
    /// What makes its proofs: `cpu`, `cuda` or `mock`.
    pub backend: &'static str,
    /// Kinds of proof that it offers now.
    pub modes: Vec<&'static str>,
    /// How many jobs it takes at once.
    pub slots: u32,
    /// `ready`, `draining` when it takes no more jobs, or `away` when its connection broke and it may
    /// come back.
    pub state: &'static str,
    /// Seconds since it connected.
    pub time_alive_seconds: u64,
    /// Seconds since its last sign of life.
    pub seconds_since_heard: u64,
    /// Attempts that failed by its fault, as far as they still count against it, whenever Hierophant
    /// was started.
    pub strikes: usize,
    /// Proofs that were accepted from it since Hierophant started, or since it came back after being
    /// gone for more than a day.
    pub proofs_completed: u64,
    /// Mean seconds from lease to accepted proof of these, if there was one.
    pub average_proof_time_seconds: Option<f64>,
    /// Why it cannot prove now although it is meant to, in its own words; none if it can.
    pub obstacle: Option<String>,
    /// What it is working on.
    pub current_proofs: Vec<CurrentProof>,
}

/// A proof in the making.
#[derive(Debug, Serialize)]
pub struct CurrentProof {
    /// The job.
    pub job: JobId,
    /// The requests that wait for it, first 16 digits each.
    pub requests: Vec<String>,
    /// Kind of proof.
    pub mode: &'static str,
    /// The program's id.
    pub program: VkHash,
    /// Current step, if the Contemplant has reported.
    pub phase: Option<&'static str>,
    /// Done part of the step, 0 to 1, where it can be known.
    pub fraction: Option<f32>,
    /// Cycles handled so far in the step, where it can be known.
    pub cycles_done: Option<u64>,
    /// Cycles of the whole execution, once it is known.
    pub cycles_total: Option<u64>,
    /// Seconds until the proof is expected, where it can be told.
    pub eta_seconds: Option<u64>,
    /// Whether fraction and ETA are estimated from past proofs.
    pub estimated: bool,
    /// Seconds since the attempt started.
    pub running_seconds: u64,
    /// Whether another Contemplant is at the same job: the first valid proof counts.
    pub raced: bool,
}

/// A Contemplant that is gone.
#[derive(Debug, Serialize)]
pub struct DeadContemplant {
    /// Stable id of the installation.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// Where it connected from.
    pub ip: String,
    /// Its software version.
    pub version: String,
    /// When it went, Unix seconds.
    pub died_at: u64,
    /// For how many seconds it had been connected.
    pub time_alive_seconds: u64,
    /// Why it is gone.
    pub reason: String,
}

/// A job that has ended.
#[derive(Debug, Serialize)]
pub struct FinishedProof {
    /// The job.
    pub job: JobId,
    /// The requests that it answered, first 16 digits each.
    pub requests: Vec<String>,
    /// Kind of proof.
    pub mode: &'static str,
    /// The program's id.
    pub program: VkHash,
    /// Who asked first.
    pub requester: Option<String>,
    /// Name of the Contemplant that made the proof, or else was at it last, if there was one.
    pub contemplant: Option<String>,
    /// What makes that one's proofs.
    pub backend: Option<&'static str>,
    /// `proved`, `unexecutable`, `failed`, `cancelled` or `expired`.
    pub state: &'static str,
    /// Why it failed.
    pub failure: Option<String>,
    /// How many attempts were started.
    pub attempts: u32,
    /// Cycles of the execution.
    pub cycles: Option<u64>,
    /// Prover gas of the execution.
    pub gas: Option<u64>,
    /// When it was asked for, Unix seconds.
    pub created_at: u64,
    /// When that one's attempt started, Unix seconds.
    pub started_at: Option<u64>,
    /// When it ended, Unix seconds.
    pub finished_at: Option<u64>,
    /// Seconds from then to the end.
    pub proof_seconds: Option<f64>,
}

/// `GET /` for whoever does not ask for a page.
pub(super) const INDEX: &str = "Hierophant, an SP1 prover network.\n\n\
     /                    in a browser: the dashboard\n\
     /health              whether the process lives\n\
     /ready               whether it can take requests\n\n\
     From this machine, and with a token of role read from elsewhere (Authorization: Bearer):\n\n\
     /contemplants        connected Contemplants and what they prove\n\
     /dead-contemplants   departed Contemplants and why\n\
     /proof-history       finished proofs, the latest first (?limit=100&before=JOB)\n\
     /metrics             figures for Prometheus\n\
     /api/v1/docs         the same and more for programs\n";

/// `GET /health`
pub(super) async fn health(State(context): State<AdminContext>) -> Response {
    let low = context.budget.usage().low.is_some();
    let storage = if low { "low" } else { "ok" };
    pretty(&BTreeMap::from([("status", "ok"), ("storage", storage)]))
}

/// `GET /ready`: everybody may ask, so figures are left to `/api/v1/overview`.
pub(super) async fn ready(State(context): State<AdminContext>) -> Response {
    if let Err(error) = context.store.ping().await {
        tracing::error!(error = %error_chain(&error), "not ready: the store does not answer");
        return answer(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer");
    }
    let storage = context.budget.usage();
    match context.proofs.overview().await {
        // A low disk stops new work only: polls and downloads must go on reaching this machine.
        Ok(_) => pretty(&serde_json::json!({
            "status": if storage.low.is_some() { "storage_low" } else { "ready" },
        })),
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "the scheduler does not answer"),
    }
}

/// `GET /contemplants`
pub(super) async fn contemplants(State(context): State<AdminContext>) -> Response {
    let (known, overview) = tokio::join!(context.registry.workers(), context.proofs.overview());
    let (Ok(known), Ok(overview)) = (known, overview) else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "the registry does not answer");
    };
    let work: BTreeMap<WorkerId, WorkerWork> =
        overview.workers.into_iter().map(|work| (work.worker, work)).collect();
    let now = Millis::now();
    // A worker that has joined a moment ago may not have reached the scheduler yet.
    let list: Vec<Contemplant> = known
        .into_iter()
        .filter_map(|known| work.get(&known.worker).map(|work| contemplant(now, known, work)))
        .collect();
    pretty(&list)
}

/// `GET /dead-contemplants`
pub(super) async fn dead_contemplants(State(context): State<AdminContext>) -> Response {
    match context.registry.removed_workers().await {
        Ok(dead) => pretty(&dead.into_iter().map(dead_contemplant).collect::<Vec<_>>()),
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "the registry does not answer"),
    }
}

/// `GET /proof-history`, `?limit=` and `&before=` for the next page.
pub(super) async fn proof_history(
    State(context): State<AdminContext>,
    page: Result<Query<HistoryPage>, QueryRejection>,
) -> Response {
    let Ok(Query(page)) = page else {
        let text = "write /proof-history?limit=NUMBER&before=JOB, both optional";
        return answer(StatusCode::BAD_REQUEST, text);
    };
    let limit = page.limit.unwrap_or(HISTORY).min(MOST_HISTORY);
    match history(&*context.store, limit, page.before).await {
        Ok(Some(jobs)) => pretty(&jobs),
        Ok(None) => answer(StatusCode::NOT_FOUND, "`before` names no finished job"),
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "the history could not be read");
            answer(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer")
        }
    }
}

/// A page of the history, `None` if there is no such job to begin after.
async fn history(
    store: &dyn JobStore,
    limit: u32,
    before: Option<JobId>,
) -> Result<Option<Vec<FinishedProof>>, StoreError> {
    let before = match before {
        None => None,
        Some(id) => match store.job(id).await?.and_then(|job| job.finished_at) {
            Some(end) => Some((end, id)),
            None => return Ok(None),
        },
    };
    let jobs = store.finished_jobs(limit, before).await?;
    Ok(Some(jobs.iter().map(|(job, requests)| finished(job, requests)).collect()))
}

fn contemplant(now: Millis, known: KnownWorker, work: &WorkerWork) -> Contemplant {
    let stats = &work.stats;
    let average = (stats.completed > 0).then(|| seconds(stats.proof_millis / stats.completed));
    let state = known.state().as_str();
    Contemplant {
        id: known.worker,
        name: known.name,
        ip: known.ip.to_canonical().to_string(),
        version: known.version,
        backend: work.backend.as_str(),
        modes: work.capabilities.modes.iter().map(|mode| mode.as_str()).collect(),
        slots: work.capabilities.slots,
        state,
        time_alive_seconds: now.since(known.joined_at) / 1000,
        seconds_since_heard: now.since(known.heard_at) / 1000,
        strikes: stats.strikes.len(),
        proofs_completed: stats.completed,
        average_proof_time_seconds: average,
        obstacle: work.capabilities.unavailable_reason.clone(),
        current_proofs: work.running.iter().map(|running| current(now, running)).collect(),
    }
}

fn current(now: Millis, running: &RunningProof) -> CurrentProof {
    let progress = running.progress;
    CurrentProof {
        job: running.job,
        requests: running.requests.iter().map(|id| short_request_id(*id)).collect(),
        mode: running.mode.as_str(),
        program: running.program,
        phase: progress.map(|progress| progress.phase.as_str()),
        fraction: progress.and_then(|progress| progress.fraction),
        cycles_done: progress.and_then(|progress| progress.cycles_done),
        cycles_total: progress.and_then(|progress| progress.cycles_total),
        eta_seconds: progress.and_then(|progress| progress.eta_seconds),
        estimated: progress.is_some_and(|progress| progress.estimated),
        running_seconds: now.since(running.started_at) / 1000,
        raced: running.raced,
    }
}

fn dead_contemplant(dead: RemovedWorker) -> DeadContemplant {
    DeadContemplant {
        id: dead.worker.worker,
        name: dead.worker.name,
        ip: dead.worker.ip.to_canonical().to_string(),
        version: dead.worker.version,
        died_at: dead.removed_at.seconds(),
        time_alive_seconds: dead.removed_at.since(dead.worker.joined_at) / 1000,
        reason: dead.reason,
    }
}

fn finished(job: &JobRecord, requests: &[RequestRecord]) -> FinishedProof {
    let prover = job.prover.as_ref();
    let times = job.started_at.zip(job.finished_at);
    FinishedProof {
        job: job.id,
        requests: requests.iter().map(|request| short_request_id(request.id)).collect(),
        mode: job.spec.mode.as_str(),
        program: job.spec.vk_hash,
        requester: requests.first().map(|request| request.requester.to_string()),
        contemplant: prover.map(|prover| prover.name.clone()),
        backend: prover.map(|prover| prover.backend.as_str()),
        state: job.state.as_str(),
        failure: job.failure.as_ref().map(ToString::to_string),
        attempts: job.attempts,
        cycles: job.execution.map(|found| found.cycles),
        gas: job.execution.and_then(|found| found.gas),
        created_at: job.created_at.seconds(),
        started_at: job.started_at.map(Millis::seconds),
        finished_at: job.finished_at.map(Millis::seconds),
        proof_seconds: times.map(|(start, end)| seconds(end.since(start))),
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a proof are far below 2^52")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn pretty(value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
