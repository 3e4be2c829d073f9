//! How long a call may take. Only the way to the head of the answer is limited, so streams may go on.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

/// What a client says of its patience (gRPC over HTTP/2, `Timeout`).
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Ends a gRPC call that takes longer than `limit`, or than its client will wait.
pub(super) async fn of_rpc(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let patience = patience(request.headers()).filter(|patience| *patience < limit);
    match tokio::time::timeout(patience.unwrap_or(limit), next.run(request)).await {
        Ok(answer) => answer,
        Err(_) if patience.is_some() => {
            Status::deadline_exceeded("the time that the client gave is over").into_http()
        }
        // Of all codes this is the one that every SDK tries again (contract, section 5.2).
        Err(_) => Status::unavailable("the call took too long; try again").into_http(),
    }
}

/// Ends a call of the API, or of a page, that takes longer than `limit`.
pub(super) async fn of_page(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let error = serde_json::json!({ "error": "the call took too long; try again" });
            (StatusCode::GATEWAY_TIMEOUT, Json(error)).into_response()
        }
    }
}

/// How long the client will wait, if it says so: up to eight digits and a unit.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_patience_is_read_as_grpc_writes_it() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().expect("a value"));
            patience(&headers)
        };
        assert_eq!(of("5S"), Some(Duration::from_secs(5)));
        assert_eq!(of("60000000u"), Some(Duration::from_secs(60)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "5 S"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
