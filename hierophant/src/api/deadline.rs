//! Time limits of calls. They end with the head of the response, so streams are not limited.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::problem::{Kind, Problem};

/// Header with the client's own time limit (gRPC over HTTP/2, `Timeout`).
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Ends a gRPC call that takes longer than `limit`, or than the client's own limit.
pub(super) async fn of_rpc(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let timeout = client_timeout(request.headers()).filter(|timeout| *timeout < limit);
    match tokio::time::timeout(timeout.unwrap_or(limit), next.run(request)).await {
        Ok(response) => response,
        Err(_) if timeout.is_some() => {
            Status::deadline_exceeded("call timed out: the client's `grpc-timeout` has passed")
                .into_http()
        }
        // Every SDK retries on this code (contract, section 5.2).
        Err(_) => Status::unavailable("call timed out; try again").into_http(),
    }
}

/// Ends a call of the API or of a status page that takes longer than `limit`.
pub(super) async fn of_page(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Kind::DeadlineExceeded, "call timed out; try again").into_response(),
    }
}

/// The client's own time limit, if it sends one: up to eight digits and a unit.
fn client_timeout(headers: &HeaderMap) -> Option<Duration> {
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
    fn the_timeout_of_a_client_is_parsed_as_grpc_writes_it() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().expect("a value"));
            client_timeout(&headers)
        };
        assert_eq!(of("5S"), Some(Duration::from_secs(5)));
        assert_eq!(of("60000000u"), Some(Duration::from_secs(60)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "5 S"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
