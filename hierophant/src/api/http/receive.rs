//! Uploads: request bodies streamed to the blob store.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use network_lib::task;
use tokio::time::{Instant, timeout};

use super::{text_response, try_again};
use crate::api::Transfers;
use crate::artifacts::blobs::StagedBlob;
use crate::metrics::Peer;

/// Time for which the rest of a rejected body is still read, so that the sender receives the rejection instead
/// of a connection reset.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// Streams a body to the blob store; that of a client only while there is enough free storage. The error is the
/// response to send.
pub(super) async fn receive(
    transfers: &Transfers,
    headers: &HeaderMap,
    body: Body,
    peer: Peer,
) -> Result<StagedBlob, Box<Response>> {
    let limit = transfers.uploads.max_bytes;
    let mut chunks = body.into_data_stream();
    let Some(_permit) = transfers.uploads.begin(peer) else {
        discard(chunks);
        return Err(closing(try_again("too many uploads in progress; try again later")));
    };
    let length = content_length(headers);
    if length.is_some_and(|length| length > limit) {
        discard(chunks);
        return Err(Box::new(too_large(limit)));
    }
    // Proofs are accepted even when storage is low: the reserve is kept for them.
    let admit = |bytes: u64| match peer {
        Peer::Contemplant => Ok(()),
        Peer::Client | Peer::Operator => transfers.budget.admit(bytes),
    };
    if let Err(low) = admit(length.unwrap_or(0)) {
        discard(chunks);
        return Err(Box::new(try_again(low.to_string())));
    }
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "an upload could not be written");
        Box::new(not_written())
    };
    let mut writer = transfers.blobs.begin(length);
    let mut size = 0_u64;
    let mut rate = transfers.uploads.min_rate.clone();
    loop {
        let wait_started = Instant::now();
        let chunk = timeout(rate.patience(), chunks.next()).await;
        let bytes = match &chunk {
            Ok(Some(Ok(chunk))) => chunk.len(),
            _ => 0,
        };
        let slow = rate.record(wait_started.elapsed(), bytes).is_err();
        let chunk = match chunk {
            Ok(None) => break,
            Ok(Some(chunk)) if !slow => chunk,
            Err(_) if !slow => continue,
            _ => {
                tracing::info!(size, "an upload was too slow");
                discard(chunks);
                return Err(closing(too_slow()));
            }
        };
        let chunk = chunk.map_err(|error| {
            tracing::info!(%error, size, "an upload was interrupted");
            Box::new(text_response(StatusCode::BAD_REQUEST, "upload interrupted"))
        })?;
        size += chunk.len() as u64;
        if size > limit {
            discard(chunks);
            return Err(Box::new(too_large(limit)));
        }
        // The bytes written so far, except those of the last second, are no longer counted as free.
        if let Err(low) = admit(0) {
            discard(chunks);
            return Err(Box::new(try_again(low.to_string())));
        }
        writer.write(chunk).await.map_err(failed)?;
    }
    let staged = writer.finish().await.map_err(failed)?;
    if staged.info().size != size {
        return Err(Box::new(not_written()));
    }
    Ok(staged)
}

/// Length of the body as stated by its sender.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_slow() -> Response {
    text_response(
        StatusCode::REQUEST_TIMEOUT,
        "upload stalled or slower than `limits.min_upload_rate` of this network",
    )
}

fn not_written() -> Response {
    try_again("upload not stored; try again later")
}

/// A response after which the connection is closed.
fn closing(mut response: Response) -> Box<Response> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Box::new(response)
}

fn too_large(limit: u64) -> Response {
    text_response(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("upload too large: expected at most {limit} bytes (`max_artifact_bytes`)"),
    )
}

/// Reads the rest of a rejected body, for a limited time.
pub(super) fn discard(mut chunks: BodyDataStream) {
    task::spawn("discard upload", async move {
        let reading = async { while let Some(Ok(_)) = chunks.next().await {} };
        let _ = tokio::time::timeout(DISCARD_LIMIT, reading).await;
    });
}
