//! Uploads: request bodies streamed to the blob store, or compared with what is stored.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use hierophant_model::clients::Client;
use network_lib::ids::Sha256Digest;
use network_lib::job::BlobInfo;
use network_lib::task;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};

use super::{text_response, try_again};
use crate::api::Transfers;
use crate::api::uploads::{MinRate, SizeLimit};
use crate::artifacts::ArtifactsHandle;
use crate::artifacts::blobs::{BlobWriter, StagedBlob};
use crate::artifacts::budget::DiskBudget;
use crate::listen::ConnectionPermit;
use crate::metrics::Peer;

/// Time for which the rest of a rejected body is still read, so that the sender receives the rejection instead
/// of a connection reset.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a body of unknown length after which its owner's quota is checked again.
const QUOTA_STEP: u64 = 8 << 20;

/// The sender of an upload.
#[derive(Debug)]
pub(super) struct Sender {
    /// Kind of sender.
    pub(super) peer: Peer,
    /// Address.
    pub(super) address: IpAddr,
    /// Whose quota the bytes count for, and who knows it; none for workers.
    pub(super) quota: Option<(ArtifactsHandle, Client)>,
}

/// Streams a body to the blob that `begin` begins; that of a client only while there is enough free storage. The error is the
/// response to send.
pub(super) async fn receive(
    transfers: &Transfers,
    begin: impl FnOnce(Option<u64>) -> BlobWriter,
    headers: &HeaderMap,
    body: Body,
    sender: &Sender,
    limit: SizeLimit,
) -> Result<StagedBlob, Box<Response>> {
    let length = content_length(headers);
    let mut incoming = Incoming::of(transfers, body);
    if length.is_some_and(|length| length > limit.bytes) {
        return Err(incoming.refuse(too_large(limit)));
    }
    let room = Room::of(transfers, sender, length);
    if let Err(refusal) = room.admit_all() {
        return Err(incoming.refuse(refusal));
    }
    let _place = incoming.begin(transfers, sender).await?;
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "an upload could not be written");
        Box::new(not_written())
    };
    let mut writer = begin(length);
    let mut checked = 0;
    while let Some(chunk) = incoming.next().await? {
        let size = incoming.size;
        if size > limit.bytes {
            return Err(incoming.refuse(too_large(limit)));
        }
        if let Err(refusal) = room.admit_so_far(size) {
            return Err(incoming.refuse(refusal));
        }
        if length.is_none() && size >= checked + QUOTA_STEP {
            checked = size;
            if let Err(refusal) = room.check_quota(size).await {
                return Err(incoming.refuse(refusal));
            }
        }
        writer.write(chunk).await.map_err(failed)?;
    }
    let staged = writer.finish().await.map_err(failed)?;
    if staged.info().size != incoming.size {
        return Err(Box::new(not_written()));
    }
    Ok(staged)
}

/// Reads the repetition of an upload and compares it with what is stored, without keeping a byte. Returns whether it is
/// the same. The error is the response to send.
pub(super) async fn compare(
    transfers: &Transfers,
    headers: &HeaderMap,
    body: Body,
    sender: &Sender,
    stored: BlobInfo,
) -> Result<bool, Box<Response>> {
    let mut incoming = Incoming::of(transfers, body);
    match content_length(headers) {
        Some(length) if length == stored.size => {}
        Some(_) => {
            incoming.discard();
            return Ok(false);
        }
        None => {
            let text = "this ticket holds its bytes already: expected a Content-Length";
            return Err(incoming.refuse(text_response(StatusCode::LENGTH_REQUIRED, text)));
        }
    }
    let _place = incoming.begin(transfers, sender).await?;
    let mut hasher = Sha256::new();
    while let Some(chunk) = incoming.next().await? {
        hasher.update(&chunk);
    }
    let sha256 = Sha256Digest(hasher.finalize().into());
    Ok(BlobInfo { size: incoming.size, sha256 } == stored)
}

/// A body that arrives at no less than the minimum rate.
struct Incoming {
    chunks: BodyDataStream,
    rate: MinRate,
    /// The first chunk, before it is asked for.
    first: Option<Bytes>,
    has_ended: bool,
    /// Number of bytes so far.
    size: u64,
}

impl Incoming {
    fn of(transfers: &Transfers, body: Body) -> Self {
        let rate = transfers.limits.min_rate.clone();
        let chunks = body.into_data_stream();
        Self { chunks, rate, first: None, has_ended: false, size: 0 }
    }

