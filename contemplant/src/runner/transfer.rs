//! HTTP transfers: downloads of programs, inputs and blobs of tasks, and uploads of results, under the attempt's lease
//! and with the access key of the latest welcome. After a key has become invalid (Hierophant was restarted, or has
//! declared this worker lost), a transfer waits for the key of the next welcome.
//!
//! A transfer may be slow but must not stall: time limits apply to silence, never to a whole transfer. Downloads are
//! checked against the size and digest that Hierophant announced.

mod answer;
mod blob;
mod upload;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use network_lib::ids::{Sha256Digest, random_bytes};
use network_lib::job::BlobInfo;
use network_lib::secret::Secret;
use reqwest::{Client, redirect};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

pub(super) use self::answer::TransferError;
use self::answer::accepted;
use super::meter::Meter;
use super::obstacles::Obstacles;
use crate::metrics::Metrics;
use crate::trust::Trust;

/// Most attempts at a download that fails for a transient reason.
const MAX_TRIES: u32 = 6;

/// How long a connection for uploads may be idle before its peer is probed, and the interval of the probes.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Time limit for a peer to acknowledge data and probes, if `http_timeout` is not longer. Without it, a peer that vanishes
/// while its answer is awaited would be noticed at `ANSWER_LIMIT` only.
const VANISHED_LIMIT: Duration = Duration::from_secs(60);

/// Transfers between this machine and Hierophant.
pub(super) struct Transfer {
    base: String,
    trust: Arc<Trust>,
    clients: Mutex<Option<Clients>>,
    /// The access key of the latest welcome.
    key: watch::Sender<Option<Secret>>,
    silence: Duration,
    foreign_pause: Duration,
    obstacles: Obstacles,
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
    /// Transfers with the server at `base`, each of which may stall for `silence`. A proof that something in between
    /// refuses is one of the `obstacles`, and is uploaded again after `foreign_pause`, then after longer ones.
    pub(super) fn new(
        base: String,
        trust: Arc<Trust>,
        silence: Duration,
        foreign_pause: Duration,
        obstacles: Obstacles,
        metrics: Metrics,
    ) -> Self {
        let (clients, key) = (Mutex::default(), watch::Sender::new(None));
        Self { base, trust, clients, key, silence, foreign_pause, obstacles, metrics }
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
        let upload = client().tcp_keepalive(PROBE_AFTER).tcp_keepalive_interval(PROBE_INTERVAL);
        #[cfg(target_os = "linux")]
        let upload = upload.tcp_user_timeout(self.silence.max(VANISHED_LIMIT));
        let download = client().read_timeout(self.silence);
        let clients = Clients {
            download: download.build().map_err(TransferError::network)?,
            // During an upload there is nothing to read, so its silence is measured here.
            upload: upload.build().map_err(TransferError::network)?,
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
        meter: &Meter,
    ) -> Result<NamedTempFile, TransferError> {
        let mut delays = delays();
        let mut tries = 0;
        let mut key = self.key(None).await;
        loop {
            let error = match self.fetch_once(path, &key, expected, folder, meter).await {
                Ok(file) => return Ok(file),
                Err(TransferError::KeyOutdated) => {
                    key = self.key(Some(&key)).await;
                    continue;
                }
                Err(error) => error,
            };
            tries += 1;
            if tries == MAX_TRIES || !matches!(error, TransferError::Transient(_)) {
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
        meter: &Meter,
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
        while let Some(chunk) = response.chunk().await.map_err(TransferError::network)? {
            meter.add(chunk.len());
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
