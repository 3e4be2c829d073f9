//! The audit log: caller, address, command and outcome of every operator command. It is written to the log and
//! to the store, and can be listed.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Extension, OriginalUri, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hierophant_admin_model::{Audited, Refusal};
use hierophant_model::records::{AuditRecord, Millis};
use network_lib::ids::AuditId;
use network_lib::task;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::PATH;
use super::page::{
    ApiResult, error_response, invalid, limit, not_found, parse_optional, store_unavailable,
};
use crate::api::AdminContext;
use crate::operators::Operator;
use crate::tokens::Bearer;

/// Maximum size of the body of a command in bytes; a filter needs a few hundred.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Maximum time for the body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Digits kept of an id that is longer than those of jobs and workers: such ids are credentials.
const ID_DIGITS: usize = 16;

/// Maximum length of a recorded text in characters.
const MAX_TEXT: usize = 1000;

/// A call to be audited.
pub(super) struct Call {
    peer: SocketAddr,
    forwarded: Option<String>,
    program: String,
    action: String,
}

impl Call {
    /// The caller and the command of a request.
    pub(super) fn of(peer: SocketAddr, request: &Request) -> Self {
        // The path that a handler sees lacks that of the API.
        let whole = request.extensions().get::<OriginalUri>().map(|uri| uri.0.path());
        let path = whole.unwrap_or_else(|| request.uri().path());
        let text = |name| request.headers().get(name)?.to_str().ok().map(truncate);
        Self {
            peer,
            forwarded: text("x-forwarded-for").or_else(|| text("forwarded")),
            program: text(header::USER_AGENT.as_str()).unwrap_or_else(|| "unknown".to_owned()),
            action: truncate(&format!("{} {}", request.method(), redact_path(path))),
        }
    }

    /// Records the call and its outcome, in the log and in the store.
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

    /// Records that a caller with a valid token was rejected, unless that happens too often.
    pub(super) async fn refused(self, context: &AdminContext, bearer: &Bearer) {
        if context.operators.should_record_refusal(bearer.id) {
            let operator = Operator { by: Some(bearer.clone()), session: None };
            self.answered(context, &operator, String::new(), StatusCode::FORBIDDEN).await;
        }
    }
}

/// Audits every call that changes something, whatever its outcome. Calls that only read are not audited; the call
/// that starts a session audits itself.
pub(in crate::api::http) async fn audited(
    State(context): State<AdminContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    operator: Option<Extension<Operator>>,
    request: Request,
    next: Next,
) -> Response {
    let only_reads = [Method::GET, Method::HEAD].contains(request.method());
    let Some(Extension(operator)) = operator.filter(|_| !only_reads) else {
        return next.run(request).await;
    };
    let call = Call::of(peer, &request);
    let (head, body) = request.into_parts();
    let Ok(body) = read_body(body).await else {
        let text = format!("body incomplete or too long: expected at most {MAX_BODY_BYTES} bytes");
        return error_response(StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    };
    let with = describe_call(head.uri.path(), &body);
    // Runs to its end even if the caller disconnects, so that every command is audited.
    let acting = task::spawn("act", async move {
        let response = next.run(Request::from_parts(head, Body::from(body))).await;
        call.answered(&context, &operator, with, response.status()).await;
        response
    });
    acting.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a command was interrupted");
        error_response(StatusCode::INTERNAL_SERVER_ERROR, "command interrupted").into_response()
    })
}

/// Reads a body, if it is short and arrives in time.
pub(super) async fn read_body(body: Body) -> Result<Bytes, ()> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES));
    reading.await.map_err(drop)?.map_err(drop)
}

/// The body of a call, without secrets.
fn describe_call(path: &str, body: &[u8]) -> String {
    match path.strip_prefix(PATH).and_then(|path| path.split('/').nth(1)) {
        Some("session") => String::new(),
        // Only name and role of the token: other fields could contain a secret.
        Some("tokens") => {
            let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
            let fields = ["name", "role"].map(|key| Some((key, body.get(key)?.as_str()?)));
            let fields = fields.into_iter().flatten().map(|(key, text)| (key.into(), text.into()));
            let fields: serde_json::Map<String, Value> = fields.collect();
            if fields.is_empty() {
                return String::new();
            }
            truncate(&Value::Object(fields).to_string())
        }
        _ => truncate(&String::from_utf8_lossy(body)),
    }
}

/// The start of a text, without characters that the store does not accept.
fn truncate(text: &str) -> String {
    text.chars().filter(|letter| *letter != '\0').take(MAX_TEXT).collect()
}

/// A path in which ids that are credentials are shortened.
fn redact_path(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let digits = part.strip_prefix("0x").unwrap_or(part);
        let id = digits.len() > 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if id { digits[..ID_DIGITS].to_owned() } else { part.escape_debug().to_string() }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Page of the audit log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Only entries older than this one: the last entry of the previous page.
    before: Option<String>,
    /// Maximum number of entries: 100 by default, at most 1000.
    limit: Option<u32>,
}

/// The audit log, newest first: every call other than GET, and rejected calls with a valid token. Entries are kept
/// for `retention.audit`.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery), responses(
    (status = 200, body = Vec<Audited>),
    (status = 400, description = "invalid query", body = Refusal),
    (status = 404, description = "unknown entry in `before`", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn audit(
    State(context): State<AdminContext>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> ApiResult<Vec<Audited>> {
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let before = match parse_optional::<AuditId>("before", query.before.as_deref())? {
        None => None,
        Some(id) => {
            let at = context.store.audited_at(id).await.map_err(store_unavailable)?;
            Some((at.ok_or_else(|| not_found("unknown entry in `before`"))?, id))
        }
    };
    let found = context.store.audit(before, limit(query.limit)).await.map_err(store_unavailable)?;
    Ok(Json(found.iter().map(Audited::of).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_requests_are_shortened_and_those_of_jobs_are_not() {
        let (request, job) = ("ab".repeat(32), "cd".repeat(16));
        assert_eq!(
            redact_path(&format!("/api/v1/requests/{request}/cancel")),
            "/api/v1/requests/abababababababab/cancel"
        );
        assert_eq!(
            redact_path(&format!("/api/v1/requests/0x{request}/cancel")),
            "/api/v1/requests/abababababababab/cancel"
        );
        let path = format!("/api/v1/jobs/{job}/cancel");
        assert_eq!(redact_path(&path), path);
    }

    #[test]
    fn possible_secrets_are_not_recorded() {
        let sent = br#"{"name":"rig-7","role":"worker","token":"hpt_x","secret":"s"}"#;
        assert_eq!(describe_call("/api/v1/tokens", sent), r#"{"name":"rig-7","role":"worker"}"#);
        assert_eq!(describe_call("/api/v1/tokens", b"hpt_x"), "");
        assert_eq!(describe_call("/api/v1/session", br#"{"token":"hpt_x"}"#), "");
        assert_eq!(
            describe_call("/api/v1/dispatch/pause", br#"{"reason":"x"}"#),
            r#"{"reason":"x"}"#
        );
        assert_eq!(describe_call("/contemplants/1/drain", b"a\0b"), "ab");
        assert_eq!(describe_call("/api/v1/queue/clear", &[b'x'; 5000]).len(), MAX_TEXT);
    }
}
