//! Who may operate, and how much: the one place that decides it for every route.
//!
//! Whoever presents a token of role read or act, with the call or by a session, is let in from anywhere;
//! without one only programs on the same machine are. [`needed`] is the rule for what may be done then.

pub(super) mod origin;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use headers::{Cookie, HeaderMapExt};

use super::PATH;
use super::audit;
use super::page::{ErrorResponse, refusal};
use crate::api::AdminContext;
use crate::api::bearer::bearer;
use crate::operators::{BearerError, Operator};
use crate::tokens::{Bearer, Role};

/// The cookie that holds a session's secret.
pub(super) const COOKIE: &str = "hierophant_session";

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// Nothing yet: the call itself presents a token.
    Nothing,
    Read,
    Act,
}

/// The rule for every route: looking needs the right to read, everything else the right to act.
fn needed(method: &Method, path: &str) -> Needed {
    let is_session = path.strip_prefix(PATH) == Some("/session");
    match *method {
        Method::GET | Method::HEAD => Needed::Read,
        Method::POST if is_session => Needed::Nothing,
        // Whoever is in may leave.
        Method::DELETE if is_session => Needed::Read,
        _ => Needed::Act,
    }
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Denied {
    /// It does not say who calls, and would have to.
    NoToken(&'static str),
    /// Nobody has its token.
    WrongToken,
    /// That address has tried too many tokens.
    TooMany(Duration),
    /// It comes, or could come, from a page of another site.
    Foreign(&'static str),
    /// Its token is good, but not for this.
    NotAllowed(Bearer, String),
}

/// Lets a call through if its caller may make it, and tells what comes behind who that is.
pub(in crate::api::http) async fn operators_only(
    State(context): State<AdminContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let needed = needed(request.method(), request.uri().path());
    match admitted(&context, peer.ip(), needed, &request) {
        Ok(operator) => {
            if let Some(operator) = operator {
                request.extensions_mut().insert(operator);
            }
            next.run(request).await
        }
        Err(denied) => {
            context.metrics.operator_refused(denied.kind());
            if let Denied::NotAllowed(bearer, _) = &denied {
                let call = audit::Call::of(peer, &request);
                call.refused(&context, bearer).await;
            }
            denied.into_response()
        }
    }
}

/// Who makes a call, if the caller may; nobody if the call needs no rights.
fn admitted(
    context: &AdminContext,
    peer: IpAddr,
    needed: Needed,
    request: &Request,
) -> Result<Option<Operator>, Denied> {
    let (headers, operators) = (request.headers(), &context.operators);
    let from = origin::of(request);
    if needed == Needed::Nothing {
        return if from.is_foreign() { Err(Denied::Foreign(ELSEWHERE)) } else { Ok(None) };
    }
    if let Some(secret) = bearer(headers) {
        let bearer = operators.bearer(peer, secret).map_err(|error| match error {
            BearerError::Wrong => Denied::WrongToken,
            BearerError::Later(wait) => Denied::TooMany(wait),
        })?;
        return with_right(Operator { by: Some(bearer), session: None }, needed).map(Some);
    }
    if let Some(operator) = session(headers).and_then(|secret| operators.in_session(&secret)) {
        // A browser sends cookies along whoever wrote the page, so that must be told by the page.
        if from.is_foreign() {
            return Err(Denied::Foreign(ELSEWHERE));
        }
        let only_looks = [Method::GET, Method::HEAD].contains(request.method());
        if !only_looks && !from.is_own() {
            return Err(Denied::Foreign("a session acts from Hierophant's own page only"));
        }
        return with_right(operator, needed).map(Some);
    }
    match reason_to_refuse(peer, operators.require_token, headers, &from) {
        None => Ok(Some(Operator { by: None, session: None })),
        Some(denied) => Err(denied),
    }
}

const ELSEWHERE: &str = "not from a page of another site";

/// The operator, if that is one and may do what is needed.
fn with_right(operator: Operator, needed: Needed) -> Result<Operator, Denied> {
    let Some(bearer) = &operator.by else { return Ok(operator) };
    let words = match (bearer.role, needed) {
        (Role::Act, _) | (Role::Read, Needed::Read | Needed::Nothing) => return Ok(operator),
        (Role::Read, Needed::Act) => "may look but not act; that takes a token of role act",
        (Role::Client | Role::Worker, _) => {
            "is not for operators; that takes a token of role read or act"
        }
    };
    Err(Denied::NotAllowed(bearer.clone(), format!("the token {} {words}", bearer.name)))
}

/// Headers by which a proxy says that it speaks for somebody else.
const PROXIES: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Why a call without a token does not come from a program on this machine, or from a page that Hierophant
/// itself has served there.
fn reason_to_refuse(
    peer: IpAddr,
    require_token: bool,
    headers: &HeaderMap,
    from: &origin::Origin<'_>,
) -> Option<Denied> {
    if require_token {
        return Some(Denied::NoToken("a token is needed (`operators.require_token` is set)"));
    }
    if !peer.to_canonical().is_loopback() {
        let words = "a token is needed, except on the machine that Hierophant runs on";
        return Some(Denied::NoToken(words));
    }
    if PROXIES.iter().any(|name| headers.contains_key(*name)) {
        return Some(Denied::NoToken("a token is needed through a proxy"));
    }
    // A page of another site can make a browser on this machine call us: by our own address, then its
    // `Origin` is foreign, or by a name of its own that it lets point here, then `Host` is.
    if !from.is_by_local_name() {
        let words = "a token is needed by this name; on this machine use localhost or 127.0.0.1";
        return Some(Denied::NoToken(words));
    }
    from.is_foreign().then_some(Denied::Foreign(ELSEWHERE))
}

/// The secret of the session that a browser sends along.
pub(super) fn session(headers: &HeaderMap) -> Option<String> {
    headers.typed_get::<Cookie>()?.get(COOKIE).map(str::to_owned)
}

impl Denied {
    /// As the metric calls it.
    const fn kind(&self) -> &'static str {
        match self {
            Self::NoToken(_) => "no_token",
            Self::WrongToken => "wrong_token",
            Self::TooMany(_) => "too_many",
            Self::Foreign(_) => "foreign_page",
            Self::NotAllowed(..) => "not_allowed",
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::NoToken(words) => unauthorized("Bearer", words),
            Self::WrongToken => wrong_token(),
            Self::TooMany(wait) => too_many(wait),
            Self::Foreign(words) => refusal(StatusCode::FORBIDDEN, words).into_response(),
            Self::NotAllowed(_, words) => refusal(StatusCode::FORBIDDEN, words).into_response(),
        }
    }
}

/// The answer to a token that nobody has.
pub(super) fn wrong_token() -> Response {
    unauthorized("Bearer error=\"invalid_token\"", "nobody has this token, or it was revoked")
}

/// The answer to an address that has presented too many of them.
pub(super) fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let words = format!("too many wrong tokens from this address; try again in {seconds} s");
    let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, words).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn unauthorized(challenge: &'static str, words: &str) -> Response {
    let refusal: ErrorResponse = refusal(StatusCode::UNAUTHORIZED, words);
    let mut response = refusal.into_response();
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

#[cfg(test)]
mod tests;
