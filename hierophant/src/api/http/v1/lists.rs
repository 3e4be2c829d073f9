//! Jobs, requests, programs and artifacts, page by page.
use alloy_primitives::Address;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use hierophant_model::records::{RequestFilter, RequestState, RequestView};
use network_lib::ids::{JobId, RequestId, VkHash, WorkerId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::page::{
    Answer, ErrorResponse, actor_timeout, invalid, job_id, limit, not_found, optional, parsed,
    several, store_unavailable,
};
use super::render;
use crate::api::AdminContext;
use hierophant_admin_model::{
    Artifact, ArtifactKind, Attempt, Job, Program, ProofMode, Refusal, Request, Waiting, WholeJob,
    Why,
};
use hierophant_store::{ArtifactFilter, JobFilter};

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct JobQuery {
    /// Any of these states, separated by commas.
    state: Option<String>,
    /// Kind of proof.
    mode: Option<ProofMode>,
    /// Id of the program.
    program: Option<String>,
    /// Address of who asked.
    requester: Option<String>,
    /// Id of the Contemplant of the latest attempt.
    worker: Option<String>,
    /// Those that are older than this job: the last one of the page before.
    before: Option<String>,
    /// At most so many: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Which of the waiting jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueQuery {
    /// How many to leave out.
    offset: Option<usize>,
    /// At most so many: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Which requests.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestQuery {
    /// Any of these states, separated by commas.
    state: Option<String>,
    /// Kind of proof.
    mode: Option<ProofMode>,
    /// Id of the program.
    program: Option<String>,
    /// Address of who asked.
    requester: Option<String>,
    /// How many to leave out.
    offset: Option<u64>,
    /// At most so many: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Which programs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramQuery {
    /// Those that are older than this program: the last one of the page before.
    before: Option<String>,
    /// At most so many: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Which artifacts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ArtifactQuery {
    /// Content of the artifact.
    kind: Option<ArtifactKind>,
    /// How many to leave out: their ids are secret, so pages are counted.
    offset: Option<u64>,
    /// At most so many: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// A query that could be read, or why not.
type Asked<T> = Result<Query<T>, QueryRejection>;

fn read<T>(asked: Asked<T>) -> Result<T, ErrorResponse> {
    asked.map(|Query(query)| query).map_err(|rejection| invalid(rejection.body_text()))
}

/// Jobs, the newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(JobQuery), responses(
    (status = 200, body = Vec<Job>),
    (status = 400, description = "a filter cannot be read", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn jobs(
    State(context): State<AdminContext>,
    asked: Asked<JobQuery>,
) -> Answer<Vec<Job>> {
    let query = read(asked)?;
    let before = match parsed::<JobId>("before", query.before.as_deref())? {
        None => None,
        Some(id) => {
            let job = context.store.job(id).await.map_err(store_unavailable)?;
            let job = job.ok_or_else(|| not_found("`before` names no job"))?;
            Some((job.created_at, id))
        }
    };
    let filter = JobFilter {
        states: several("state", query.state.as_deref())?,
        mode: optional("mode", query.mode.as_ref())?,
        program: parsed::<VkHash>("program", query.program.as_deref())?,
        requester: parsed::<Address>("requester", query.requester.as_deref())?,
        worker: parsed::<WorkerId>("worker", query.worker.as_deref())?,
        before,
        limit: limit(query.limit),
    };
    let found = context.store.jobs(&filter).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(|(job, requests)| Job::of(job, requests, &context.clients)).collect()))
}

/// A job with its attempts.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "id of the job")), responses(
    (status = 200, body = WholeJob),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn job(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> Answer<WholeJob> {
    let id = job_id(&id)?;
    whole(&context, id).await.map(Json)
}

/// Why a job has no proof yet, in a sentence; for one that has ended, how.
#[utoipa::path(get, path = "/jobs/{id}/why", tag = "jobs",
    params(("id" = String, Path, description = "id of the job")), responses(
    (status = 200, body = Why),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn why(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> Answer<Why> {
    let id = job_id(&id)?;
    let found = context.proofs.why(id).await.map_err(actor_timeout)?;
    let job = context.store.job(id).await.map_err(store_unavailable)?;
    let job = job.ok_or_else(|| not_found("no such job"))?;
    let blocked = context.registry.blocked().await.map_err(actor_timeout)?;
    let (why, ahead) = match (found, &job.failure) {
        // Whoever is turned away is not among those that the scheduler knows of.
        (Some(why), _) if why.ahead.is_some() && !blocked.is_empty() => {
            let many = blocked.len();
            (format!("{}; blocked: {many}, see `hierophant blocked`", why.reason), why.ahead)
        }
        (Some(why), _) => (why.reason, why.ahead),
        (None, Some(failure)) => (format!("it is {}: {failure}", job.state), None),
        (None, None) => (format!("it is {}", job.state), None),
    };
    Ok(Json(Why { state: job.state.into(), why, ahead }))
}

/// The waiting jobs in the order in which they go, the next one first.
#[utoipa::path(get, path = "/queue", tag = "jobs", params(QueueQuery), responses(
    (status = 200, body = Vec<Waiting>),
    (status = 400, description = "a filter cannot be read", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn queue(
    State(context): State<AdminContext>,
    asked: Asked<QueueQuery>,
) -> Answer<Vec<Waiting>> {
    let query = read(asked)?;
    let (offset, limit) = (query.offset.unwrap_or(0), limit(query.limit) as usize);
    let line = context.proofs.queue_snapshot(offset, limit).await.map_err(actor_timeout)?;
    let entries = line.iter().enumerate();
    Ok(Json(
        entries
            .map(|(place, waiting)| render::waiting(offset + place, waiting, &context.clients))
            .collect(),
    ))
}

/// Requests, the newest first.
#[utoipa::path(get, path = "/requests", tag = "requests", params(RequestQuery), responses(
    (status = 200, body = Vec<Request>),
    (status = 400, description = "a filter cannot be read", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn requests(
    State(context): State<AdminContext>,
    asked: Asked<RequestQuery>,
) -> Answer<Vec<Request>> {
    let query = read(asked)?;
    let states: Vec<RequestState> = several("state", query.state.as_deref())?;
    let filter = RequestFilter {
        states: (!states.is_empty()).then_some(states),
        mode: optional("mode", query.mode.as_ref())?,
        vk_hash: parsed::<VkHash>("program", query.program.as_deref())?,
        requester: parsed::<Address>("requester", query.requester.as_deref())?,
        limit: limit(query.limit),
        offset: query.offset.unwrap_or(0),
        ..RequestFilter::default()
    };
    let found = context.store.requests(&filter).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(|view| Request::of(&view.request, &context.clients)).collect()))
}

/// The job of a request, with its attempts. The first 16 digits of the request's id are enough.
#[utoipa::path(get, path = "/requests/{id}", tag = "requests",
    params(("id" = String, Path, description = "id of the request, 16 digits or more")), responses(
    (status = 200, body = WholeJob),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such request", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn request(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> Answer<WholeJob> {
    let found = found_request(&context, &id).await?;
    whole(&context, found.job.id).await.map(Json)
}

/// The request whose id begins so.
pub(super) async fn found_request(
    context: &AdminContext,
    id: &str,
) -> Result<RequestView, ErrorResponse> {
    let digits = id.strip_prefix("0x").unwrap_or(id);
    let prefix = hex::decode(digits).ok().filter(|id| (8..=RequestId::LEN).contains(&id.len()));
    let prefix = prefix.ok_or_else(|| {
        invalid(format!("{id:?} is no request's id: 16 to 64 hexadecimal digits are"))
    })?;
    let mut found =
        context.store.requests_with_prefix(&prefix).await.map_err(store_unavailable)?.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(not_found("no such request")),
        (Some(view), None) => Ok(view),
        _ => Err(invalid("more than one request's id begins so; give more digits")),
    }
}

/// Programs, the newest first.
#[utoipa::path(get, path = "/programs", tag = "programs", params(ProgramQuery), responses(
    (status = 200, body = Vec<Program>),
    (status = 400, description = "a filter cannot be read", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn programs(
    State(context): State<AdminContext>,
    asked: Asked<ProgramQuery>,
) -> Answer<Vec<Program>> {
    let query = read(asked)?;
    let before = match parsed::<VkHash>("before", query.before.as_deref())? {
        None => None,
        Some(id) => {
            let program = context.store.program(id).await.map_err(store_unavailable)?;
            let program = program.ok_or_else(|| not_found("`before` names no program"))?;
            Some((program.created_at, id))
        }
    };
    let found =
        context.store.programs(before, limit(query.limit)).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(Program::of).collect()))
}

/// Tickets and stored bytes, the newest first.
#[utoipa::path(get, path = "/artifacts", tag = "artifacts", params(ArtifactQuery), responses(
    (status = 200, body = Vec<Artifact>),
    (status = 400, description = "a filter cannot be read", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn artifacts(
    State(context): State<AdminContext>,
    asked: Asked<ArtifactQuery>,
) -> Answer<Vec<Artifact>> {
    let query = read(asked)?;
    let filter = ArtifactFilter {
        kind: optional("kind", query.kind.as_ref())?,
        offset: query.offset.unwrap_or(0),
        limit: limit(query.limit),
    };
    let found = context.store.artifacts(&filter).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(Artifact::of).collect()))
}

async fn whole(context: &AdminContext, id: JobId) -> Result<WholeJob, ErrorResponse> {
    let job = context.store.job(id).await.map_err(store_unavailable)?;
    let job = job.ok_or_else(|| not_found("no such job"))?;
    let requests = context.store.requests_of(id).await.map_err(store_unavailable)?;
    let history = context.store.attempts(id).await.map_err(store_unavailable)?;
    let scheduler = context.proofs.overview().await.map_err(actor_timeout)?;
    let text = id.to_string();
    Ok(WholeJob {
        job: Job::of(&job, &requests, &context.clients),
        history: history.iter().map(Attempt::of).collect(),
        running: render::all_running(&scheduler).filter(|running| running.job == text).collect(),
    })
}
