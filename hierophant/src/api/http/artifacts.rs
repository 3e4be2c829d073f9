//! Uploads by ticket and downloads, for clients.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use network_lib::ids::ArtifactId;
use tower::ServiceExt;
use tower_http::services::ServeFile;

use super::receive::receive;
use super::{answer, not_found, try_again};
use crate::api::Context;
use crate::artifacts::blobs::Blobs;
use crate::artifacts::{UploadError, short};
use crate::records::ArtifactKind;

const NO_SUCH: &str = "no such artifact";

/// `PUT /artifacts/{id}`: the one upload to a ticket. Repeating it with the same bytes is fine.
pub(super) async fn upload(
    State(context): State<Context>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let no_ticket = || not_found(&UploadError::NoTicket.to_string());
    let Ok(id) = id.parse::<ArtifactId>() else { return no_ticket() };
    match context.store.artifact(id).await {
        Ok(Some(record)) if record.kind != ArtifactKind::Proof => {}
        Ok(_) => return no_ticket(),
        Err(error) => {
            tracing::error!(%error, "a ticket could not be looked up");
            return try_again(UploadError::Unavailable.to_string());
        }
    }
    let staged = match receive(&context.blobs, &headers, body, context.max_artifact_bytes).await {
        Ok(staged) => staged,
        Err(refusal) => return *refusal,
    };
    match context.owners.artifacts.keep_upload(id, staged).await {
        Ok(info) => {
            tracing::info!(artifact = %short(id), bytes = info.size, "upload stored");
            StatusCode::OK.into_response()
        }
        Err(error @ UploadError::Conflict) => answer(StatusCode::CONFLICT, error.to_string()),
        Err(UploadError::NoTicket) => no_ticket(),
        Err(error @ UploadError::Unavailable) => try_again(error.to_string()),
    }
}

/// `GET /artifacts/{id}`: a proof, a program or an input that is not private; `Range` is honoured.
pub(super) async fn download(
    State(context): State<Context>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let Ok(id) = id.parse::<ArtifactId>() else { return not_found(NO_SUCH) };
    match context.store.artifact(id).await {
        Ok(Some(record)) if record.kind == ArtifactKind::PrivateStdin => {
            answer(StatusCode::FORBIDDEN, "a private input is not given out")
        }
        Ok(Some(record)) if record.blob.is_some() => serve_blob(&context.blobs, id, request).await,
        Ok(_) => not_found(NO_SUCH),
        Err(error) => {
            tracing::error!(%error, "an artifact could not be looked up");
            try_again("the store does not answer now; try again later")
        }
    }
}

/// Streams a blob as it is stored.
pub(super) async fn serve_blob(blobs: &Blobs, id: ArtifactId, request: Request) -> Response {
    let file = ServeFile::new(blobs.path(id));
    // Its error type is empty: a missing file is answered with 404.
    let mut response = match file.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    };
    // Ids are capabilities, so nothing in between may keep or guess at the content.
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("private, no-store"));
    response
}
