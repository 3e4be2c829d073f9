//! Commands of operators.

use alloy_primitives::Address;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hierophant_admin_model::{
    Blocked, ClearQueue, Cleared, Done, NewPriority, Reason, Refusal, Value,
};
use hierophant_model::commands::{
    self, ClearFilter, Command, CommandError, Subject, WorkerCommand,
};
use hierophant_model::records::{JobState, Millis};
use network_lib::ids::VkHash;
use serde::de::DeserializeOwned;

use super::lists::found_request;
use super::page::{
    ApiResult, ErrorResponse, actor_timeout, error_response, invalid, job_id, not_found,
    parse_enum, parse_enum_list, parse_optional, parse_optional_enum, refuse_empty, unavailable,
    worker_id,
};
use crate::api::AdminContext;

/// Cancels a request. Its job is cancelled too unless other requests wait for it. Idempotent.
#[utoipa::path(post, path = "/requests/{id}/cancel", tag = "requests", request_body = Option<Reason>,
    params(("id" = String, Path, description = "request id, or at least its first 16 digits")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such request", body = Refusal),
    (status = 409, description = "already ended in another state", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn cancel_request(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let _: Reason = parse_body(&body)?;
    let found = found_request(&context, &id).await?;
    act(&context, Command::CancelRequest(found.request.id)).await
}

/// Cancels a job with all its requests. Idempotent.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", request_body = Option<Reason>,
    params(("id" = String, Path, description = "job id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 409, description = "already ended in another state", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn cancel_job(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let _: Reason = parse_body(&body)?;
    act(&context, Command::CancelJob(job_id(&id)?)).await
}

/// Returns a job to the queue. If a worker is proving it, the attempt is cancelled and does not count against
/// the worker. A job that failed through a fault of the network is replaced by a new job for those of its
/// requests whose deadline has not passed.
#[utoipa::path(post, path = "/jobs/{id}/requeue", tag = "jobs", request_body = Option<Reason>,
    params(("id" = String, Path, description = "job id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 409, description = "already ended, or its proof is being verified", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn requeue(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let _: Reason = parse_body(&body)?;
    act(&context, Command::Requeue(job_id(&id)?)).await
}

/// Sets the priority of a job, instead of that of its kind of proof. It survives a restart.
#[utoipa::path(post, path = "/jobs/{id}/priority", tag = "jobs", request_body = NewPriority,
    params(("id" = String, Path, description = "job id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id or priority", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 409, description = "already ended", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn priority(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let requested: NewPriority = parse_body(&body)?;
    let priority = parse_enum("class", &requested.class)?;
    act(&context, Command::Prioritise(job_id(&id)?, priority)).await
}

/// Drains a worker: it accepts no more jobs, finishes those that it has, and leaves.
#[utoipa::path(post, path = "/workers/{id}/drain", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "worker id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "worker not connected", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn drain(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let reason = reason(&body)?;
    act_on(&context, WorkerCommand::Drain(worker_id(&id)?, reason)).await
}

/// Stops draining a worker that has not left yet: it accepts jobs again.
#[utoipa::path(post, path = "/workers/{id}/undrain", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "worker id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "worker not connected", body = Refusal),
    (status = 409, description = "already leaving", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn undrain(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let _: Reason = parse_body(&body)?;
    act_on(&context, WorkerCommand::Undrain(worker_id(&id)?)).await
}

/// Closes the connection of a worker. Its jobs return to the queue at once. It may reconnect.
#[utoipa::path(post, path = "/workers/{id}/drop", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "worker id")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "worker not connected", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn drop_worker(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let reason = reason(&body)?;
    act_on(&context, WorkerCommand::Drop(worker_id(&id)?, reason)).await
}

/// Blocks a worker, or all workers from an IP address, in addition to `worker_registry.blocked` of the
/// configuration. Matching connections are closed. It survives a restart.
#[utoipa::path(post, path = "/workers/{id}/block", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "worker id or IP address")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid worker id or IP address", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn block(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let reason = reason(&body)?;
    act_on(&context, WorkerCommand::Block(subject(&id)?, reason)).await
}

/// Unblocks a worker or an IP address.
#[utoipa::path(post, path = "/workers/{id}/unblock", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "worker id or IP address")), responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid worker id or IP address", body = Refusal),
    (status = 409, description = "blocked by the configuration", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn unblock(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<Done> {
    let _: Reason = parse_body(&body)?;
    act_on(&context, WorkerCommand::Unblock(subject(&id)?)).await
}

/// Blocked workers and addresses, by the configuration or by operators.
#[utoipa::path(get, path = "/blocked", tag = "workers", responses(
    (status = 200, body = Vec<Blocked>),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn blocked(State(context): State<AdminContext>) -> ApiResult<Vec<Blocked>> {
    let blocked = context.registry.blocked().await.map_err(actor_timeout)?;
    Ok(Json(blocked.iter().map(Blocked::of).collect()))
}

/// Pauses dispatch: no job is assigned until it is resumed, even after a restart. Attempts in progress continue,
/// and new requests are accepted and queued.
#[utoipa::path(post, path = "/dispatch/pause", tag = "dispatch", request_body = Option<Reason>,
    responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid body", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn pause(State(context): State<AdminContext>, body: Bytes) -> ApiResult<Done> {
    let reason = reason(&body)?;
    act(&context, Command::Pause(reason)).await
}

/// Resumes dispatch.
#[utoipa::path(post, path = "/dispatch/resume", tag = "dispatch", request_body = Option<Reason>,
    responses(
    (status = 200, body = Done),
    (status = 400, description = "invalid body", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn resume(State(context): State<AdminContext>, body: Bytes) -> ApiResult<Done> {
    let _: Reason = parse_body(&body)?;
    act(&context, Command::Resume).await
}

/// Cancels all queued jobs that match; with `running` also those in progress. A call without a condition is invalid
/// unless it sets `all`.
#[utoipa::path(post, path = "/queue/clear", tag = "queue", request_body = ClearQueue, responses(
    (status = 200, body = Cleared),
    (status = 400, description = "invalid, empty or missing filter", body = Refusal),
    (status = 503, description = "actor timeout", body = Refusal),
))]
pub(super) async fn clear(State(context): State<AdminContext>, body: Bytes) -> ApiResult<Cleared> {
    let requested: ClearQueue = parse_body(&body)?;
    let filter = filter(&requested)?;
    let proofs = &context.proofs;
    let cleared = if requested.dry_run {
        proofs.preview_clear(filter).await
    } else {
        proofs.clear(filter).await
    };
    let cleared = cleared.map_err(actor_timeout)?;
    if !requested.dry_run {
        tracing::info!(jobs = cleared.jobs.len(), requests = cleared.requests, "queue cleared");
    }
    Ok(Json(Cleared::of(&cleared, requested.dry_run)))
}

fn filter(requested: &ClearQueue) -> Result<ClearFilter, ErrorResponse> {
    const RUNNING: [JobState; 4] =
        [JobState::Leased, JobState::Proving, JobState::Uploaded, JobState::Verifying];
    check_conditions(requested)?;
    let mut states: Vec<JobState> = parse_enum_list("state", requested.state.as_deref())?;
    if let Some(ended) = states.iter().find(|state| state.is_terminal()) {
        return Err(invalid(format!(
            "invalid `state` {:?}: expected a state in which jobs have not ended",
            ended.as_str()
        )));
    }
    if let Some(running) = states.iter().find(|state| RUNNING.contains(state) && !requested.running)
    {
        let running = running.as_str();
        return Err(invalid(format!(
            "invalid `state` {running:?}: jobs in progress require `running`"
        )));
    }
    if states.is_empty() {
        states.push(JobState::Queued);
        states.extend(RUNNING.iter().filter(|_| requested.running));
    }
    let created_by = requested.older_than_seconds.map(|seconds| {
        let millis = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        Millis(Millis::now().0.saturating_sub(millis))
    });
    Ok(ClearFilter {
        states,
        mode: parse_optional_enum("mode", requested.mode.as_ref())?,
        program: parse_optional::<VkHash>("program", requested.program.as_deref())?,
        requester: parse_optional::<Address>("requester", requested.requester.as_deref())?,
        created_by,
    })
}

/// Refuses a filter without a condition, and empty conditions: what was meant to select few jobs would cancel all.
fn check_conditions(requested: &ClearQueue) -> Result<(), ErrorResponse> {
    let mode = requested.mode.as_ref().map(Value::as_str);
    let conditions = [
        ("state", requested.state.as_deref()),
        ("mode", mode),
        ("program", requested.program.as_deref()),
        ("requester", requested.requester.as_deref()),
    ];
    for (name, text) in conditions {
        refuse_empty(name, text)?;
    }
    let is_selective =
        conditions.iter().any(|(_, text)| text.is_some()) || requested.older_than_seconds.is_some();
    match (is_selective, requested.all) {
        (false, false) => Err(invalid(
            "missing filter: expected a condition, or \"all\": true to cancel every queued job",
        )),
        (true, true) => Err(invalid("invalid `all`: expected it without other conditions")),
        _ => Ok(()),
    }
}

/// Executes a command on a request, on a job or on dispatch.
async fn act(context: &AdminContext, command: Command) -> ApiResult<Done> {
    into_response(context.proofs.command(command).await)
}

/// Executes a command on a worker.
async fn act_on(context: &AdminContext, command: WorkerCommand) -> ApiResult<Done> {
    into_response(context.registry.command(command).await)
}

/// Response to a command with this outcome.
fn into_response(outcome: Result<commands::CommandOutcome, CommandError>) -> ApiResult<Done> {
    match outcome {
        Ok(done) => Ok(Json(Done::of(done))),
        Err(CommandError::NotFound(what)) => Err(not_found(what)),
        Err(CommandError::Conflict(why)) => Err(error_response(StatusCode::CONFLICT, why)),
        Err(CommandError::Unavailable) => Err(unavailable(CommandError::Unavailable.to_string())),
    }
}

/// Parses the JSON body of a call; an empty body counts as an empty object.
pub(super) fn parse_body<T: DeserializeOwned>(body: &Bytes) -> Result<T, ErrorResponse> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body.as_ref() };
    serde_json::from_slice(body).map_err(|error| invalid(format!("invalid body: {error}")))
}

/// The reason in the body of a command.
fn reason(body: &Bytes) -> Result<String, ErrorResponse> {
    Ok(commands::reason(&parse_body::<Reason>(body)?.reason))
}

fn subject(text: &str) -> Result<Subject, ErrorResponse> {
    text.parse().map_err(|_| {
        invalid(format!("invalid worker {text:?}: expected a worker id or an IP address"))
    })
}
