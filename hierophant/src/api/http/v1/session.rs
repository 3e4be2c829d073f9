//! Signing in with a token, for browsers: they cannot send one with every call, but they do send cookies.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use tokio::time::Instant;

use super::audit;
use super::guard::{self, COOKIE, origin};
use super::page::{invalid, refusal};
use super::render;
use crate::api::AdminContext;
use crate::operators::sessions::LIFETIME;
use crate::operators::{BearerError, Operator};
use crate::tokens::Role;
use hierophant_admin_model::{Caller, Refusal, SignIn};

/// Who the caller is, and what the caller may do.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = Caller)))]
pub(super) async fn caller(Extension(operator): Extension<Operator>) -> Json<Caller> {
    Json(render::caller(&operator))
}

/// Begins a session: the answer sets the cookie `hierophant_session`, by which the caller is known from then
/// on, for 12 hours at most. It ends with the revocation of the token and with a restart of Hierophant too.
#[utoipa::path(post, path = "/session", tag = "session", request_body = SignIn, security(()), responses(
    (status = 200, body = Caller),
    (status = 400, description = "the body cannot be read", body = Refusal),
    (status = 401, description = "nobody has this token", body = Refusal),
    (status = 403, description = "the token is not for operators", body = Refusal),
    (status = 415, description = "the body is not `application/json`", body = Refusal),
    (status = 429, description = "too many wrong tokens came from this address", body = Refusal),
))]
pub(super) async fn sign_in(
    State(context): State<AdminContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let secure = origin::is_secure(&request);
    let call = audit::Call::of(peer, &request);
    // Pages of other sites can send anything but this type without asking first.
    if !is_json(request.headers()) {
        let words = "the body must be of type application/json";
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, words).into_response();
    }
    let Ok(body) = audit::body(request).await else {
        return invalid("the body is too long, or was cut off").into_response();
    };
    let Ok(SignIn { token }) = serde_json::from_slice(&body) else {
        return invalid("the body cannot be read: write {\"token\": \"…\"}").into_response();
    };
    let operators = &context.operators;
    let bearer = match operators.bearer(peer.ip(), token.trim()) {
        Ok(bearer) => bearer,
        Err(BearerError::Wrong) => {
            context.metrics.operator_refused("wrong_token");
            return guard::wrong_token();
        }
        Err(BearerError::Later(wait)) => {
            context.metrics.operator_refused("too_many");
            return guard::too_many(wait);
        }
    };
    let operator = Operator { by: Some(bearer.clone()), session: None };
    if matches!(bearer.role, Role::Client | Role::Worker) {
        let words = format!(
            "the token {} is not for operators; that takes a token of role read or act",
            bearer.name
        );
        let response = refusal(StatusCode::FORBIDDEN, words).into_response();
        context.metrics.operator_refused("not_allowed");
        call.refused(&context, &bearer).await;
        return response;
    }
    let secret = operators.sessions.begin(bearer, Instant::now());
    call.answered(&context, &operator, String::new(), StatusCode::OK).await;
    (cookie(&secret, LIFETIME.as_secs(), secure), Json(render::caller(&operator))).into_response()
}

/// Ends the session by which the call is made, if it is made by one.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 200, body = Caller)))]
pub(super) async fn sign_out(
    State(context): State<AdminContext>,
    Extension(operator): Extension<Operator>,
    request: Request,
) -> Response {
    if let Some(session) = &operator.session {
        context.operators.sessions.end(session);
    }
    (cookie("", 0, origin::is_secure(&request)), Json(render::caller(&operator))).into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// No script can read it, and no page of another site has it sent.
fn cookie(
    secret: &str,
    seconds: u64,
    secure: bool,
) -> AppendHeaders<Option<(HeaderName, HeaderValue)>> {
    let secure = if secure { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // It is made of digits and the words above.
    AppendHeaders(HeaderValue::from_str(&text).ok().map(|value| (header::SET_COOKIE, value)))
}
