//! A download into a file that the next call continues if this one is interrupted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use network_lib::ids::Sha256Digest;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::time::sleep;

use super::fault;

/// Most bytes that are downloaded.
const MAX_BYTES: u64 = 4 << 30;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Most attempts at a download that is interrupted.
const MAX_TRIES: usize = 6;

/// Longest pause between two of them.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Bytes between two reports.
const REPORT_STEP: u64 = 64 << 20;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownloadError {
    /// The connection or the server failed: another attempt may continue.
    #[error("{0}")]
    Interrupted(String),
    /// Another attempt would end alike.
    #[error(transparent)]
    Final(anyhow::Error),
}

/// The file of a download, used by one process at a time.
pub(super) struct Part {
    path: PathBuf,
    folder: PathBuf,
    file: File,
}

impl Part {
    /// Opens the file for the archive `name` in `folder`, with what an earlier call has left in it.
    pub(super) fn open(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = folder.join(format!(".{name}.part"));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| fault::write(error, folder))?;
        match file.try_lock() {
            Ok(()) => {
                let part = Self { path, folder: folder.to_owned(), file };
                if !part.has_name().map_err(|error| fault::write(error, folder))? {
                    bail!(
                        "another process has just ended its download into {}: run this command again",
                        part.path.display()
                    );
                }
                Ok(part)
            }
            Err(TryLockError::WouldBlock) => {
                bail!("another process downloads into {}: wait for its end", path.display())
            }
            Err(TryLockError::Error(error)) => Err(fault::write(error, folder)),
        }
    }

    /// Whether the path still names this file: another process may have removed it before the lock was taken.
    fn has_name(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(named) => {
                let own = self.file.metadata()?;
                Ok((named.dev(), named.ino()) == (own.dev(), own.ino()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Digest of its contents.
    pub(super) async fn digest(&self) -> anyhow::Result<Sha256Digest> {
        let path = self.path.clone();
        let digest = tokio::task::spawn_blocking(move || {
            let mut digest = Sha256::new();
            let mut file = BufReader::with_capacity(1 << 20, File::open(&path)?);
            io::copy(&mut file, &mut digest)?;
            io::Result::Ok(digest.finalize())
        });
        let digest =
            digest.await?.with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(Sha256Digest(digest.into()))
    }

    /// Keeps what has arrived for the next call.
    pub(super) fn keep(self) {
        if self.length().is_ok_and(|length| length == 0) {
            self.discard();
        }
    }

    /// Removes it.
    pub(super) fn discard(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, file = %self.path.display(), "a download cannot be removed");
        }
    }

    /// Empties it, so that the next download begins at the start.
    pub(super) fn restart(&self) -> anyhow::Result<()> {
        self.file.set_len(0).map_err(|error| fault::write(error, &self.folder))
    }
}

/// Downloads `url` into `part`, from where an interrupted download has ended. Returns whether there was one.
///
/// # Errors
///
/// When the server does not have the file, stays out of reach, or sends too much; or when the disk is full.
pub(super) async fn download(
    url: &str,
    part: &Part,
    first_pause: Duration,
    report: &mut impl FnMut(&str),
) -> Result<bool, DownloadError> {
    let client = client(url).map_err(DownloadError::Final)?;
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(first_pause)
        .with_max_delay(MAX_PAUSE)
        .with_max_times(MAX_TRIES - 1)
        .build();
    let mut is_continued = part.length().is_ok_and(|length| length > 0);
    loop {
        let reason = match attempt(&client, url, part, report).await {
            Ok(()) => return Ok(is_continued),
            Err(DownloadError::Interrupted(reason)) => reason,
            Err(error) => return Err(error),
        };
        is_continued = true;
        let Some(pause) = pauses.next() else {
            return Err(DownloadError::Interrupted(format!(
                "the download of {url} was interrupted {MAX_TRIES} times ({reason}): check the connection, then run \
                 this command again; it continues with what has arrived"
            )));
        };
        report(&format!("interrupted ({reason}), continuing in {} s", pause.as_secs()));
        sleep(pause).await;
    }
}

fn client(url: &str) -> anyhow::Result<Client> {
    // Several TLS providers are linked in, so one must be chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("contemplant/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(SILENCE)
        .read_timeout(SILENCE)
        // A redirection to plain HTTP is refused.
        .https_only(url.starts_with("https://"))
        .build()
        .context("cannot make an HTTP client")
}

async fn attempt(
    client: &Client,
    url: &str,
    part: &Part,
    report: &mut impl FnMut(&str),
) -> Result<(), DownloadError> {
    let write = |error: io::Error| DownloadError::Final(fault::write(error, &part.folder));
    let have = part.length().map_err(write)?;
    let mut request = client.get(url);
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let response = request.send().await.map_err(interrupted)?;
    let Some(start) = start_of(&response, have, url)? else { return Ok(()) };
    if start != have {
        part.file.set_len(start).map_err(write)?;
    }
    let total = response.content_length().map(|length| start.saturating_add(length));
    check_room(total, start, url, &part.folder)?;
    let file = part.file.try_clone().map_err(write)?;
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(start)).await.map_err(write)?;
    let mut body = response.bytes_stream();
    let (mut received, mut reported) = (start, start);
    while let Some(chunk) = body.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                // What has arrived is kept for the next attempt.
                file.flush().await.map_err(write)?;
                return Err(interrupted(error));
            }
        };
        received += chunk.len() as u64;
        if received > MAX_BYTES {
            return Err(too_large(url));
        }
        file.write_all(&chunk).await.map_err(write)?;
        if received - reported >= REPORT_STEP {
            reported = received;
            let of = total.map(|total| format!(" of {}", total >> 20)).unwrap_or_default();
            report(&format!("{}{of} MiB", received >> 20));
        }
    }
    file.flush().await.map_err(write)
}

