//! Download of proofs by operators. Clients download their own by its artifact URL.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Extension, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hierophant_admin_model::{DIGEST_HEADER, Refusal};
use hierophant_model::records::RequestState;

use super::audit;
use super::lists::found_request;
use super::page::{ErrorResponse, error_response, store_unavailable, unavailable};
use crate::api::AdminContext;
use crate::api::http::serve::serve_blob;
use crate::metrics::Peer;
use crate::operators::Operator;

/// The proof of a request, with its SHA-256 in the header `x-proof-sha256`. The download does not count as
/// delivery to the client. It is recorded in the audit log.
#[utoipa::path(get, path = "/requests/{id}/proof", tag = "requests",
    params(("id" = String, Path, description = "request id, or at least its first 16 digits")), responses(
    (status = 200, description = "the proof", content_type = "application/octet-stream"),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "no such request", body = Refusal),
    (status = 409, description = "request has no proof", body = Refusal),
    (status = 410, description = "proof deleted", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn proof(
    State(context): State<AdminContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    let found = found_request(&context, &id).await?;
    let (RequestState::Fulfilled, Some(proof)) = (found.request.state, found.job.proof) else {
        let (request, job) = (found.request.state, found.job.state);
        let text = format!("no proof: the request is {request}, its job {job}");
        return Err(error_response(StatusCode::CONFLICT, text));
    };
    let record = context.store.artifact(proof).await.map_err(store_unavailable)?;
    let deleted = || error_response(StatusCode::GONE, "proof deleted");
    let record = record.filter(|record| record.expired_at.is_none()).ok_or_else(deleted)?;
    let digest = record.blob.ok_or_else(deleted)?.sha256.to_string();
    let exists = context.blobs.is_there(proof).await.map_err(|error| {
        tracing::warn!(%error, "a proof could not be looked up");
        unavailable("proof data unavailable; try again later")
    })?;
    if !exists {
        return Err(deleted());
    }
    if request.method() == Method::GET {
        let call = audit::Call::of(peer, &request);
        call.answered(&context, &operator, String::new(), StatusCode::OK).await?;
    }
    let mut response = serve_blob(&context.transfers, proof, None, Peer::Operator, request).await;
    if let Ok(digest) = HeaderValue::from_str(&digest) {
        response.headers_mut().insert(HeaderName::from_static(DIGEST_HEADER), digest);
    }
    Ok(response.into_response())
}
