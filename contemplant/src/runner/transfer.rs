//! HTTP transfers: downloads of programs and inputs, uploads of proofs, under the attempt's lease and with the access
//! key of the latest welcome. After a key has become invalid (Hierophant was restarted, or has declared this worker
//! lost), a transfer waits for the key of the next welcome.
//!
//! A transfer may be slow but must not stall: time limits apply to silence, never to a whole transfer. Downloads are
//! checked against the size and digest that Hierophant announced.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use network_lib::ids::{Sha256Digest, random_bytes};
use network_lib::job::BlobInfo;
use network_lib::secret::Secret;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, Response, StatusCode, redirect};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use crate::finished::{FinishedProof, ProofBytes};
use crate::metrics::Metrics;
use crate::trust::Trust;

/// Most attempts at a download that fails for a transient reason.
const MAX_TRIES: u32 = 6;

/// Size of the chunks in which a proof is uploaded.
const CHUNK: usize = 256 * 1024;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    /// The lease is no longer valid.
    #[error("Hierophant answers that the lease is gone")]
    LeaseGone,
    /// The access key is no longer valid.
    #[error("Hierophant rejects the access key")]
    KeyOutdated,
    /// A failure that a retry may resolve.
    #[error("{0}")]
    Transient(String),
    /// A failure that a retry cannot resolve.
    #[error("{0}")]
    Permanent(String),
}

/// Transfers between this machine and Hierophant.
pub(super) struct Transfer {
    base: String,
    trust: Arc<Trust>,
    clients: Mutex<Option<Clients>>,
    /// The access key of the latest welcome.
    key: watch::Sender<Option<Secret>>,
    silence: Duration,
    metrics: Metrics,
}

/// HTTP clients, as long as the certificates stay the same.
#[derive(Clone)]
struct Clients {
    made_for: Arc<ClientConfig>,
    download: Client,
    upload: Client,
}

impl Transfer {
    /// Transfers with the server at `base`, each of which may stall for `silence`.
    pub(super) fn new(
        base: String,
        trust: Arc<Trust>,
        silence: Duration,
        metrics: Metrics,
    ) -> Self {
        let (clients, key) = (Mutex::default(), watch::Sender::new(None));
        Self { base, trust, clients, key, silence, metrics }
    }

    /// Sets the key that is presented from now on.
    pub(super) fn admitted(&self, key: Secret) {
        self.key.send_replace(Some(key));
    }

    /// The key to present, which differs from `outdated`.
    async fn key(&self, outdated: Option<&Secret>) -> Secret {
        let mut keys = self.key.subscribe();
        let newer = keys.wait_for(|key| key.is_some() && key.as_ref() != outdated).await;
        match newer.ok().and_then(|key| key.clone()) {
            Some(key) => key,
            // The channel cannot close: this holds the other end.
            None => std::future::pending().await,
        }
    }

