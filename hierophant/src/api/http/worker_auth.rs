//! Workers' access to the bytes of their leases: the access key of the welcome authenticates a worker, and the scheduler
//! decides what a lease opens.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use network_lib::ids::{TokenId, WorkerId};
use network_lib::wire::{LEASE_ENDED_HEADER, REJECTION_HEADER};

use super::local::WorkerOrigin;
use super::{text_response, try_again};
use crate::api::WorkerContext;
use crate::api::bearer::bearer;
use crate::registry::KeyHolder;
use crate::tokens::Tokens;

const NO_KEY: &str =
    "access key missing or invalid: expected the one of the holder's latest welcome";
const NOT_YOURS: &str =
    "unknown lease: the attempt has ended, belongs to another worker or never existed";
const BUSY: &str = "lease lookup timed out; try again later";
const REVOKED: &str = "worker token revoked";

/// An authenticated worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) worker: WorkerId,
    /// Its token, if it has one that can be revoked.
    pub(super) token: Option<TokenId>,
}

/// Authenticates a worker. The error is the response to send.
pub(super) async fn authenticate(
    context: &WorkerContext,
    origin: WorkerOrigin,
    headers: &HeaderMap,
) -> Result<Caller, Box<Response>> {
    let key = bearer(headers).ok_or_else(|| Box::new(no_key()))?;
    let holder = context.registry.key_holder(key.into()).await.map_err(|_| Box::new(busy()))?;
    // The key of a worker that was admitted because it runs on this machine is of no use elsewhere.
    let may_use = |holder: &KeyHolder| !holder.is_local || origin.is_local();
    let holder = holder.filter(may_use).ok_or_else(|| Box::new(no_key()))?;
    Ok(Caller { worker: holder.worker, token: holder.token })
}

/// Returns when the token is revoked; without one, never.
pub(super) async fn revoked(tokens: Tokens, token: Option<TokenId>) {
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

/// Response while the scheduler does not answer.
pub(super) fn busy() -> Response {
    try_again(BUSY)
}

/// Response to a worker whose token was revoked.
pub(super) fn token_revoked() -> Response {
    ended(StatusCode::FORBIDDEN, REVOKED)
}

/// Response for a lease that opens nothing to the caller. Ended, foreign and unknown ones get the same, so that it does
/// not reveal which leases exist.
pub(super) fn not_theirs() -> Response {
    ended(StatusCode::FORBIDDEN, NOT_YOURS)
}

/// Marks the end of an attempt as Hierophant's own decision: a proxy answers with the same codes.
pub(super) fn ended(code: StatusCode, text: &'static str) -> Response {
    let mut response = text_response(code, text);
    response.headers_mut().insert(LEASE_ENDED_HEADER, HeaderValue::from_static(text));
    response
}

/// Marks a refusal of bytes as final and as Hierophant's own: a proxy answers with the same codes.
pub(super) fn rejected(mut refusal: Response, reason: &str) -> Response {
    if let Ok(reason) = HeaderValue::from_str(reason) {
        refusal.headers_mut().insert(REJECTION_HEADER, reason);
    }
    refusal
}
