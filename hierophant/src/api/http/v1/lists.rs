//! Lists of jobs, requests, programs and artifacts, in pages.

use alloy_primitives::Address;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use hierophant_admin_model::{
    Artifact, ArtifactKind, Attempt, Job, Program, ProofMode, Refusal, Request, Waiting, WholeJob,
    Why,
};
use hierophant_model::records::{RequestFilter, RequestState, RequestView};
use hierophant_store::{ArtifactFilter, JobFilter};
use network_lib::ids::{JobId, RequestId, VkHash, WorkerId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::page::{
    ApiResult, ErrorResponse, actor_timeout, invalid, job_id, limit, not_found, offset,
    parse_enum_list, parse_optional, parse_optional_enum, store_unavailable,
};
use super::{render, tasks};
use crate::api::AdminContext;

/// Maximum number of requests that are shown with a job: its oldest.
const MAX_REQUESTS: u32 = 1000;

/// Filter and page of a list of jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct JobQuery {
    /// States, separated by commas; any of them matches.
    #[param(value_type = Option<Vec<hierophant_admin_model::JobState>>, style = Form, explode = false)]
    state: Option<String>,
    /// Kind of proof.
    mode: Option<ProofMode>,
    /// Id of the program.
    program: Option<String>,
    /// Address of the requester.
    requester: Option<String>,
    /// Id of the worker of the latest attempt.
    worker: Option<String>,
    /// Only jobs older than this one: the last job of the previous page.
    before: Option<String>,
    /// Maximum number of entries: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Page of the queue.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueQuery {
    /// Number of entries to skip.
    offset: Option<usize>,
    /// Maximum number of entries: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Filter and page of a list of requests.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestQuery {
    /// States, separated by commas; any of them matches.
    #[param(
        value_type = Option<Vec<hierophant_admin_model::RequestState>>,
        style = Form,
        explode = false
    )]
    state: Option<String>,
    /// Kind of proof.
    mode: Option<ProofMode>,
    /// Id of the program.
    program: Option<String>,
    /// Address of the requester.
    requester: Option<String>,
    /// Only requests older than this one: the id of the last request of the previous page.
    before: Option<String>,
    /// Number of entries to skip, at most 10,000. `before` has no such limit.
    offset: Option<u64>,
    /// Maximum number of entries: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Page of the list of programs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramQuery {
    /// Only programs older than this one: the last program of the previous page.
    before: Option<String>,
    /// Maximum number of entries: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// Filter and page of a list of artifacts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ArtifactQuery {
    /// Content of the artifact.
    kind: Option<ArtifactKind>,
    /// Number of entries to skip, at most 10,000. Artifact ids are secret, so pages have offsets.
    offset: Option<u64>,
    /// Maximum number of entries: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// A parsed query string, or why it is invalid.
type ParsedQuery<T> = Result<Query<T>, QueryRejection>;

