//! What operators do is written down: who, from where, what, on what, and how it went. In the log, and in
//! the store, from where it can be asked for.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Extension, OriginalUri, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hierophant_model::records::{AuditRecord, Millis};
use network_lib::ids::AuditId;
use network_lib::task;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::PATH;
use super::page::{Answer, invalid, limit, not_found, parsed, refusal, store_unavailable};
use crate::api::AdminContext;
use crate::operators::Operator;
use crate::tokens::Bearer;
use hierophant_admin_model::{Audited, Refusal};

/// Bytes of what is sent along with an action; a filter needs a few hundred.
const MOST_BYTES: usize = 16 * 1024;

/// How long that may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Digits of an id that is longer than those of jobs and Contemplants: it opens what it names.
const SHOWN: usize = 16;

/// Characters that are kept of what a caller says.
const KEPT: usize = 1000;

/// A call of which something is to be written down.
pub(super) struct Call {
    peer: SocketAddr,
    forwarded: Option<String>,
    program: String,
    action: String,
}

impl Call {
    /// What there is to say of it before it is answered.
    pub(super) fn of(peer: SocketAddr, request: &Request) -> Self {
        // A handler is told the path without that of the API.
        let whole = request.extensions().get::<OriginalUri>().map(|uri| uri.0.path());
        let path = whole.unwrap_or_else(|| request.uri().path());
        let word = |name| request.headers().get(name)?.to_str().ok().map(kept);
        Self {
            peer,
            forwarded: word("x-forwarded-for").or_else(|| word("forwarded")),
            program: word(header::USER_AGENT.as_str()).unwrap_or_else(|| "unknown".to_owned()),
            action: kept(&format!("{} {}", request.method(), shown(path))),
        }
    }

    /// Writes down how it was answered, in the log and in the store.
    pub(super) async fn answered(
        self,
        context: &AdminContext,
        operator: &Operator,
        body: String,
        code: StatusCode,
    ) {
        let Self { peer, forwarded, program, action } = self;
        let (who, code) = (operator.name(), code.as_u16());
        tracing::info!(who, %peer, ?program, action, with = ?body, code, "operator");
        let record = AuditRecord {
            id: AuditId::random(),
            at: Millis::now(),
            by: operator.by.as_ref().map(|bearer| (bearer.id, bearer.name.clone())),
            peer: peer.ip().to_canonical().to_string(),
            forwarded,
            program,
            action,
            body,
            code,
        };
        context.operators.record(record).await;
    }

    /// Writes down that somebody with a good token was refused, unless that happens too often.
    pub(super) async fn refused(self, context: &AdminContext, bearer: &Bearer) {
        if context.operators.should_record_refusal(bearer.id) {
            let operator = Operator { by: Some(bearer.clone()), session: None };
            self.answered(context, &operator, String::new(), StatusCode::FORBIDDEN).await;
        }
    }
}

/// Writes down what changes something, however it ends. What only reads passes by, and so does the call that
/// begins a session, which does so itself.
pub(in crate::api::http) async fn audited(
    State(context): State<AdminContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    operator: Option<Extension<Operator>>,
    request: Request,
    next: Next,
) -> Response {
    let only_looks = [Method::GET, Method::HEAD].contains(request.method());
    let Some(Extension(operator)) = operator.filter(|_| !only_looks) else {
        return next.run(request).await;
    };
    let call = Call::of(peer, &request);
    let (head, body) = request.into_parts();
    let Ok(body) = collected(body).await else {
        let words = format!("the body is longer than {MOST_BYTES} bytes, or was cut off");
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, words).into_response();
    };
    let with = told(head.uri.path(), &body);
    // To its end, also if the caller has hung up: what is done is written down.
    let acting = task::spawn("act", async move {
        let response = next.run(Request::from_parts(head, Body::from(body))).await;
        call.answered(&context, &operator, with, response.status()).await;
        response
    });
    acting.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an action was broken off");
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "the action was broken off").into_response()
    })
}

