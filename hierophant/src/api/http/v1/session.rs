//! Sessions of browsers: they sign in with a token once, and send a cookie with every call.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use hierophant_admin_model::{Caller, Refusal, SignIn};
use tokio::time::Instant;

use super::audit;
use super::guard::{self, COOKIE, Denied};
use super::page::{error_response, invalid};
use super::render;
use crate::api::AdminContext;
use crate::api::http::local::origin;
use crate::operators::Operator;
use crate::operators::sessions::LIFETIME;
use crate::tokens::Role;

/// Identity and permission of the caller.
#[utoipa::path(get, path = "/session", operation_id = "get_session", tag = "session", responses((status = 200, body = Caller)))]
pub(super) async fn caller(Extension(operator): Extension<Operator>) -> Json<Caller> {
    Json(render::caller(&operator))
}

/// Starts a session: the response sets the cookie `hierophant_session`, which authenticates the caller for at
/// most 12 hours. The session also ends when the token is revoked or Hierophant restarts.
#[utoipa::path(post, path = "/session", tag = "session", request_body = SignIn, security(()), responses(
    (status = 200, body = Caller),
    (status = 400, description = "invalid body", body = Refusal),
    (status = 401, description = "unknown, revoked or expired token", body = Refusal),
    (status = 403, description = "token of role client or worker", body = Refusal),
    (status = 415, description = "content type other than `application/json`", body = Refusal),
    (status = 429, description = "too many invalid tokens from this address", body = Refusal),
))]
pub(super) async fn sign_in(
    State(context): State<AdminContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let secure = origin::is_secure(&request);
    let call = audit::Call::of(peer, &request);
    // Pages of other sites can send other content types without a preflight request.
    if !is_json(request.headers()) {
        let text = "unsupported content type: expected application/json";
        return error_response(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    let body = match audit::read_body(request.into_body()).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let Ok(SignIn { token }) = serde_json::from_slice(&body) else {
        return invalid("invalid body: expected {\"token\": \"…\"}").into_response();
    };
    let operators = &context.operators;
    let denied = match operators.bearer(peer.ip(), token.trim()).map_err(Denied::from) {
        Ok(bearer) if bearer.role == Role::Client || bearer.role.is_of_worker() => {
            let text = guard::insufficient_role(&bearer, "read, act or admin");
            Err(Denied::NotAllowed(bearer, text))
        }
        other => other,
    };
    let bearer = match denied {
        Ok(bearer) => bearer,
        Err(denied) => {
            context.metrics.operator_refused(denied.kind());
            context.denials.log(peer.ip(), denied.kind(), "/api/v1/session", &denied.reason());
            match &denied {
                Denied::NotAllowed(bearer, _) => call.refused(&context, bearer).await,
                _ => call.failed(&context).await,
            }
            return denied.into_response();
        }
    };
    let operator = Operator { by: Some(bearer.clone()), session: None };
    if let Err(error) = call.answered(&context, &operator, String::new(), StatusCode::OK).await {
        return error.into_response();
    }
    let secret = operators.sessions.begin(bearer, Instant::now());
    (cookie(&secret, LIFETIME.as_secs(), secure), Json(render::caller(&operator))).into_response()
}

/// Ends the session of the caller, if there is one.
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

/// The header that sets the cookie. Scripts cannot read it, and browsers do not send it with calls from pages of
/// other sites.
fn cookie(
    secret: &str,
    seconds: u64,
    secure: bool,
) -> AppendHeaders<Option<(HeaderName, HeaderValue)>> {
    let secure = if secure { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // It consists of digits and the text above, so it is always a valid header.
    AppendHeaders(HeaderValue::from_str(&text).ok().map(|value| (header::SET_COOKIE, value)))
}