    /// The clients for a transfer that begins now.
    async fn clients(&self) -> Result<Clients, TransferError> {
        let config = self.trust.config().await;
        let config = config.map_err(|error| TransferError::Transient(format!("{error:#}")))?;
        let mut kept = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) = kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.made_for, &config)) {
            return Ok(clients.clone());
        }
        let client = || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .connect_timeout(self.silence)
                .use_preconfigured_tls(ClientConfig::clone(&config))
        };
        let clients = Clients {
            download: client().read_timeout(self.silence).build().map_err(network)?,
            // During an upload there is nothing to read, so its silence is measured here.
            upload: client().build().map_err(network)?,
            made_for: config,
        };
        Ok(kept.insert(clients).clone())
    }

    /// Fetches `path` into a file in `folder`.
    pub(super) async fn fetch(
        &self,
        path: &str,
        expected: BlobInfo,
        folder: &Path,
    ) -> Result<NamedTempFile, TransferError> {
        let mut delays = delays();
        let mut tries = 0;
        let mut key = self.key(None).await;
        loop {
            let error = match self.fetch_once(path, &key, expected, folder).await {
                Ok(file) => return Ok(file),
                Err(TransferError::KeyOutdated) => {
                    key = self.key(Some(&key)).await;
                    continue;
                }
                Err(error) => error,
            };
            tries += 1;
            if tries == MAX_TRIES || !error.may_pass() {
                return Err(error);
            }
            tracing::warn!(reason = %error, "a download failed and is tried again");
            pause(&mut delays).await;
        }
    }

    async fn fetch_once(
        &self,
        path: &str,
        key: &Secret,
        expected: BlobInfo,
        folder: &Path,
    ) -> Result<NamedTempFile, TransferError> {
        let Clients { download, .. } = self.clients().await?;
        let call = download.get(format!("{}{path}", self.base)).bearer_auth(key.reveal());
        let response = call.send().await;
        let mut response = accepted(response)?;
        let local = |error: io::Error| {
            TransferError::Permanent(format!("cannot write to the data folder: {error}"))
        };
        let file = NamedTempFile::new_in(folder).map_err(local)?;
        let mut writer = tokio::fs::File::from_std(file.reopen().map_err(local)?);
        let mut digest = Sha256::new();
        let mut size = 0_u64;
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            size += chunk.len() as u64;
            if size > expected.size {
                break;
            }
            digest.update(&chunk);
            writer.write_all(&chunk).await.map_err(local)?;
        }
        writer.flush().await.map_err(local)?;
        self.metrics.received(size);
        let found = BlobInfo { size, sha256: Sha256Digest(digest.finalize().into()) };
        if found != expected {
            let message = format!(
                "a download of {size} bytes differs from the announced one: expected {} bytes and their digest",
                expected.size
            );
            return Err(TransferError::Transient(message));
        }
        Ok(file)
    }

    /// Uploads a proof to `path`. Retries without limit: the proof is worth more than the wait, and the caller drops
    /// the call when it is not.
    pub(super) async fn hand_in(
        &self,
        path: &str,
        proof: &FinishedProof,
    ) -> Result<(), TransferError> {
        let mut delays = delays();
        let mut key = self.key(None).await;
        loop {
            let error = match self.hand_in_once(path, &key, proof).await {
                Ok(()) => return Ok(()),
                Err(TransferError::KeyOutdated) => {
                    key = self.key(Some(&key)).await;
                    continue;
                }
                Err(error) => error,
            };
            if !error.may_pass() {
                return Err(error);
            }
            tracing::warn!(reason = %error, "the upload of the proof failed and is tried again");
            pause(&mut delays).await;
            // An answer to an outdated key may be lost while the bytes are sent.
            key = self.key(None).await;
        }
    }

    async fn hand_in_once(
        &self,
        path: &str,
        key: &Secret,
        proof: &FinishedProof,
    ) -> Result<(), TransferError> {
        let bytes: Box<dyn AsyncRead + Send + Unpin> = match &proof.bytes {
            ProofBytes::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            ProofBytes::File(file) => {
                Box::new(tokio::fs::File::open(file).await.map_err(|error| {
                    TransferError::Permanent(format!("the finished proof is gone: {error}"))
                })?)
            }
        };
        let stall = Arc::new(StallDetector::new());
        let sent = Arc::clone(&stall);
        let body = ReaderStream::with_capacity(bytes, CHUNK).inspect(move |_| sent.note());
        let Clients { upload, .. } = self.clients().await?;
        let request = upload
            .put(format!("{}{path}", self.base))
            .bearer_auth(key.reveal())
            .header(CONTENT_LENGTH, proof.proof.size)
            .body(reqwest::Body::wrap_stream(body));
        tokio::select! {
            response = request.send() => {
                accepted(response)?;
                self.metrics.sent(proof.proof.size);
                Ok(())
            }
            () = stall.silent_for(self.silence) => {
                Err(TransferError::Transient("the transfer has stalled".to_owned()))
            }
        }
    }
}

impl TransferError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

/// Detects a stalled transfer, by the time of its last progress.
struct StallDetector(Mutex<Instant>);

impl StallDetector {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    async fn silent_for(&self, silence: Duration) {
        loop {
            let deadline = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + silence;
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(15))
        .with_jitter()
        // The default seed is the same in every process.
        .with_jitter_seed(u64::from_le_bytes(random_bytes()))
        .without_max_times()
        .build()
}

async fn pause(delays: &mut impl Iterator<Item = Duration>) {
    tokio::time::sleep(delays.next().unwrap_or(Duration::from_secs(15))).await;
}

fn accepted(response: reqwest::Result<Response>) -> Result<Response, TransferError> {
    let response = response.map_err(network)?;
    let status = response.status();
    match status {
        _ if status.is_success() => Ok(response),
        StatusCode::FORBIDDEN | StatusCode::GONE => Err(TransferError::LeaseGone),
        StatusCode::UNAUTHORIZED => Err(TransferError::KeyOutdated),
        // Hierophant never answers 404 to these paths: a proxy does, while Hierophant is down.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::NOT_FOUND => {
            Err(TransferError::Transient(format!("Hierophant answers {status}")))
        }
        _ if status.is_server_error() => {
            Err(TransferError::Transient(format!("Hierophant answers {status}")))
        }
        _ => Err(TransferError::Permanent(format!("Hierophant answers {status}"))),
    }
}

fn network(error: reqwest::Error) -> TransferError {
    // Without the URL, which contains the lease, a secret.
    let error = anyhow::Error::new(error.without_url());
    TransferError::Transient(format!("{error:#}"))
}
