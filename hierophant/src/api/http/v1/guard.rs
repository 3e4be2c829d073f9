//! Access control of operator calls, for every route.
//!
//! A caller with a token of role read, act or admin, presented with the call or in a session, is admitted from
//! anywhere; without a token only programs on the same machine are. [`required`] gives the permission that a
//! call requires.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use headers::{Cookie, HeaderMapExt};

use super::PATH;
use super::audit;
use crate::api::AdminContext;
use crate::api::bearer::bearer;
use crate::api::http::local::{self, NotLocal, origin};
use crate::api::problem::{Kind, Problem};
use crate::listen::OverSocket;
use crate::operators::{BearerError, Operator};
use crate::tokens::{Bearer, Role};

/// Name of the cookie with the secret of a session.
pub(super) const COOKIE: &str = "hierophant_session";

/// Permission that a call requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    /// None: the body of the call presents a token.
    None,
    /// Reading.
    Read,
    /// Commands.
    Act,
}

/// The permission required by a call: reading for GET, commands for everything else.
fn required(method: &Method, path: &str) -> Permission {
    let is_session = path.strip_prefix(PATH) == Some("/session");
    match *method {
        Method::GET | Method::HEAD => Permission::Read,
        Method::POST if is_session => Permission::None,
        // Everyone who is signed in may sign out.
        Method::DELETE if is_session => Permission::Read,
        _ => Permission::Act,
    }
}

