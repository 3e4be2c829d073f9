//! Program, input and proof of an attempt, for the worker that holds the lease.
//!
//! The access key of the welcome authenticates the worker; the scheduler decides whether it holds the lease.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hierophant_scheduler::proofs::LeaseAccess;
use network_lib::ids::{ArtifactId, LeaseId};
use network_lib::task;
use tracing::{Instrument, Span};

use super::local::WorkerOrigin;
use super::receive::{Sender, discard, receive};
use super::serve::serve_blob;
use super::try_again;
use super::worker_auth::{
    Caller, authenticate, busy, ended, not_theirs, rejected, revoked, token_revoked,
};
use crate::api::WorkerContext;
use crate::api::storing::Turn;
use crate::api::uploads::SizeLimit;
use crate::artifacts::blobs::StagedBlob;
use crate::metrics::{Direction, Peer};

const GONE: &str = "artifact data missing";
const STORING: &str = "the proof is being stored; try again later";
const STORING_FAILED: &str = "the proof could not be stored; try again later";
const REPLACED: &str = "a later upload of this proof has begun; repeat it only if that one fails";

/// A lease to which the caller has access.
struct OpenLease {
    lease: LeaseId,
    access: LeaseAccess,
    caller: Caller,
}

impl OpenLease {
    /// Span of the log lines about this attempt.
    fn span(&self) -> Span {
        tracing::info_span!("job", job_id = %self.access.job, lease = self.lease.hint())
    }
}

/// `GET /leases/{id}/program`: the program of the job.
pub(super) async fn program(
    State(context): State<WorkerContext>,
    Extension(origin): Extension<WorkerOrigin>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match open(&context, &id, origin, request.headers()).await {
        Ok(opened) => {
            let response = serve(&context, &opened, opened.access.program, request);
            response.instrument(opened.span()).await
        }
        Err(refusal) => *refusal,
    }
}

/// `GET /leases/{id}/stdin`: the input of the job.
pub(super) async fn stdin(
    State(context): State<WorkerContext>,
    Extension(origin): Extension<WorkerOrigin>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match open(&context, &id, origin, request.headers()).await {
        Ok(opened) => {
            let Some(stdin) = opened.access.stdin else { return not_theirs() };
            let response = serve(&context, &opened, stdin, request);
            response.instrument(opened.span()).await
        }
        Err(refusal) => *refusal,
    }
}

/// `PUT /leases/{id}/proof`: the finished proof of the job. Repeating it with the same bytes changes nothing, because
/// the answer may have been lost.
pub(super) async fn proof(
    State(context): State<WorkerContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(origin): Extension<WorkerOrigin>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match open(&context, &id, origin, &headers).await {
        Ok(opened) => keep(&context, &opened, peer, &headers, body).instrument(opened.span()).await,
        Err(refusal) => *refusal,
    }
}

/// Receives and stores a proof, unless the worker's token is revoked meanwhile.
async fn keep(
    context: &WorkerContext,
    opened: &OpenLease,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    if opened.access.is_task {
        // Its result is a blob.
        return not_theirs();
    }
    if context.storing.contains(opened.lease) {
        discard(body.into_data_stream());
        return try_again(STORING);
    }
    let sender = Sender { peer: Peer::Contemplant, address: peer.ip(), quota: None };
    let limit = context.transfers.limits.max_proof(opened.access.mode);
    let begin = |announced| context.transfers.blobs.begin(announced);
    let receiving = context.storing.receive(opened.lease);
    let received = tokio::select! {
        received = receive(&context.transfers, begin, headers, body, &sender, limit) => received,
        () = receiving.replaced() => return try_again(REPLACED),
        () = revoked(context.tokens.clone(), opened.caller.token) => return token_revoked(),
    };
    drop(receiving);
    let staged = match received {
        Ok(staged) => staged,
        Err(refusal) => return rejected_if_too_large(*refusal, limit),
    };
    let info = staged.info();
    context.metrics.transferred(Direction::In, Peer::Contemplant, info.size);
    let Some(turn) = context.storing.begin(opened.lease) else { return try_again(STORING) };
    // Since the call began, an earlier one may have ended.
    let earlier = match context.proofs.lease_access(opened.lease, opened.caller.worker).await {
        Ok(Some(LeaseAccess { proof: Some((_, stored)), .. })) if stored == info => {
            tracing::debug!("the proof was handed in again and is stored already");
            return StatusCode::OK.into_response();
        }
        Ok(Some(access)) => access.proof.map(|(earlier, _)| earlier),
        Ok(None) => return not_theirs(),
        Err(_) => return busy(),
    };
    // Completed even if the worker leaves: otherwise a proof whose storing takes longer than some proxy waits would
    // be handed in and stored again and again.
    let storing = store(context.clone(), opened.lease, staged, earlier, turn);
    task::spawn("store proof", storing).await.unwrap_or_else(|error| {
        tracing::error!(%error, "storing a proof failed");
        try_again(STORING_FAILED)
    })
}

/// Stores a received proof and reports it to the scheduler. A lease has one proof: the other one is removed at once,
/// the `earlier` one of this lease, or this one if it comes too late.
async fn store(
    context: WorkerContext,
    lease: LeaseId,
    staged: StagedBlob,
    earlier: Option<ArtifactId>,
    _turn: Turn,
) -> Response {
    let info = staged.info();
    let artifact = match context.artifacts.keep_proof(staged).await {
        Ok(artifact) => artifact,
        Err(error) => return try_again(error.to_string()),
    };
    match context.proofs.proof_stored(lease, artifact, info).await {
        Ok(true) => {
            if let Some(earlier) = earlier {
                context.artifacts.discard_proof(earlier);
            }
            StatusCode::OK.into_response()
        }
        Ok(false) => {
            context.artifacts.discard_proof(artifact);
            not_theirs()
        }
        Err(_) => busy(),
    }
}

/// Marks the refusal of a proof that is too large.
fn rejected_if_too_large(refusal: Response, limit: SizeLimit) -> Response {
    if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return rejected(refusal, &format!("larger than `{}` of this network", limit.key));
    }
    refusal
}

/// Serves an artifact until the worker's token is revoked. If its data is missing, the job cannot be proved:
/// `proofs` is notified, and the worker learns that its attempt is over.
async fn serve(
    context: &WorkerContext,
    opened: &OpenLease,
    blob: ArtifactId,
    request: Request,
) -> Response {
    let response = serve_blob(&context.transfers, blob, None, Peer::Contemplant, request).await;
    if response.status() == StatusCode::NOT_FOUND {
        tracing::error!(
            lease = opened.lease.hint(),
            "the data of a job's program or input is missing"
        );
        context.proofs.input_lost(opened.lease);
        return ended(StatusCode::GONE, GONE);
    }
    let cut = revoked(context.tokens.clone(), opened.caller.token);
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(cut)))
}

/// Authenticates the worker and looks up its lease.
async fn open(
    context: &WorkerContext,
    id: &str,
    origin: WorkerOrigin,
    headers: &HeaderMap,
) -> Result<OpenLease, Box<Response>> {
    let caller = authenticate(context, origin, headers).await?;
    let theirs = || Box::new(not_theirs());
    let lease: LeaseId = id.parse().map_err(|_| theirs())?;
    let access = context.proofs.lease_access(lease, caller.worker).await;
    let access = access.map_err(|_| Box::new(busy()))?.ok_or_else(theirs)?;
    Ok(OpenLease { lease, access, caller })
}
