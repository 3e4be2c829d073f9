//! Taking a request body to disk, chunk by chunk.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use network_lib::task;
use tokio::time::{Instant, timeout};

use super::{answer, try_again};
use crate::api::Transfers;
use crate::artifacts::blobs::StagedBlob;
use crate::metrics::Peer;

/// How long the rest of a refused body is still read, so that the sender gets to see the refusal
/// instead of a reset connection.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// Streams a body to disk; that of a client, for as long as the disk has room. The error is the answer to
/// send.
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
        return Err(last(try_again("too many uploads at once; try again later")));
    };
    let announced = announced(headers);
    if announced.is_some_and(|length| length > limit) {
        discard(chunks);
        return Err(Box::new(too_large(limit)));
    }
    // However full the disk: the proofs of what was accepted are what the rest was held back for.
    let admit = |bytes: u64| match peer {
        Peer::Contemplant => Ok(()),
        Peer::Client | Peer::Operator => transfers.budget.admit(bytes),
    };
    if let Err(low) = admit(announced.unwrap_or(0)) {
        discard(chunks);
        return Err(Box::new(try_again(low.to_string())));
    }
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "an upload could not be written");
        Box::new(try_again("the upload could not be written to disk; try again later"))
    };
    let mut writer = transfers.blobs.begin(announced);
    let mut size = 0_u64;
    let mut rate = transfers.uploads.min_rate.clone();
    loop {
        let asked = Instant::now();
        let chunk = timeout(rate.patience(), chunks.next()).await;
        let bytes = match &chunk {
            Ok(Some(Ok(chunk))) => chunk.len(),
            _ => 0,
        };
        let slow = rate.record(asked.elapsed(), bytes).is_err();
        let chunk = match chunk {
            Ok(None) => break,
            Ok(Some(chunk)) if !slow => chunk,
            Err(_) if !slow => continue,
            _ => {
                tracing::info!(size, "an upload was too slow");
                discard(chunks);
                return Err(last(too_slow()));
            }
        };
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

/// How long the body is, by its sender's own words.
#[must_use]
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_slow() -> Response {
    answer(
        StatusCode::REQUEST_TIMEOUT,
        "the upload stood still for too long or is slower than `limits.min_upload_rate` here",
    )
}

/// The last answer on its connection.
fn last(mut response: Response) -> Box<Response> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Box::new(response)
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
