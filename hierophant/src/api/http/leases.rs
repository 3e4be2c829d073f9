//! Bytes of an attempt, for the Contemplant that holds the lease and nobody else.
//!
//! The key that its welcome has brought says who calls; the scheduler says whether that is the holder.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hierophant_scheduler::proofs::LeaseAccess;
use network_lib::ids::{ArtifactId, LeaseId, TokenId};

use super::receive::receive;
use super::serve::serve_blob;
use super::{answer, try_again};
use crate::api::WorkerContext;
use crate::api::bearer::bearer;
use crate::metrics::{Direction, Peer};
use crate::proofs::log::lease_hint;
use crate::tokens::Tokens;

const NO_KEY: &str =
    "only for the Contemplant that holds the lease, by the access key of its welcome";
const NOT_YOURS: &str =
    "this attempt is over, or another Contemplant's, or there is no such attempt";
const BUSY: &str = "the attempt could not be looked up; try again later";
const GONE: &str = "the bytes are gone";
const REVOKED: &str = "the token of this Contemplant was revoked";

/// A lease and who has opened it.
struct Opened {
    lease: LeaseId,
    access: LeaseAccess,
    /// The token by which the Contemplant was admitted, if that can be revoked.
    token: Option<TokenId>,
}

/// `GET /leases/{id}/program`
pub(super) async fn program(
    State(context): State<WorkerContext>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match open(&context, &id, request.headers()).await {
        Ok(opened) => serve(&context, &opened, opened.access.program, request).await,
        Err(refusal) => *refusal,
    }
}

/// `GET /leases/{id}/stdin`
pub(super) async fn stdin(
    State(context): State<WorkerContext>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match open(&context, &id, request.headers()).await {
        Ok(opened) => serve(&context, &opened, opened.access.stdin, request).await,
        Err(refusal) => *refusal,
    }
}

/// `PUT /leases/{id}/proof`
pub(super) async fn proof(
    State(context): State<WorkerContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Opened { lease, token, .. } = match open(&context, &id, &headers).await {
        Ok(opened) => opened,
        Err(refusal) => return *refusal,
    };
    let received = tokio::select! {
        received = receive(&context.transfers, &headers, body, Peer::Contemplant) => received,
        () = revoked(context.tokens.clone(), token) => return forbidden(REVOKED),
    };
    let staged = match received {
        Ok(staged) => staged,
        Err(refusal) => return *refusal,
    };
    let info = staged.info();
    context.metrics.transferred(Direction::In, Peer::Contemplant, info.size);
    let artifact = match context.artifacts.keep_proof(staged).await {
        Ok(artifact) => artifact,
        Err(error) => return try_again(error.to_string()),
    };
    match context.proofs.proof_stored(lease, artifact, info).await {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) => forbidden(NOT_YOURS),
        Err(_) => try_again(BUSY),
    }
}

/// Gives bytes out, until the Contemplant's token is revoked. If they are gone, nobody can work on the job:
/// `proofs` hears of it, and the Contemplant that its attempt is over.
async fn serve(
    context: &WorkerContext,
    opened: &Opened,
    blob: ArtifactId,
    request: Request,
) -> Response {
    let response = serve_blob(&context.transfers, blob, Peer::Contemplant, request).await;
    if response.status() == StatusCode::NOT_FOUND {
        tracing::error!(
            lease = lease_hint(opened.lease),
            "the bytes of a job's program or input are gone"
        );
        context.proofs.input_lost(opened.lease);
        return answer(StatusCode::GONE, GONE);
    }
    let cut = revoked(context.tokens.clone(), opened.token);
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(cut)))
}

/// Who calls, and what that opens. What is over, what is another's and what never was look alike.
async fn open(
    context: &WorkerContext,
    id: &str,
    headers: &HeaderMap,
) -> Result<Opened, Box<Response>> {
    let busy = |_| Box::new(try_again(BUSY));
    let key = bearer(headers).ok_or_else(|| Box::new(no_key()))?;
    let holder = context.registry.key_holder(key.into()).await.map_err(busy)?;
    let holder = holder.ok_or_else(|| Box::new(no_key()))?;
    let not_theirs = || Box::new(forbidden(NOT_YOURS));
    let lease: LeaseId = id.parse().map_err(|_| not_theirs())?;
    let access = context.proofs.lease(lease, holder.worker).await.map_err(busy)?;
    let access = access.ok_or_else(not_theirs)?;
    Ok(Opened { lease, access, token: holder.token })
}

/// Returns when the token is revoked; without one, never.
async fn revoked(tokens: Tokens, token: Option<TokenId>) {
    match token {
        Some(token) => tokens.revoked(token).await,
        None => std::future::pending().await,
    }
}

fn no_key() -> Response {
    let mut response = answer(StatusCode::UNAUTHORIZED, NO_KEY);
    let challenge = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn forbidden(text: &str) -> Response {
    answer(StatusCode::FORBIDDEN, text)
}
