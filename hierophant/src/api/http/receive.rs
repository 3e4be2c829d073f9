//! Taking a request body to disk, chunk by chunk.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use network_lib::task;

use super::{answer, try_again};
use crate::artifacts::blobs::{Blobs, StagedBlob};
use crate::artifacts::budget::DiskBudget;

/// How long a sender may send nothing. One that vanishes without a word is noticed by nothing else, and what
/// it has sent so far would lie on the disk for ever.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How long the rest of a refused body is still read, so that the sender gets to see the refusal
/// instead of a reset connection.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// Streams a body to disk, for as long as `budget`, if given, has room. The error is the answer to send.
pub(super) async fn receive(
    blobs: &Blobs,
    headers: &HeaderMap,
    body: Body,
    limit: u64,
    budget: Option<&DiskBudget>,
) -> Result<StagedBlob, Box<Response>> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    let mut chunks = body.into_data_stream();
    if announced.is_some_and(|length| length > limit) {
        discard(chunks);
        return Err(Box::new(too_large(limit)));
    }
    let admit = |bytes: u64| budget.map_or(Ok(()), |budget| budget.admit(bytes));
    if let Err(low) = admit(announced.unwrap_or(0)) {
        discard(chunks);
        return Err(Box::new(try_again(low.to_string())));
    }
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "an upload could not be written");
        Box::new(try_again("the upload could not be written to disk; try again later"))
    };
    let mut writer = blobs.begin().await.map_err(failed)?;
    let mut size = 0_u64;
    loop {
        let chunk = tokio::time::timeout(SILENCE_LIMIT, chunks.next()).await.map_err(|_| {
            tracing::info!(size, "an upload stood still");
            Box::new(answer(StatusCode::REQUEST_TIMEOUT, "the upload stood still for too long"))
        })?;
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|error| {
            tracing::info!(%error, size, "an upload broke off");
            Box::new(answer(StatusCode::BAD_REQUEST, "the upload broke off"))
        })?;
        size += chunk.len() as u64;
        if size > limit {
            discard(chunks);
            return Err(Box::new(too_large(limit)));
        }
        // What was written so far is gone from the free bytes already, but for the last second's.
        if let Err(low) = admit(0) {
            discard(chunks);
            return Err(Box::new(try_again(low.to_string())));
        }
        writer.write(chunk).await.map_err(failed)?;
    }
    let staged = writer.finish().await.map_err(failed)?;
    if staged.info().size != size {
        return Err(Box::new(try_again(
            "the upload could not be written to disk; try again later",
        )));
    }
    Ok(staged)
}

fn too_large(limit: u64) -> Response {
    answer(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the upload is larger than {limit} bytes, which is `max_artifact_bytes` here"),
    )
}

/// Reads the rest of a refused body, for a while.
pub(super) fn discard(mut chunks: BodyDataStream) {
    task::spawn("discard upload", async move {
        let reading = async { while let Some(Ok(_)) = chunks.next().await {} };
        let _ = tokio::time::timeout(DISCARD_LIMIT, reading).await;
    });
}
