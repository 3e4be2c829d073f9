//! Inputs and results of tasks, for the workers that hold their leases.
//!
//! The scheduler decides which digests a lease opens. A record that another worker was asked to hand in is waited for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hierophant_scheduler::proofs::{HandIn, TaskBlob};
use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::BlobInfo;
use network_lib::task;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::local::WorkerOrigin;
use super::receive::{Sender, discard, receive};
use super::serve::{Stored, serve};
use super::worker_auth::{
    Caller, authenticate, busy, not_theirs, rejected, revoked, token_revoked,
};
use super::{not_found, text_response, try_again};
use crate::api::WorkerContext;
use crate::api::uploads::SizeLimit;
use crate::artifacts::blobs::StagedBlob;
use crate::metrics::{Direction, Peer};

/// How long a blob is waited for that another worker hands in.
const WAIT: Duration = Duration::from_secs(10);

/// How often a waiting call asks whether the blob still comes: its holder may be lost, or the task.
const LOOK: Duration = Duration::from_secs(1);

const NO_DIGEST: &str = "invalid digest: expected a SHA-256 in 64 hexadecimal digits";
const GONE: &str = "no source has this blob, or the task does not need it";
const ON_ITS_WAY: &str = "another worker has not handed in this blob yet; try again";
const MISSING: &str = "the blob is missing and will be handed in again; try again";
const REPLACED: &str = "a later upload of this blob has begun; repeat it only if that one fails";
const STORING_FAILED: &str = "the blob could not be stored; try again later";

/// A blob under a lease.
#[derive(Debug, Clone, Copy)]
struct Addressed {
    caller: Caller,
    lease: LeaseId,
    blob: Sha256Digest,
}

/// `GET /leases/{id}/blobs/{sha256}`: an input of the task.
pub(super) async fn fetch(
    State(context): State<WorkerContext>,
    Extension(origin): Extension<WorkerOrigin>,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Response {
    let addressed = match address(&context, path, origin, request.headers()).await {
        Ok(addressed) => addressed,
        Err(refusal) => return *refusal,
    };
    let Addressed { caller, lease, blob } = addressed;
    let began = Instant::now();
    let job = loop {
        match context.proofs.task_blob(lease, caller.worker, blob).await {
            Ok(TaskBlob::Readable { job, size }) => {
                let found = context.tasks.metadata(job, blob);
                if found.is_none_or(|found| found.size != size) {
                    return missing(&context, job, blob).await;
                }
                break job;
            }
            Ok(TaskBlob::Expected { .. }) if began.elapsed() >= WAIT => {
                return text_response(StatusCode::SERVICE_UNAVAILABLE, ON_ITS_WAY);
            }
            Ok(TaskBlob::Expected { job }) => {
                let arrival = timeout(LOOK, context.tasks.arrival(job, blob));
                let arrived = tokio::select! {
                    arrived = arrival => arrived,
                    () = revoked(context.tokens.clone(), caller.token) => return token_revoked(),
                };
                if arrived.is_ok() {
                    break job;
                }
            }
            Ok(TaskBlob::Gone) => return not_found(GONE),
            Ok(TaskBlob::Refused) => return not_theirs(),
            Err(_) => return busy(),
        }
    };
    let stored = Stored::OfTask(&context.tasks, job, blob);
    let response = serve(&context.transfers, &stored, None, Peer::Contemplant, request).await;
    if response.status() == StatusCode::NOT_FOUND {
        return missing(&context, job, blob).await;
    }
    let is_whole = response.status() == StatusCode::OK;
    let cut = revoked(context.tokens.clone(), caller.token);
    response.map(|body| {
        let body = if is_whole { checked(context, job, blob, body) } else { body };
        Body::from_stream(body.into_data_stream().take_until(cut))
    })
}

/// A whole blob, compared with its digest while it is sent. If it is damaged, the last piece is withheld and the blob
/// counts as missing.
fn checked(context: WorkerContext, job: JobId, blob: Sha256Digest, body: Body) -> Body {
    let size = context.tasks.metadata(job, blob).map(|found| found.size);
    let (mut sent, mut hasher) = (0, Sha256::new());
    Body::from_stream(body.into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(io::Error::other)?;
        sent += chunk.len() as u64;
        hasher.update(&chunk);
        if Some(sent) == size && hasher.finalize_reset()[..] != blob.0 {
            let context = context.clone();
            task::spawn("report damage", async move { missing(&context, job, blob).await });
            return Err(io::Error::other("the blob is damaged"));
        }
        Ok(chunk)
    }))
}

