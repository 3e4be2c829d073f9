//! A line in the log for each thing that an operator does: who, from where, what, on what, and how it went.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::page::refusal;

/// Bytes of what is sent along with an action; a filter needs a few hundred.
const MOST_BYTES: usize = 16 * 1024;

/// Digits of an id that is longer than those of jobs and Contemplants: it opens what it names.
const SHOWN: usize = 16;

/// Writes down what changes something, also when it is refused. What only reads passes by.
pub(in crate::api::http) async fn audited(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BYTES).await else {
        let words = format!("the body is longer than {MOST_BYTES} bytes, or was cut off");
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, words).into_response();
    };
    let action = shown(head.uri.path());
    let program = head.headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok());
    let program = program.unwrap_or("unknown").to_owned();
    let with = String::from_utf8_lossy(&body).into_owned();
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    let code = response.status().as_u16();
    tracing::info!(%peer, ?program, action, ?with, code, "operator");
    response
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
}