/// The body of a call, if it is short and comes in time.
pub(super) async fn body(request: Request) -> Result<Bytes, ()> {
    collected(request.into_body()).await
}

async fn collected(body: Body) -> Result<Bytes, ()> {
    let collecting = tokio::time::timeout(PATIENCE, to_bytes(body, MOST_BYTES));
    collecting.await.map_err(drop)?.map_err(drop)
}

/// What was sent along, without what may be a secret.
fn told(path: &str, body: &[u8]) -> String {
    match path.strip_prefix(PATH).and_then(|path| path.split('/').nth(1)) {
        Some("session") => String::new(),
        // Which token is made is worth knowing; whatever else is sent is none of the log's business.
        Some("tokens") => {
            let sent = serde_json::from_slice::<Value>(body).unwrap_or_default();
            let words = ["name", "role"].map(|key| Some((key, sent.get(key)?.as_str()?)));
            let words = words.into_iter().flatten().map(|(key, word)| (key.into(), word.into()));
            let words: serde_json::Map<String, Value> = words.collect();
            if words.is_empty() { String::new() } else { kept(&Value::Object(words).to_string()) }
        }
        _ => kept(&String::from_utf8_lossy(body)),
    }
}

fn kept(text: &str) -> String {
    // Neither database takes this character in a text.
    text.chars().filter(|letter| *letter != '\0').take(KEPT).collect()
}

/// A path without the ids that open something.
fn shown(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let digits = part.strip_prefix("0x").unwrap_or(part);
        let id = digits.len() > 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if id { digits[..SHOWN].to_owned() } else { part.escape_debug().to_string() }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Which part of the audit log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// What was done before this: the last one of the page before.
    before: Option<String>,
    /// At most so many: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// What operators have done, the newest first: every call that is not a GET, and what somebody with a valid
/// token was refused. Kept for `retention.audit`.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery), responses(
    (status = 200, body = Vec<Audited>),
    (status = 400, description = "the query cannot be read", body = Refusal),
    (status = 404, description = "`before` names nothing that is kept", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn audit(
    State(context): State<AdminContext>,
    asked: Result<Query<AuditQuery>, QueryRejection>,
) -> Answer<Vec<Audited>> {
    let Query(query) = asked.map_err(|rejection| invalid(rejection.body_text()))?;
    let before = match parsed::<AuditId>("before", query.before.as_deref())? {
        None => None,
        Some(id) => {
            let at = context.store.audited_at(id).await.map_err(store_unavailable)?;
            Some((at.ok_or_else(|| not_found("`before` names nothing that is kept"))?, id))
        }
    };
    let found = context.store.audit(before, limit(query.limit)).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(Audited::of).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_requests_are_cut_short_and_those_of_jobs_are_not() {
        let (request, job) = ("ab".repeat(32), "cd".repeat(16));
        assert_eq!(
            shown(&format!("/api/v1/requests/{request}/cancel")),
            "/api/v1/requests/abababababababab/cancel"
        );
        assert_eq!(
            shown(&format!("/api/v1/requests/0x{request}/cancel")),
            "/api/v1/requests/abababababababab/cancel"
        );
        let path = format!("/api/v1/jobs/{job}/cancel");
        assert_eq!(shown(&path), path);
    }

    #[test]
    fn what_may_be_a_secret_is_not_told() {
        let sent = br#"{"name":"rig-7","role":"worker","token":"hpt_x","secret":"s"}"#;
        assert_eq!(told("/api/v1/tokens", sent), r#"{"name":"rig-7","role":"worker"}"#);
        assert_eq!(told("/api/v1/tokens", b"hpt_x"), "");
        assert_eq!(told("/api/v1/session", br#"{"token":"hpt_x"}"#), "");
        assert_eq!(told("/api/v1/dispatch/pause", br#"{"reason":"x"}"#), r#"{"reason":"x"}"#);
        assert_eq!(told("/contemplants/1/drain", b"a\0b"), "ab");
        assert_eq!(told("/api/v1/queue/clear", &[b'x'; 5000]).len(), KEPT);
    }
}
