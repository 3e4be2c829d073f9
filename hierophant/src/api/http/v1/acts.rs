//! What operators do.

use alloy_primitives::Address;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hierophant_model::commands::{
    ClearFilter, Command, CommandError, Subject, WorkerCommand, reason,
};
use hierophant_model::records::{JobState, Millis};
use network_lib::ids::VkHash;
use serde::de::DeserializeOwned;

use super::lists::found_request;
use super::page::{
    Answer, ErrorResponse, actor_timeout, invalid, job_id, known, not_found, optional, parsed,
    refusal, several, unavailable, worker_id,
};
use crate::api::AdminContext;
use hierophant_admin_model::{Blocked, ClearQueue, Cleared, Done, NewPriority, Reason, Refusal};

/// Cancels a request; its job stops when nobody else waits for it. Cancelling twice is fine.
#[utoipa::path(post, path = "/requests/{id}/cancel", tag = "requests", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the request, 16 digits or more")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such request", body = Refusal),
    (status = 409, description = "it has ended otherwise", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn cancel_request(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let _: Reason = sent(&body)?;
    let found = found_request(&context, &id).await?;
    act(&context, Command::CancelRequest(found.request.id)).await
}

/// Cancels a job with all its requests. Cancelling twice is fine.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the job")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 409, description = "it has ended otherwise", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn cancel_job(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let _: Reason = sent(&body)?;
    act(&context, Command::CancelJob(job_id(&id)?)).await
}

/// Takes a job away from the Contemplant that works on it, back into the queue; nobody is blamed. A job
/// that failed by the network's fault is made anew, as another job, for those of its requests that have
/// not passed their deadline.
#[utoipa::path(post, path = "/jobs/{id}/requeue", tag = "jobs", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the job")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 409, description = "it has ended, or its proof is being checked", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn requeue(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let _: Reason = sent(&body)?;
    act(&context, Command::Requeue(job_id(&id)?)).await
}

/// Gives a job a priority, in place of that of its kind of proof. It outlives a restart.
#[utoipa::path(post, path = "/jobs/{id}/priority", tag = "jobs", request_body = NewPriority,
    params(("id" = String, Path, description = "id of the job")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is no id, or no priority", body = Refusal),
    (status = 404, description = "no such job", body = Refusal),
    (status = 409, description = "it has ended", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn priority(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let wanted: NewPriority = sent(&body)?;
    let priority = known("class", &wanted.class)?;
    act(&context, Command::Prioritise(job_id(&id)?, priority)).await
}

/// Has a Contemplant take no more jobs, finish what it holds and leave.
#[utoipa::path(post, path = "/workers/{id}/drain", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the Contemplant")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such Contemplant is connected", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn drain(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let why = why(&body)?;
    act_on(&context, WorkerCommand::Drain(worker_id(&id)?, why)).await
}

/// Has a drained Contemplant that still finishes something take jobs again.
#[utoipa::path(post, path = "/workers/{id}/undrain", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the Contemplant")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such Contemplant is connected", body = Refusal),
    (status = 409, description = "it is leaving already", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn undrain(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let _: Reason = sent(&body)?;
    act_on(&context, WorkerCommand::Undrain(worker_id(&id)?)).await
}

/// Closes a Contemplant's connection; what it works on waits again at once. It may connect anew.
#[utoipa::path(post, path = "/workers/{id}/drop", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the Contemplant")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such Contemplant is connected", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn drop_worker(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let why = why(&body)?;
    act_on(&context, WorkerCommand::Drop(worker_id(&id)?, why)).await
}

/// Turns a Contemplant away, or all that come from an address, beside `worker_registry.blocked` of the
/// configuration. Those that are connected are dropped. It outlives a restart.
#[utoipa::path(post, path = "/workers/{id}/block", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the Contemplant, or an IP address")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is neither an id nor an address", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn block(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let why = why(&body)?;
    act_on(&context, WorkerCommand::Block(subject(&id)?, why)).await
}