fn valid<T>(query: ParsedQuery<T>) -> Result<T, ErrorResponse> {
    query.map(|Query(query)| query).map_err(|rejection| invalid(rejection.body_text()))
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(JobQuery), responses(
    (status = 200, body = Vec<Job>),
    (status = 400, description = "invalid query", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn jobs(
    State(context): State<AdminContext>,
    query: ParsedQuery<JobQuery>,
) -> ApiResult<Vec<Job>> {
    let query = valid(query)?;
    let before = match parse_optional::<JobId>("before", query.before.as_deref())? {
        None => None,
        Some(id) => {
            let job = context.store.job(id).await.map_err(store_unavailable)?;
            let job = job.ok_or_else(|| not_found("unknown job in `before`"))?;
            Some((job.created_at, id))
        }
    };
    let filter = JobFilter {
        states: parse_enum_list("state", query.state.as_deref())?,
        mode: parse_optional_enum("mode", query.mode.as_ref())?,
        program: parse_optional::<VkHash>("program", query.program.as_deref())?,
        requester: parse_optional::<Address>("requester", query.requester.as_deref())?,
        worker: parse_optional::<WorkerId>("worker", query.worker.as_deref())?,
        before,
        limit: limit(query.limit),
    };
    let found = context.store.jobs(&filter).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(|(job, requests)| Job::of(job, requests, &context.clients)).collect()))
}

/// A job with its attempts.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "job id")), responses(
    (status = 200, body = WholeJob),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn job(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> ApiResult<WholeJob> {
    let id = job_id(&id)?;
    whole(&context, id).await.map(Json)
}

/// Why a job has no proof yet, or how it ended.
#[utoipa::path(get, path = "/jobs/{id}/why", tag = "jobs",
    params(("id" = String, Path, description = "job id")), responses(
    (status = 200, body = Why),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn why(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> ApiResult<Why> {
    let id = job_id(&id)?;
    let found = context.proofs.why(id).await.map_err(actor_timeout)?;
    let job = context.store.job(id).await.map_err(store_unavailable)?;
    let job = job.ok_or_else(|| not_found("no such job"))?;
    let blocked = context.registry.blocked().await.map_err(actor_timeout)?;
    let (why, ahead) = match (found, &job.failure) {
        // The scheduler does not know of blocked workers.
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

/// The queue: queued jobs in the order in which they will be assigned.
#[utoipa::path(get, path = "/queue", tag = "jobs", params(QueueQuery), responses(
    (status = 200, body = Vec<Waiting>),
    (status = 400, description = "invalid query", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn queue(
    State(context): State<AdminContext>,
    query: ParsedQuery<QueueQuery>,
) -> ApiResult<Vec<Waiting>> {
    let query = valid(query)?;
    let (offset, limit) = (query.offset.unwrap_or(0), limit(query.limit) as usize);
    let queued = context.proofs.queue_snapshot(offset, limit).await.map_err(actor_timeout)?;
    let entries = (offset..).zip(&queued);
    Ok(Json(
        entries.map(|(position, job)| render::queued(position, job, &context.clients)).collect(),
    ))
}

/// Requests, newest first.
#[utoipa::path(get, path = "/requests", tag = "requests", params(RequestQuery), responses(
    (status = 200, body = Vec<Request>),
    (status = 400, description = "invalid query", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn requests(
    State(context): State<AdminContext>,
    query: ParsedQuery<RequestQuery>,
) -> ApiResult<Vec<Request>> {
    let query = valid(query)?;
    let states: Vec<RequestState> = parse_enum_list("state", query.state.as_deref())?;
    let before = match query.before.as_deref().filter(|id| !id.is_empty()) {
        None => None,
        Some(id) => {
            let last = found_request(&context, id).await?.request;
            Some((last.created_at, last.id))
        }
    };
    let filter = RequestFilter {
        states: (!states.is_empty()).then_some(states),
        mode: parse_optional_enum("mode", query.mode.as_ref())?,
        vk_hash: parse_optional::<VkHash>("program", query.program.as_deref())?,
        requester: parse_optional::<Address>("requester", query.requester.as_deref())?,
        before,
        limit: limit(query.limit),
        offset: offset(query.offset)?,
        ..RequestFilter::default()
    };
    let found = context.store.requests(&filter).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(|view| Request::of(&view.request, &context.clients)).collect()))
}

/// The job of a request, with its attempts. The first 16 digits of the request id suffice.
#[utoipa::path(get, path = "/requests/{id}", tag = "requests",
    params(("id" = String, Path, description = "request id, or at least its first 16 digits")), responses(
    (status = 200, body = WholeJob),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such request", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn request(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> ApiResult<WholeJob> {
    let found = found_request(&context, &id).await?;
    whole(&context, found.job.id).await.map(Json)
}

/// The request whose id starts with these digits.
pub(super) async fn found_request(
    context: &AdminContext,
    id: &str,
) -> Result<RequestView, ErrorResponse> {
    let digits = id.strip_prefix("0x").unwrap_or(id);
    let prefix = hex::decode(digits).ok().filter(|id| (8..=RequestId::LEN).contains(&id.len()));
    let prefix = prefix.ok_or_else(|| {
        invalid(format!("invalid request id {id:?}: expected 16 to 64 hexadecimal digits"))
    })?;
    let mut found =
        context.store.requests_with_prefix(&prefix).await.map_err(store_unavailable)?.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(not_found("no such request")),
        (Some(view), None) => Ok(view),
        _ => Err(invalid(format!("ambiguous request id {id:?}: expected more digits"))),
    }
}

/// Programs, newest first.
#[utoipa::path(get, path = "/programs", tag = "programs", params(ProgramQuery), responses(
    (status = 200, body = Vec<Program>),
    (status = 400, description = "invalid query", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn programs(
    State(context): State<AdminContext>,
    query: ParsedQuery<ProgramQuery>,
) -> ApiResult<Vec<Program>> {
    let query = valid(query)?;
    let before = match parse_optional::<VkHash>("before", query.before.as_deref())? {
        None => None,
        Some(id) => {
            let program = context.store.program(id).await.map_err(store_unavailable)?;
            let program = program.ok_or_else(|| not_found("unknown program in `before`"))?;
            Some((program.created_at, id))
        }
    };
    let found =
        context.store.programs(before, limit(query.limit)).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(|found| Program::of(found, &context.clients)).collect()))
}

/// Upload tickets and stored artifacts, newest first.
#[utoipa::path(get, path = "/artifacts", tag = "artifacts", params(ArtifactQuery), responses(
    (status = 200, body = Vec<Artifact>),
    (status = 400, description = "invalid query", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn artifacts(
    State(context): State<AdminContext>,
    query: ParsedQuery<ArtifactQuery>,
) -> ApiResult<Vec<Artifact>> {
    let query = valid(query)?;
    let filter = ArtifactFilter {
        kind: parse_optional_enum("kind", query.kind.as_ref())?,
        offset: offset(query.offset)?,
        limit: limit(query.limit),
    };
    let found = context.store.artifacts(&filter).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(Artifact::of).collect()))
}

async fn whole(context: &AdminContext, id: JobId) -> Result<WholeJob, ErrorResponse> {
    let job = context.store.job(id).await.map_err(store_unavailable)?;
    let job = job.ok_or_else(|| not_found("no such job"))?;
    let requests = context.store.requests_of(id, MAX_REQUESTS).await.map_err(store_unavailable)?;
    let history = context.store.attempts(id).await.map_err(store_unavailable)?;
    let scheduler = context.proofs.overview().await.map_err(actor_timeout)?;
    let text = id.to_string();
    let is_divided = history.iter().any(|attempt| attempt.prover.is_fleet());
    Ok(WholeJob {
        job: Job::of(&job, &requests, &context.clients),
        history: history.iter().map(Attempt::of).collect(),
        running: render::all_running(&scheduler).filter(|running| running.job == text).collect(),
        tasks: if is_divided { tasks::summary_of(context, id).await? } else { None },
    })
}
