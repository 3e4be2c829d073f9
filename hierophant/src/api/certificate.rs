//! Required peer certificates. The TLS handshake has already verified a presented one.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::{ClientContext, WorkerContext};
use crate::config::PeerCertificates;
use crate::listen::PeerCertificate;

/// Rejects workers without a certificate, where one is required.
pub(super) async fn of_workers(
    State(context): State<WorkerContext>,
    request: Request,
    next: Next,
) -> Response {
    if is_missing(context.certificates, &request) {
        let text =
            "worker certificate missing: set `certificate` and `key` in the worker's [tls]\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Rejects gRPC clients without a certificate, where one is required.
pub(super) async fn of_clients(
    State(context): State<ClientContext>,
    request: Request,
    next: Next,
) -> Response {
    if is_missing(context.certificates, &request) {
        let text = "client certificate missing: SDKs can present one from version 6.5.0 on";
        return Status::unauthenticated(text).into_http();
    }
    next.run(request).await
}

fn is_missing(policy: PeerCertificates, request: &Request) -> bool {
    policy == PeerCertificates::Required && request.extensions().get::<PeerCertificate>().is_none()
}