/// Admits again who was blocked.
#[utoipa::path(post, path = "/workers/{id}/unblock", tag = "workers", request_body = Option<Reason>,
    params(("id" = String, Path, description = "id of the Contemplant, or an IP address")), responses(
    (status = 200, body = Done),
    (status = 400, description = "that is neither an id nor an address", body = Refusal),
    (status = 409, description = "the configuration blocks it", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn unblock(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let _: Reason = sent(&body)?;
    act_on(&context, WorkerCommand::Unblock(subject(&id)?)).await
}

/// Who is turned away, by the configuration or by operators.
#[utoipa::path(get, path = "/blocked", tag = "workers", responses(
    (status = 200, body = Vec<Blocked>),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn blocked(State(context): State<AdminContext>) -> Answer<Vec<Blocked>> {
    let blocked = context.registry.blocked().await.map_err(actor_timeout)?;
    Ok(Json(blocked.iter().map(Blocked::of).collect()))
}

/// Gives no more jobs out, also after a restart. What is being proved goes on, requests are accepted
/// and wait.
#[utoipa::path(post, path = "/dispatch/pause", tag = "dispatch", request_body = Option<Reason>,
    responses(
    (status = 200, body = Done),
    (status = 400, description = "the body cannot be read", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn pause(State(context): State<AdminContext>, body: Bytes) -> Answer<Done> {
    let why = why(&body)?;
    act(&context, Command::Pause(why)).await
}

/// Gives jobs out again.
#[utoipa::path(post, path = "/dispatch/resume", tag = "dispatch", request_body = Option<Reason>,
    responses(
    (status = 200, body = Done),
    (status = 400, description = "the body cannot be read", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn resume(State(context): State<AdminContext>, body: Bytes) -> Answer<Done> {
    let _: Reason = sent(&body)?;
    act(&context, Command::Resume).await
}

/// Cancels all jobs that wait and match, with `running` also those in progress.
#[utoipa::path(post, path = "/queue/clear", tag = "queue", request_body = ClearQueue, responses(
    (status = 200, body = Cleared),
    (status = 400, description = "a filter cannot be read", body = Refusal),
    (status = 503, description = "an owner of state does not answer", body = Refusal),
))]
pub(super) async fn clear(State(context): State<AdminContext>, body: Bytes) -> Answer<Cleared> {
    let wanted: ClearQueue = sent(&body)?;
    let filter = filter(&wanted)?;
    let proofs = &context.proofs;
    let cleared = if wanted.dry_run {
        proofs.preview_clear(filter).await
    } else {
        proofs.clear(filter).await
    };
    let cleared = cleared.map_err(actor_timeout)?;
    if !wanted.dry_run {
        tracing::info!(jobs = cleared.jobs.len(), requests = cleared.requests, "queue cleared");
    }
    Ok(Json(Cleared::of(&cleared, wanted.dry_run)))
}

fn filter(wanted: &ClearQueue) -> Result<ClearFilter, ErrorResponse> {
    const RUNNING: [JobState; 4] =
        [JobState::Leased, JobState::Proving, JobState::Uploaded, JobState::Verifying];
    let mut states: Vec<JobState> = several("state", wanted.state.as_deref())?;
    if let Some(ended) = states.iter().find(|state| state.is_terminal()) {
        return Err(invalid(format!(
            "`state` cannot be {:?}: such jobs have ended",
            ended.as_str()
        )));
    }
    if let Some(running) = states.iter().find(|state| RUNNING.contains(state) && !wanted.running) {
        let running = running.as_str();
        return Err(invalid(format!(
            "`state` {running:?} needs `running`: such jobs are in progress"
        )));
    }
    if states.is_empty() {
        states.push(JobState::Queued);
        states.extend(RUNNING.iter().filter(|_| wanted.running));
    }
    let created_by = wanted.older_than_seconds.map(|seconds| {
        let millis = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        Millis(Millis::now().0.saturating_sub(millis))
    });
    Ok(ClearFilter {
        states,
        mode: optional("mode", wanted.mode.as_ref())?,
        program: parsed::<VkHash>("program", wanted.program.as_deref())?,
        requester: parsed::<Address>("requester", wanted.requester.as_deref())?,
        created_by,
    })
}

async fn act(context: &AdminContext, action: Command) -> Answer<Done> {
    told(context.proofs.command(action).await)
}

async fn act_on(context: &AdminContext, action: WorkerCommand) -> Answer<Done> {
    told(context.registry.command(action).await)
}

fn told(answer: Result<hierophant_model::commands::CommandOutcome, CommandError>) -> Answer<Done> {
    match answer {
        Ok(done) => Ok(Json(Done::of(done))),
        Err(CommandError::NotFound(what)) => Err(not_found(what)),
        Err(CommandError::Conflict(how_it_is)) => Err(refusal(StatusCode::CONFLICT, how_it_is)),
        Err(CommandError::Unavailable) => Err(unavailable(CommandError::Unavailable.to_string())),
    }
}

/// The JSON body of a call; an empty body counts as an empty object.
pub(super) fn sent<T: DeserializeOwned>(body: &Bytes) -> Result<T, ErrorResponse> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body.as_ref() };
    serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body cannot be read: {error}")))
}

fn why(body: &Bytes) -> Result<String, ErrorResponse> {
    Ok(reason(&sent::<Reason>(body)?.reason))
}

fn subject(text: &str) -> Result<Subject, ErrorResponse> {
    text.parse().map_err(|error| invalid(format!("{text:?} is {error}")))
}
