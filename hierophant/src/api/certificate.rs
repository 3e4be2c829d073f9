//! Where a peer must show a certificate. Whether one that is shown is good was decided by the handshake.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::{ClientContext, WorkerContext};
use crate::config::PeerCertificates;
use crate::listen::PeerCertificate;

/// Turns Contemplants away that show none, if they must.
pub(super) async fn of_workers(
    State(context): State<WorkerContext>,
    request: Request,
    next: Next,
) -> Response {
    if is_missing(context.certificates, &request) {
        let text = "Contemplants must show a certificate here: `certificate` and `key` in [tls]\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Turns gRPC clients away that show none, if they must.
pub(super) async fn of_clients(
    State(context): State<ClientContext>,
    request: Request,
    next: Next,
) -> Response {
    if is_missing(context.certificates, &request) {
        let text = "clients must show a certificate here; SDKs can from version 6.5.0 on";
        return Status::unauthenticated(text).into_http();
    }
    next.run(request).await
}

fn is_missing(wanted: PeerCertificates, request: &Request) -> bool {
    wanted == PeerCertificates::Required && request.extensions().get::<PeerCertificate>().is_none()
}
