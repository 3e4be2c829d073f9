//! The proof of a request, for operators: clients fetch theirs by its own URL.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hierophant_model::records::RequestState;

use super::lists::found_request;
use super::page::{ErrorResponse, refusal, store_unavailable, unavailable};
use crate::api::AdminContext;
use crate::api::http::serve::serve_blob;
use crate::metrics::Peer;
use hierophant_admin_model::{DIGEST_HEADER, Refusal};

/// The bytes of a request's proof, with their SHA-256 in the header `x-proof-sha256`. It does not count as
/// fetched by its client.
#[utoipa::path(get, path = "/requests/{id}/proof", tag = "requests",
    params(("id" = String, Path, description = "id of the request, 16 digits or more")), responses(
    (status = 200, description = "the proof", content_type = "application/octet-stream"),
    (status = 400, description = "that is no id", body = Refusal),
    (status = 404, description = "no such request", body = Refusal),
    (status = 409, description = "it has no proof", body = Refusal),
    (status = 410, description = "its proof is not kept any more", body = Refusal),
    (status = 503, description = "the store does not answer", body = Refusal),
))]
pub(super) async fn proof(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    let found = found_request(&context, &id).await?;
    let (RequestState::Fulfilled, Some(proof)) = (found.request.state, found.job.proof) else {
        let (request, job) = (found.request.state, found.job.state);
        let words = format!("there is no proof: the request is {request}, its job {job}");
        return Err(refusal(StatusCode::CONFLICT, words));
    };
    let record = context.store.artifact(proof).await.map_err(store_unavailable)?;
    let gone = || refusal(StatusCode::GONE, "the proof is not kept any more");
    let record = record.filter(|record| record.expired_at.is_none()).ok_or_else(gone)?;
    let digest = record.blob.ok_or_else(gone)?.sha256.to_string();
    let there = context.blobs.is_there(proof).await.map_err(|error| {
        tracing::warn!(%error, "a proof cannot be looked for");
        unavailable("the proof cannot be reached; try again")
    })?;
    if !there {
        return Err(gone());
    }
    let mut response = serve_blob(&context.transfers, proof, Peer::Operator, request).await;
    if let Ok(digest) = HeaderValue::from_str(&digest) {
        response.headers_mut().insert(HeaderName::from_static(DIGEST_HEADER), digest);
    }
    Ok(response.into_response())
}