/// Reports that a blob is missing or has another size. The scheduler has it handed in or made again, and decides about
/// the next call.
async fn missing(context: &WorkerContext, job: JobId, blob: Sha256Digest) -> Response {
    tracing::error!(job_id = %job, %blob, "a blob of a task is missing or damaged");
    // What is left of it would count as stored.
    if let Err(error) = context.tasks.remove(job, blob).await {
        tracing::warn!(job_id = %job, %error, "cannot remove a damaged blob of a task");
    }
    context.proofs.task_blob_missing(job, blob);
    text_response(StatusCode::SERVICE_UNAVAILABLE, MISSING)
}

/// `PUT /leases/{id}/blobs/{sha256}`: a result of the task, or a record that the task of another worker needs. Repeating
/// it changes nothing, because the answer may have been lost.
pub(super) async fn hand_in(
    State(context): State<WorkerContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(origin): Extension<WorkerOrigin>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let addressed = match address(&context, path, origin, &headers).await {
        Ok(addressed) => addressed,
        Err(refusal) => return *refusal,
    };
    let Addressed { caller, lease, blob } = addressed;
    let permission = match context.proofs.may_hand_in(lease, caller.worker, blob).await {
        Ok(Some(permission)) => permission,
        Ok(None) => return not_theirs(),
        Err(_) => return busy(),
    };
    let span = tracing::info_span!("job", job_id = %permission.job, lease = lease.hint());
    keep(&context, addressed, permission, peer, &headers, body).instrument(span).await
}

/// Receives and stores a blob, unless the worker's token is revoked meanwhile.
async fn keep(
    context: &WorkerContext,
    addressed: Addressed,
    HandIn { job, most_bytes }: HandIn,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let Addressed { caller, lease, blob } = addressed;
    if let Some(found) = context.tasks.metadata(job, blob) {
        // Its bytes are known by the digest.
        discard(body.into_data_stream());
        return report(context, addressed, job, BlobInfo { size: found.size, sha256: blob }).await;
    }
    let sender = Sender { peer: Peer::Contemplant, address: peer.ip(), quota: None };
    let limit = SizeLimit { bytes: most_bytes, key: "sharding.max_blob_bytes" };
    let begin = |announced| context.tasks.begin(announced);
    let receiving = context.handing_in.receive((lease, caller.worker, blob));
    let received = tokio::select! {
        received = receive(&context.transfers, begin, headers, body, &sender, limit) => received,
        () = receiving.replaced() => return try_again(REPLACED),
        () = revoked(context.tokens.clone(), caller.token) => return token_revoked(),
    };
    drop(receiving);
    let staged = match received {
        Ok(staged) => staged,
        Err(refusal) if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return rejected(*refusal, &format!("larger than `{}` of this network", limit.key));
        }
        Err(refusal) => return *refusal,
    };
    let info = staged.info();
    context.metrics.transferred(Direction::In, Peer::Contemplant, info.size);
    if info.sha256 != blob {
        let reason = format!("wrong digest {}: expected {blob}", info.sha256);
        let refusal = text_response(StatusCode::UNPROCESSABLE_ENTITY, reason.clone());
        return rejected(refusal, &reason);
    }
    // Completed even if the worker leaves: otherwise it would hand in the same bytes again.
    let storing = store(context.clone(), addressed, job, staged).in_current_span();
    task::spawn("store blob of a task", storing).await.unwrap_or_else(|error| {
        tracing::error!(%error, "storing a blob of a task failed");
        try_again(STORING_FAILED)
    })
}

/// Stores a received blob and reports it to the scheduler, which frees it if it is not needed.
async fn store(
    context: WorkerContext,
    addressed: Addressed,
    job: JobId,
    staged: StagedBlob,
) -> Response {
    let info = staged.info();
    if let Err(error) = context.tasks.adopt(job, staged).await {
        tracing::error!(%error, "a blob of a task could not be stored");
        return try_again(STORING_FAILED);
    }
    report(&context, addressed, job, info).await
}

/// Reports to the scheduler that a handed-in blob is stored.
async fn report(
    context: &WorkerContext,
    addressed: Addressed,
    job: JobId,
    info: BlobInfo,
) -> Response {
    let Addressed { caller, lease, .. } = addressed;
    match context.proofs.handed_in(lease, caller.worker, job, info).await {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) => not_theirs(),
        Err(_) => busy(),
    }
}

/// Authenticates the worker, and reads what it addresses. The error is the response to send.
async fn address(
    context: &WorkerContext,
    (lease, blob): (String, String),
    origin: WorkerOrigin,
    headers: &HeaderMap,
) -> Result<Addressed, Box<Response>> {
    let caller = authenticate(context, origin, headers).await?;
    let lease = lease.parse().map_err(|_| Box::new(not_theirs()))?;
    let invalid = |_| Box::new(text_response(StatusCode::BAD_REQUEST, NO_DIGEST));
    let blob = blob.parse().map_err(invalid)?;
    Ok(Addressed { caller, lease, blob })
}

#[cfg(test)]
mod tests;
