//! Log of gRPC calls that are refused because their caller is not authenticated or not allowed: by its token, its
//! signature, the allowlist or its certificate.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};

use crate::denials::Denials;

/// Passes a call on, and logs a refusal.
pub(super) async fn logged(
    State(denials): State<Denials>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let uri = request.uri().clone();
    let response = next.run(request).await;
    // A refusal has no body: its status is in the headers.
    let refused = Status::from_header_map(response.headers());
    if let (Some(status), Some(peer)) = (refused, peer) {
        let kind = match status.code() {
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "not_allowed",
            _ => return response,
        };
        denials.log(peer.ip(), kind, uri.path(), status.message());
    }
    response
}
