//! Uploads of results: a proof, or a blob of a task.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use network_lib::secret::Secret;
use reqwest::header::CONTENT_LENGTH;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::answer::{TransferError, accepted};
use super::{Clients, Transfer, delays, pause};
use crate::finished::{Kept, KeptBytes};
use crate::runner::meter::Meter;

/// Size of the chunks in which bytes are uploaded.
const CHUNK: usize = 256 * 1024;

/// Time limit for the answer to an upload once its last byte is sent, if `http_timeout` is not longer. Hierophant answers
/// when the bytes are stored, for which it takes up to ten minutes if it stores in a distant bucket.
const ANSWER_LIMIT: Duration = Duration::from_secs(11 * 60);

/// Longest pause between two uploads of a proof that something between this worker and Hierophant refuses.
const MAX_FOREIGN_PAUSE: Duration = Duration::from_secs(5 * 60);

impl Transfer {
    /// Uploads bytes to `path`. Retries without limit: a result is worth more than the wait, and the caller drops
    /// the call when it is not.
    pub(in crate::runner) async fn hand_in(
        &self,
        path: &str,
        result: &Kept,
        meter: &Meter,
    ) -> Result<(), TransferError> {
        let mut delays = delays();
        let mut foreign_delays = foreign_delays(self.foreign_pause);
        let mut seen = BTreeSet::new();
        // The latest answer that is not Hierophant's.
        let mut obstacle = None;
        let mut key = self.key(None).await;
        loop {
            let error = match self.hand_in_once(path, &key, result, meter).await {
                Ok(()) => return Ok(()),
                Err(TransferError::KeyOutdated) => {
                    key = self.key(Some(&key)).await;
                    continue;
                }
                Err(error) => error,
            };
            match error {
                TransferError::Transient(reason) => {
                    tracing::warn!(reason, "an upload failed and is tried again");
                    pause(&mut delays).await;
                }
                TransferError::Foreign(status) => {
                    if seen.insert(status) {
                        let reason = format!("proofs cannot be handed in: {error}");
                        tracing::warn!(reason, "the result is kept, and its upload is tried again");
                        drop(obstacle.replace(self.obstacles.raise(reason)));
                    }
                    pause(&mut foreign_delays).await;
                }
                error => return Err(error),
            }
            // An answer to an outdated key may be lost while the bytes are sent.
            key = self.key(None).await;
        }
    }

    async fn hand_in_once(
        &self,
        path: &str,
        key: &Secret,
        result: &Kept,
        meter: &Meter,
    ) -> Result<(), TransferError> {
        let bytes: Box<dyn AsyncRead + Send + Unpin> = match &result.bytes {
            KeptBytes::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            KeptBytes::File(file) => {
                Box::new(tokio::fs::File::open(file).await.map_err(|error| {
                    let reason = format!("the result to hand in cannot be opened: {error}");
                    match error.kind() {
                        io::ErrorKind::NotFound => TransferError::Permanent(reason),
                        _ => TransferError::Transient(reason),
                    }
                })?)
            }
        };
        let size = result.info.size;
        let stall = Arc::new(StallDetector::new(size));
        let (sent, meter) = (Arc::clone(&stall), meter.clone());
        let body = ReaderStream::with_capacity(bytes, CHUNK).inspect(move |chunk| {
            let bytes = chunk.as_ref().map_or(0, bytes::Bytes::len);
            sent.note(bytes);
            meter.add(bytes);
        });
        let Clients { upload, .. } = self.clients().await?;
        let request = upload
            .put(format!("{}{path}", self.base))
            .bearer_auth(key.reveal())
            .header(CONTENT_LENGTH, size)
            .body(reqwest::Body::wrap_stream(body));
        tokio::select! {
            response = request.send() => {
                accepted(response)?;
                self.metrics.sent(size);
                Ok(())
            }
            () = stall.silent_for(self.silence) => {
                Err(TransferError::Transient("the transfer has stalled".to_owned()))
            }
        }
    }
}

/// Detects a stalled upload, by the time of its last progress and the bytes that are not sent yet.
struct StallDetector(Mutex<(Instant, u64)>);

impl StallDetector {
    fn new(size: u64) -> Self {
        Self(Mutex::new((Instant::now(), size)))
    }

    fn note(&self, bytes: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (Instant::now(), state.1.saturating_sub(bytes as u64));
    }

    /// Returns when nothing has happened for `silence`; after the last byte, for [`ANSWER_LIMIT`].
    async fn silent_for(&self, silence: Duration) {
        loop {
            let (last, left) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let limit = if left == 0 { silence.max(ANSWER_LIMIT) } else { silence };
            let deadline = last + limit;
            if Instant::now() >= deadline {
                return;
            }
            // Looks again in between, because the last byte extends the limit.
            tokio::time::sleep_until(deadline).await;
        }
    }
}

/// Pauses after answers that do not come from Hierophant. An operator has to change something first.
fn foreign_delays(first: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(MAX_FOREIGN_PAUSE)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_be_silent_briefly_and_its_answer_may_take_long() {
        let stall = StallDetector::new(10);
        for _ in 0..9 {
            stall.note(1);
            timeout(SILENCE - Duration::from_secs(1), stall.silent_for(SILENCE))
                .await
                .expect_err("it has not stalled");
        }
        let before = Instant::now();
        stall.note(0);
        stall.silent_for(SILENCE).await;
        assert_eq!(before.elapsed().as_secs(), SILENCE.as_secs(), "a byte is missing");
        stall.note(1);
        let sent = Instant::now();
        stall.silent_for(SILENCE).await;
        assert_eq!(sent.elapsed().as_secs(), ANSWER_LIMIT.as_secs());
        let patient = StallDetector::new(0);
        patient.silent_for(ANSWER_LIMIT * 2).await;
        assert!(sent.elapsed() >= ANSWER_LIMIT * 3, "a longer `http_timeout` counts");
    }

    #[test]
    fn pauses_after_foreign_answers_grow_to_five_minutes() {
        let pauses: Vec<u64> =
            foreign_delays(Duration::from_secs(15)).take(7).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [15, 30, 60, 120, 240, 300, 300]);
    }
}
