//! The audit log: caller, address, command and outcome of every operator command. It is written to the log and
//! to the store, and can be listed.
//!
//! A command is recorded before it is executed, and again with its outcome. If Hierophant ends or loses its store in
//! between, the entry says that the outcome is unknown. A command that cannot be recorded is not executed.

use std::net::{IpAddr, SocketAddr};
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
use http_body_util::LengthLimitError;
use network_lib::ids::AuditId;
use network_lib::task;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::PATH;
use super::page::{
    ApiResult, MAX_BODY_BYTES, error_response, invalid, limit, not_found, parse_optional,
    store_unavailable,
};
use crate::api::AdminContext;
use crate::api::problem::{Kind, Problem};
use crate::listen::OverSocket;
use crate::operators::Operator;
use crate::tokens::Bearer;

/// Maximum time for the body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Digits kept of an id that is longer than those of jobs and workers: such ids are credentials.
const ID_DIGITS: usize = 16;

/// Maximum length of a recorded text in characters.
const MAX_TEXT: usize = 1000;

/// Address of callers over the Unix socket.
const SOCKET: &str = "admin socket";

/// A call to be audited.
pub(super) struct Call {
    ip: IpAddr,
    /// Address of the caller, for display.
    peer: String,
    forwarded: Option<String>,
    program: String,
    action: String,
}

impl Call {
    /// The caller and the command of a request.
    pub(super) fn of(peer: SocketAddr, request: &Request) -> Self {
        let path = whole_path(request);
        let over_socket = request.extensions().get::<OverSocket>().is_some();
        let text = |name| request.headers().get(name)?.to_str().ok().map(truncate);
        Self {
            ip: peer.ip(),
            peer: if over_socket {
                SOCKET.to_owned()
            } else {
                peer.ip().to_canonical().to_string()
            },
            forwarded: text("x-forwarded-for").or_else(|| text("forwarded")),
            program: text(header::USER_AGENT.as_str()).unwrap_or_else(|| "unknown".to_owned()),
            action: truncate(&format!("{} {}", request.method(), redact_path(path))),
        }
    }

    /// The entry of the call.
    fn entry(self, by: Option<&Bearer>, body: String, code: u16) -> AuditRecord {
        let Self { peer, forwarded, program, action, .. } = self;
        AuditRecord {
            id: AuditId::random(),
            at: Millis::now(),
            by: by.map(|bearer| (bearer.id, bearer.name.clone())),
            peer,
            forwarded,
            program,
            action,
            body,
            code,
        }
    }

    /// Records the call and its outcome, in the log and in the store.
    ///
    /// # Errors
    ///
    /// The response if the entry could not be stored.
    pub(super) async fn answered(
        self,
        context: &AdminContext,
        operator: &Operator,
        body: String,
        code: StatusCode,
    ) -> Result<(), Problem> {
        let mut entry = self.entry(operator.by.as_ref(), body, code.as_u16());
        log(&entry);
        context.operators.record(&mut entry).await.map_err(|_| not_audited())
    }

    /// Records a failed sign-in, unless that happens too often.
    pub(super) async fn failed(self, context: &AdminContext) {
        if context.operators.should_record_failure(self.ip) {
            let mut entry = self.entry(None, String::new(), StatusCode::UNAUTHORIZED.as_u16());
            // The failure is already logged.
            let _ = context.operators.record(&mut entry).await;
        }
    }

    /// Records that a caller with a valid token was rejected, unless that happens too often.
    pub(super) async fn refused(self, context: &AdminContext, bearer: &Bearer) {
        if context.operators.should_record_refusal(bearer.id) {
            let operator = Operator { by: Some(bearer.clone()), session: None };
            // The failure is already logged.
            let _ = self.answered(context, &operator, String::new(), StatusCode::FORBIDDEN).await;
        }
    }
}

/// Audits every call that changes something, whatever its outcome. Calls that only read are not audited here; the
/// download of a proof and the call that starts a session audit themselves.
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
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let with = describe_call(head.uri.path(), &body);
    // Runs to its end even if the caller disconnects, so that every command is audited.
    let acting = task::spawn("act", async move {
        let mut entry = call.entry(operator.by.as_ref(), with, AuditRecord::PENDING);
        if context.operators.record(&mut entry).await.is_err() {
            return not_audited().into_response();
        }
        let response = next.run(Request::from_parts(head, Body::from(body))).await;
        entry.code = response.status().as_u16();
        log(&entry);
        // The entry without an outcome stays if this fails, and the failure is logged.
        let _ = context.operators.complete(&entry).await;
        response
    });
    acting.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a command was interrupted");
        error_response(StatusCode::INTERNAL_SERVER_ERROR, "command interrupted").into_response()
    })
}

/// Reads a body, if it is short and arrives in time.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Problem> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES));
    let Ok(read) = reading.await else {
        let text = format!("body not received: expected it within {} s", BODY_TIMEOUT.as_secs());
        return Err(Problem::new(Kind::BodyTimeout, text));
    };
    read.map_err(|error| {
        let too_long = error.into_inner().is::<LengthLimitError>();
        if too_long {
            let text = format!("body too long: expected at most {MAX_BODY_BYTES} bytes");
            return Problem::new(Kind::BodyTooLong, text);
        }
        invalid("body incomplete: the connection broke off")
    })
}

/// Response to a command that was not executed, because it could not be recorded.
fn not_audited() -> Problem {
    let text = "not executed: the call could not be recorded in the audit log; try again later";
    Problem::new(Kind::NotAudited, text)
}

/// Writes an entry to the log.
fn log(entry: &AuditRecord) {
    let AuditRecord { peer, program, action, body, code, .. } = entry;
    tracing::info!(who = entry.caller(), peer, ?program, action, with = ?body, code, "operator");
}

/// The path of a call. The one that a handler sees lacks that of the API.
pub(super) fn whole_path(request: &Request) -> &str {
    let whole = request.extensions().get::<OriginalUri>().map(|uri| uri.0.path());
    whole.unwrap_or_else(|| request.uri().path())
}

/// The body of a call, without secrets.
fn describe_call(path: &str, body: &[u8]) -> String {
    match path.strip_prefix(PATH).and_then(|path| path.split('/').nth(1)) {
        Some("session") => String::new(),
        // Only what the token is for: other fields could contain a secret.
        Some("tokens") => {
            let body = serde_json::from_slice::<Value>(body).unwrap_or_default();
            let fields =
                ["name", "role", "client"].map(|key| Some((key, body.get(key)?.as_str()?)));
            let fields = fields.into_iter().flatten().map(|(key, text)| (key.into(), text.into()));
            let lifetime = body.get("expires_in_seconds").and_then(Value::as_u64);
            let fields =
                fields.chain(lifetime.map(|time| ("expires_in_seconds".into(), time.into())));
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
pub(super) fn redact_path(path: &str) -> String {
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

/// The audit log, newest first: every call other than GET, downloads of proofs, rejected calls with a valid token, and
/// failed sign-ins at a limited rate. Entries are kept for `retention.audit`.
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
        let sent =
            br#"{"name":"rig-7","role":"client","client":"rollup","token":"hpt_x","secret":"s"}"#;
        let kept = r#"{"client":"rollup","name":"rig-7","role":"client"}"#;
        assert_eq!(describe_call("/api/v1/tokens", sent), kept);
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