/// The position at which the body of a response begins; none if everything is there already.
fn start_of(response: &Response, have: u64, url: &str) -> Result<Option<u64>, DownloadError> {
    match response.status() {
        StatusCode::OK => Ok(Some(0)),
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            let start = range.and_then(|range| {
                range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok()
            });
            match start {
                Some(start) if start == have => Ok(Some(start)),
                _ => Err(DownloadError::Final(anyhow!(
                    "{url} answers with the part {range:?}: expected the one from byte {have}"
                ))),
            }
        }
        // The digest will show whether what is there is the file.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => Ok(None),
        StatusCode::NOT_FOUND => Err(DownloadError::Final(anyhow!(
            "{url} does not exist (HTTP 404): build the server with `contemplant prover build`"
        ))),
        status
            if status.is_server_error()
                || status == StatusCode::TOO_MANY_REQUESTS
                || status == StatusCode::REQUEST_TIMEOUT =>
        {
            Err(DownloadError::Interrupted(format!("HTTP {status}")))
        }
        status => {
            Err(DownloadError::Final(anyhow!("{url} answers with HTTP {status}: expected a file")))
        }
    }
}

/// Refuses a file that is too large for us or for the disk before any of it is written.
fn check_room(
    total: Option<u64>,
    have: u64,
    url: &str,
    folder: &Path,
) -> Result<(), DownloadError> {
    let Some(total) = total else { return Ok(()) };
    if total > MAX_BYTES {
        return Err(too_large(url));
    }
    let missing = total.saturating_sub(have);
    match fs4::available_space(folder) {
        Ok(free) if free < missing => Err(DownloadError::Final(anyhow!(
            "{} has {} MiB free: expected {} MiB for the download; make room, or choose a folder on a larger disk \
             with --to",
            folder.display(),
            free >> 20,
            missing >> 20
        ))),
        _ => Ok(()),
    }
}

fn too_large(url: &str) -> DownloadError {
    DownloadError::Final(anyhow!("{url} is larger than {} MiB, the limit", MAX_BYTES >> 20))
}

fn interrupted(error: reqwest::Error) -> DownloadError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    DownloadError::Interrupted(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_before_its_lock_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::open(folder.path(), "archive").unwrap();
        assert!(part.has_name().unwrap());
        std::fs::remove_file(part.path()).unwrap();
        assert!(!part.has_name().unwrap());
        std::fs::write(part.path(), "of another process").unwrap();
        assert!(!part.has_name().unwrap());
    }
}
