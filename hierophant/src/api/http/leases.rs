//! Program, input and proof of an attempt, for the worker that holds the lease.
//!
//! The access key of the welcome authenticates the worker; the scheduler decides whether it holds the lease.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hierophant_scheduler::proofs::LeaseAccess;
use network_lib::ids::{ArtifactId, LeaseId, TokenId, WorkerId};
use network_lib::task;
use network_lib::wire::{LEASE_ENDED_HEADER, REJECTION_HEADER};
use tracing::{Instrument, Span};

use super::local::WorkerOrigin;
use super::receive::{Sender, discard, receive};
use super::serve::serve_blob;
use super::{text_response, try_again};
use crate::api::WorkerContext;
use crate::api::bearer::bearer;
use crate::api::storing::Turn;
use crate::api::uploads::SizeLimit;
use crate::artifacts::blobs::StagedBlob;
use crate::metrics::{Direction, Peer};
use crate::registry::KeyHolder;
use crate::tokens::Tokens;

const NO_KEY: &str =
    "access key missing or invalid: expected the one of the holder's latest welcome";
const NOT_YOURS: &str =
    "unknown lease: the attempt has ended, belongs to another worker or never existed";
const BUSY: &str = "lease lookup timed out; try again later";
const GONE: &str = "artifact data missing";
const STORING: &str = "the proof is being stored; try again later";
const STORING_FAILED: &str = "the proof could not be stored; try again later";
const REPLACED: &str = "a later upload of this proof has begun; repeat it only if that one fails";
const REVOKED: &str = "worker token revoked";

/// A lease to which the caller has access.
struct OpenLease {
    lease: LeaseId,
    access: LeaseAccess,
    worker: WorkerId,
    /// Token of the worker, if it has one that can be revoked.
    token: Option<TokenId>,
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
            let response = serve(&context, &opened, opened.access.stdin, request);
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
    if context.storing.contains(opened.lease) {
        discard(body.into_data_stream());
        return try_again(STORING);
    }
    let sender = Sender { peer: Peer::Contemplant, address: peer.ip(), quota: None };
    let limit = context.transfers.limits.max_proof(opened.access.mode);
    let receiving = context.storing.receive(opened.lease);
    let received = tokio::select! {
        received = receive(&context.transfers, headers, body, &sender, limit) => received,
        () = receiving.replaced() => return try_again(REPLACED),
        () = revoked(context.tokens.clone(), opened.token) => return forbidden(REVOKED),
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
    let earlier = match context.proofs.lease_access(opened.lease, opened.worker).await {
        Ok(Some(LeaseAccess { proof: Some((_, stored)), .. })) if stored == info => {
            tracing::debug!("the proof was handed in again and is stored already");
            return StatusCode::OK.into_response();
        }
        Ok(Some(access)) => access.proof.map(|(earlier, _)| earlier),
        Ok(None) => return forbidden(NOT_YOURS),
        Err(_) => return try_again(BUSY),
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
            forbidden(NOT_YOURS)
        }
        Err(_) => try_again(BUSY),
    }
}

/// Marks the refusal of a proof that is too large as final and as Hierophant's own: a proxy answers with the same code.
fn rejected_if_too_large(mut refusal: Response, limit: SizeLimit) -> Response {
    let reason = format!("larger than `{}` of this network", limit.key);
    if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE
        && let Ok(reason) = HeaderValue::from_str(&reason)
    {
        refusal.headers_mut().insert(REJECTION_HEADER, reason);
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
    let cut = revoked(context.tokens.clone(), opened.token);
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(cut)))
}

/// Authenticates the worker and looks up its lease. Ended, foreign and unknown leases get the same answer, so that
/// it does not reveal which leases exist.
async fn open(
    context: &WorkerContext,
    id: &str,
    origin: WorkerOrigin,
    headers: &HeaderMap,
) -> Result<OpenLease, Box<Response>> {
    let busy = |_| Box::new(try_again(BUSY));
    let key = bearer(headers).ok_or_else(|| Box::new(no_key()))?;
    let holder = context.registry.key_holder(key.into()).await.map_err(busy)?;
    // The key of a worker that was admitted because it runs on this machine is of no use elsewhere.
    let may_use = |holder: &KeyHolder| !holder.is_local || origin.is_local();
    let holder = holder.filter(may_use).ok_or_else(|| Box::new(no_key()))?;
    let not_theirs = || Box::new(forbidden(NOT_YOURS));
    let lease: LeaseId = id.parse().map_err(|_| not_theirs())?;
    let access = context.proofs.lease_access(lease, holder.worker).await.map_err(busy)?;
    let access = access.ok_or_else(not_theirs)?;
    Ok(OpenLease { lease, access, worker: holder.worker, token: holder.token })
}

/// Returns when the token is revoked; without one, never.
async fn revoked(tokens: Tokens, token: Option<TokenId>) {
    match token {
        Some(token) => tokens.revoked(token).await,
        None => std::future::pending().await,
    }
}

fn no_key() -> Response {
    let mut response = text_response(StatusCode::UNAUTHORIZED, NO_KEY);
    let challenge = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn forbidden(text: &'static str) -> Response {
    ended(StatusCode::FORBIDDEN, text)
}

/// Marks the end of an attempt as Hierophant's own decision: a proxy answers with the same codes.
fn ended(code: StatusCode, text: &'static str) -> Response {
    let mut response = text_response(code, text);
    response.headers_mut().insert(LEASE_ENDED_HEADER, HeaderValue::from_static(text));
    response
}