/// Why a call is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    /// It presents no token, but requires one.
    NoToken(&'static str),
    /// Its token is unknown, revoked or expired.
    WrongToken,
    /// Its address has presented too many invalid tokens; the next may be presented after this time.
    TooMany(Duration),
    /// It comes, or could come, from a page of another site.
    Foreign(&'static str),
    /// Its token is valid, but lacks the permission.
    NotAllowed(Bearer, String),
}

/// Rejects a call, or passes it on with its [`Operator`] as an extension.
pub(in crate::api::http) async fn operators_only(
    State(context): State<AdminContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let required = required(request.method(), request.uri().path());
    match admit(&context, peer.ip(), required, &request) {
        Ok(operator) => {
            if let Some(operator) = operator {
                request.extensions_mut().insert(operator);
            }
            next.run(request).await
        }
        Err(denied) => {
            context.metrics.operator_refused(denied.kind());
            let path = audit::redact_path(audit::whole_path(&request));
            context.denials.log(peer.ip(), denied.kind(), &path, &denied.reason());
            if let Denied::NotAllowed(bearer, _) = &denied {
                let call = audit::Call::of(peer, &request);
                call.refused(&context, bearer).await;
            }
            denied.into_response()
        }
    }
}

/// The operator who makes a call; `None` if the call requires no permission.
fn admit(
    context: &AdminContext,
    peer: IpAddr,
    required: Permission,
    request: &Request,
) -> Result<Option<Operator>, Denied> {
    let (headers, operators) = (request.headers(), &context.operators);
    let from = origin::of(request);
    if required == Permission::None {
        return if from.is_foreign() { Err(Denied::Foreign(CROSS_SITE)) } else { Ok(None) };
    }
    if let Some(secret) = bearer(headers) {
        let bearer = operators.bearer(peer, secret)?;
        return authorize(Operator { by: Some(bearer), session: None }, required).map(Some);
    }
    let session = session(headers);
    if let Some(operator) = session.and_then(|secret| operators.in_session(peer, &secret)) {
        // A browser sends cookies with calls from pages of any site, so the site must be checked.
        if from.is_foreign() {
            return Err(Denied::Foreign(CROSS_SITE));
        }
        let only_reads = [Method::GET, Method::HEAD].contains(request.method());
        if !only_reads && !from.is_own() {
            return Err(Denied::Foreign(
                "command rejected: a session sends commands only from Hierophant's own page",
            ));
        }
        return authorize(operator, required).map(Some);
    }
    // The mode of the socket's file has admitted its callers already.
    let over_socket = request.extensions().get::<OverSocket>().is_some();
    let require_token = operators.require_token && !over_socket;
    match reason_to_refuse(peer, require_token, headers, &from) {
        None => Ok(Some(Operator { by: None, session: None })),
        Some(denied) => Err(denied),
    }
}

const CROSS_SITE: &str = "call rejected: it comes from a page of another site";

/// The operator, if the token has the required permission.
fn authorize(operator: Operator, required: Permission) -> Result<Operator, Denied> {
    let Some(bearer) = &operator.by else { return Ok(operator) };
    let expected = match (bearer.role, required) {
        (Role::Act | Role::Admin, _) | (Role::Read, Permission::Read | Permission::None) => {
            return Ok(operator);
        }
        (Role::Read, Permission::Act) => "act or admin",
        (Role::Client | Role::Worker | Role::PrivateWorker, _) => "read, act or admin",
    };
    Err(Denied::NotAllowed(bearer.clone(), insufficient_role(bearer, expected)))
}

/// Error text for a token of another role than required.
pub(super) fn insufficient_role(bearer: &Bearer, expected: &str) -> String {
    let Bearer { name, role, .. } = bearer;
    format!("token {name} has role {role}: expected role {expected}")
}

/// Why a call without a token is rejected. It is not if it comes from a program on this machine, or from a page
/// that Hierophant served to it.
fn reason_to_refuse(
    peer: IpAddr,
    require_token: bool,
    headers: &HeaderMap,
    from: &origin::Origin<'_>,
) -> Option<Denied> {
    if require_token {
        return Some(Denied::NoToken("token required: `operators.require_token` is set"));
    }
    local::reason_to_refuse(peer, headers, from).map(|reason| match reason {
        NotLocal::ForeignPage => Denied::Foreign(CROSS_SITE),
        NotLocal::Address => Denied::NoToken("token required: the call comes from another machine"),
        NotLocal::Proxy => Denied::NoToken("token required: the call comes through a proxy"),
        NotLocal::Host => Denied::NoToken(
            "token required: the host name is not local, expected localhost or 127.0.0.1",
        ),
    })
}

/// The secret of the session in the cookie of a call.
pub(super) fn session(headers: &HeaderMap) -> Option<String> {
    headers.typed_get::<Cookie>()?.get(COOKIE).map(str::to_owned)
}

impl Denied {
    /// Name in metrics.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::NoToken(_) => "no_token",
            Self::WrongToken => "wrong_token",
            Self::TooMany(_) => "too_many",
            Self::Foreign(_) => "foreign_page",
            Self::NotAllowed(..) => "not_allowed",
        }
    }

    /// Description in a sentence.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NoToken(text) | Self::Foreign(text) => (*text).to_owned(),
            Self::WrongToken => WRONG_TOKEN.to_owned(),
            Self::TooMany(wait) => {
                let seconds = wait.as_secs() + 1;
                format!("too many invalid tokens from this address; try again in {seconds} s")
            }
            Self::NotAllowed(_, text) => text.clone(),
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (kind, name, value) = match &self {
            Self::NoToken(_) => {
                (Kind::TokenRequired, Some(header::WWW_AUTHENTICATE), "Bearer".into())
            }
            Self::WrongToken => {
                let challenge = "Bearer error=\"invalid_token\"".into();
                (Kind::TokenInvalid, Some(header::WWW_AUTHENTICATE), challenge)
            }
            Self::TooMany(wait) => {
                let seconds = (wait.as_secs() + 1).to_string();
                (Kind::TooManyAttempts, Some(header::RETRY_AFTER), seconds)
            }
            Self::Foreign(_) => (Kind::ForeignPage, None, String::new()),
            Self::NotAllowed(..) => (Kind::RoleInsufficient, None, String::new()),
        };
        let mut response = Problem::new(kind, self.reason()).into_response();
        if let (Some(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Error text for an invalid token.
const WRONG_TOKEN: &str =
    "invalid token: expected one that was created here, and neither revoked nor expired";

impl From<BearerError> for Denied {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::Wrong => Self::WrongToken,
            BearerError::Later(wait) => Self::TooMany(wait),
        }
    }
}

#[cfg(test)]
mod tests;
