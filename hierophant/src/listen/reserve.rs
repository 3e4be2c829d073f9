//! Connections that are reserved for workers and operators.
//!
//! When strangers hold all other connections, further ones to the HTTP port are still accepted from this reserve. They
//! serve only the paths of workers and operators, and end with the first call that is not admitted there.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use network_lib::wire::WEBSOCKET_PATH;

/// One in this many connections is reserved.
const SHARE: usize = 8;

/// Beginnings of the paths that are served over a reserved connection.
const PATHS: [&str; 6] =
    ["/leases/", "/api/v1/", "/metrics", "/contemplants", "/dead-contemplants", "/proof-history"];

/// The size of the reserve of `max` connections.
pub(super) const fn size(max: usize) -> usize {
    max / SHARE
}

/// Whether a reserved connection serves a path.
pub(super) fn admits(path: &str) -> bool {
    path == WEBSOCKET_PATH || PATHS.iter().any(|begin| path.starts_with(begin))
}

/// The answer to another path.
pub(super) fn refusal() -> Response<Body> {
    let text = "too many connections: only workers and operators are served; try again\n";
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_workers_and_operators_are_served() {
        for path in ["/ws", "/leases/1/stdin", "/api/v1/overview", "/metrics", "/contemplants"] {
            assert!(admits(path), "{path}");
        }
        for path in ["/", "/ready", "/health", "/artifacts/1", "/wsx", "/api/v2/", "/leases"] {
            assert!(!admits(path), "{path}");
        }
    }

    #[test]
    fn a_small_limit_has_no_reserve() {
        assert_eq!((size(7), size(8), size(20_000)), (0, 1, 2500));
    }
}
