//! Programs and inputs in, proofs out, by HTTP under the attempt's lease.
//!
//! A link may be slow but must not stand still: time limits are for silence, never for a whole
//! transfer. What arrives is checked against the size and digest that Hierophant announced.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use network_lib::ids::{Sha256Digest, random_bytes};
use network_lib::job::BlobInfo;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, Response, StatusCode, redirect};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use crate::finished::{FinishedProof, ProofBytes};
use crate::metrics::Metrics;
use crate::trust::Trust;

/// How often a download is tried that fails for no lasting reason.
const TRIES: u32 = 6;

/// How much of a proof is handed to the network at once.
const CHUNK: usize = 256 * 1024;

/// Why bytes did not get across.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    /// Hierophant knows no such lease any more.
    #[error("Hierophant answers that the lease is gone")]
    LeaseGone,
    /// It went wrong and may go right next time.
    #[error("{0}")]
    Transient(String),
    /// It cannot go right.
    #[error("{0}")]
    Permanent(String),
}

/// Moves bytes between this machine and Hierophant.
pub(super) struct Transfer {
    base: String,
    trust: Arc<Trust>,
    clients: Mutex<Option<Clients>>,
    silence: Duration,
    metrics: Metrics,
}

/// What transfers go over, as long as the certificates stay the same.
#[derive(Clone)]
struct Clients {
    made_for: Arc<ClientConfig>,
    download: Client,
    upload: Client,
}

impl Transfer {
    /// Transfers with the server at `base`, each of which may stand still for `silence`.
    pub(super) fn new(
        base: String,
        trust: Arc<Trust>,
        silence: Duration,
        metrics: Metrics,
    ) -> Self {
        Self { base, trust, clients: Mutex::default(), silence, metrics }
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
            // While an upload runs there is nothing to read, so its silence is measured here.
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
        loop {
            let error = match self.fetch_once(path, expected, folder).await {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
            tries += 1;
            if tries == TRIES || !error.may_pass() {
                return Err(error);
            }
            tracing::warn!(reason = %error, "a download failed and is tried again");
            pause(&mut delays).await;
        }
    }

    async fn fetch_once(
        &self,
        path: &str,
        expected: BlobInfo,
        folder: &Path,
    ) -> Result<NamedTempFile, TransferError> {
        let Clients { download, .. } = self.clients().await?;
        let response = download.get(format!("{}{path}", self.base)).send().await;
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
                "{size} bytes arrived that are not the {} that were announced",
                expected.size
            );
            return Err(TransferError::Transient(message));
        }
        Ok(file)
    }

    /// Hands in a proof at `path`. Tries for as long as it takes: the proof is worth more than the
    /// wait, and whoever calls stops it when it no longer is.
    pub(super) async fn hand_in(
        &self,
        path: &str,
        proof: &FinishedProof,
    ) -> Result<(), TransferError> {
        let mut delays = delays();
        loop {
            let error = match self.hand_in_once(path, proof).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.may_pass() {
                return Err(error);
            }
            tracing::warn!(reason = %error, "handing in the proof failed and is tried again");
            pause(&mut delays).await;
        }
    }

    async fn hand_in_once(&self, path: &str, proof: &FinishedProof) -> Result<(), TransferError> {
        let bytes: Box<dyn AsyncRead + Send + Unpin> = match &proof.bytes {
            ProofBytes::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            ProofBytes::File(file) => {
                Box::new(tokio::fs::File::open(file).await.map_err(|error| {
                    TransferError::Permanent(format!("the finished proof is gone: {error}"))
                })?)
            }
        };
        let pace = Arc::new(Pace::new());
        let sent = Arc::clone(&pace);
        let body = ReaderStream::with_capacity(bytes, CHUNK).inspect(move |_| sent.note());
        let Clients { upload, .. } = self.clients().await?;
        let request = upload
            .put(format!("{}{path}", self.base))
            .header(CONTENT_LENGTH, proof.proof.size)
            .body(reqwest::Body::wrap_stream(body));
        tokio::select! {
            response = request.send() => {
                accepted(response)?;
                self.metrics.sent(proof.proof.size);
                Ok(())
            }
            () = pace.silent_for(self.silence) => {
                Err(TransferError::Transient("the transfer stands still".to_owned()))
            }
        }
    }
}

impl TransferError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

/// When a transfer last went on.
struct Pace(Mutex<Instant>);

impl Pace {
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
        // Otherwise every process draws the same.
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
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => {
            Err(TransferError::LeaseGone)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(TransferError::Transient(format!("Hierophant answers {status}")))
        }
        _ if status.is_server_error() => {
            Err(TransferError::Transient(format!("Hierophant answers {status}")))
        }
        _ => Err(TransferError::Permanent(format!("Hierophant answers {status}"))),
    }
}

fn network(error: reqwest::Error) -> TransferError {
    // Without the address: it holds the lease, which is a secret.
    let error = anyhow::Error::new(error.without_url());
    TransferError::Transient(format!("{error:#}"))
}