    /// Waits for the first byte, and then takes a place: a sender that sends nothing holds none.
    async fn begin(
        &mut self,
        transfers: &Transfers,
        sender: &Sender,
    ) -> Result<ConnectionPermit, Box<Response>> {
        match timeout(transfers.limits.first_byte, self.chunks.next()).await {
            Ok(Some(Ok(chunk))) => self.first = Some(chunk),
            Ok(Some(Err(error))) => return Err(interrupted(&error, 0)),
            Ok(None) => self.has_ended = true,
            Err(_) => return Err(closing(self.refuse(too_slow()))),
        }
        match transfers.limits.uploads.take(sender.peer, sender.address) {
            Some(place) => Ok(place),
            None => {
                let text = "too many uploads in progress; try again later";
                Err(closing(self.refuse(try_again(text))))
            }
        }
    }

    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Box<Response>> {
        if let Some(first) = self.first.take() {
            self.size = first.len() as u64;
            return Ok(Some(first));
        }
        while !self.has_ended {
            let wait_started = Instant::now();
            let chunk = timeout(self.rate.patience(), self.chunks.next()).await;
            let bytes = match &chunk {
                Ok(Some(Ok(chunk))) => chunk.len(),
                _ => 0,
            };
            let slow = self.rate.record(wait_started.elapsed(), bytes).is_err();
            match chunk {
                Ok(None) => self.has_ended = true,
                Ok(Some(chunk)) if !slow => {
                    let chunk = chunk.map_err(|error| interrupted(&error, self.size))?;
                    self.size += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Err(_) if !slow => {}
                _ => {
                    tracing::info!(size = self.size, "an upload was too slow");
                    return Err(closing(self.refuse(too_slow())));
                }
            }
        }
        Ok(None)
    }

    /// Rejects the body; the rest is read for a while.
    fn refuse(&mut self, response: impl Into<Box<Response>>) -> Box<Response> {
        self.discard();
        response.into()
    }

    fn discard(&mut self) {
        let nothing = Body::empty().into_data_stream();
        discard(std::mem::replace(&mut self.chunks, nothing));
    }
}

/// Room for an upload. Proofs are accepted even when storage is low: the reserve is kept for them, except for its last
/// part.
struct Room<'a> {
    budget: &'a DiskBudget,
    is_proof: bool,
    quota: Option<&'a (ArtifactsHandle, Client)>,
    length: Option<u64>,
}

impl<'a> Room<'a> {
    fn of(transfers: &'a Transfers, sender: &'a Sender, length: Option<u64>) -> Self {
        let is_proof = matches!(sender.peer, Peer::Contemplant);
        Self { budget: &transfers.budget, is_proof, quota: sender.quota.as_ref(), length }
    }

    /// Whether there is room for the announced length.
    fn admit_all(&self) -> Result<(), Box<Response>> {
        let length = self.length.unwrap_or(0);
        let room = match self.is_proof {
            true => self.budget.admit_proof(length),
            false => self.budget.admit(length),
        };
        room.map_err(|low| try_again(low.to_string()).into())
    }

    /// Whether there is room for the bytes so far. They are not counted as free any longer, except those of the last
    /// second, but not yet as stored.
    fn admit_so_far(&self, size: u64) -> Result<(), Box<Response>> {
        let room = match self.is_proof {
            true => self.budget.admit_proof(0),
            false => self.budget.admit_written(size),
        };
        room.map_err(|low| try_again(low.to_string()).into())
    }

    /// Whether the owner's quota allows a body of at least `size`.
    async fn check_quota(&self, size: u64) -> Result<(), Box<Response>> {
        let Some((artifacts, owner)) = self.quota else { return Ok(()) };
        match artifacts.may_keep(owner.clone(), size).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(over)) => {
                Err(text_response(StatusCode::PAYLOAD_TOO_LARGE, over.to_string()).into())
            }
            Err(_) => Err(not_written().into()),
        }
    }
}

/// Length of the body as stated by its sender.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn interrupted(error: &axum::Error, size: u64) -> Box<Response> {
    tracing::info!(%error, size, "an upload was interrupted");
    Box::new(text_response(StatusCode::BAD_REQUEST, "upload interrupted"))
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
fn closing(mut response: Box<Response>) -> Box<Response> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn too_large(SizeLimit { bytes, key }: SizeLimit) -> Response {
    text_response(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("upload too large: expected at most {bytes} bytes (`{key}`)"),
    )
}

/// Reads the rest of a rejected body, for a limited time.
pub(super) fn discard(mut chunks: BodyDataStream) {
    task::spawn("discard upload", async move {
        let reading = async { while let Some(Ok(_)) = chunks.next().await {} };
        let _ = tokio::time::timeout(DISCARD_LIMIT, reading).await;
    });
}
