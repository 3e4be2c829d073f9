//! Downloads of blobs of tasks.

use network_lib::ids::Sha256Digest;
use network_lib::job::BlobInfo;
use network_lib::secret::Secret;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};

use super::answer::{TransferError, accepted};
use super::{Clients, Transfer, delays, pause};
use crate::runner::meter::Meter;

/// Most downloads of a blob whose bytes are not the announced ones.
const MAX_WRONG: u32 = 3;

/// Most bytes of memory that are reserved before a blob arrives: its announced size may be false.
const MAX_RESERVED: u64 = 64 << 20;

impl Transfer {
    /// Fetches the blob at `path` into memory. Retries without limit while Hierophant cannot be reached or waits for the
    /// blob (503): it ends the attempt when another worker is to make it, and the caller then drops the call.
    ///
    /// # Errors
    ///
    /// [`TransferError::Missing`] if no source has it, [`TransferError::Differs`] if its bytes are not the announced ones,
    /// and what ends every transfer.
    pub(in crate::runner) async fn fetch_blob(
        &self,
        path: &str,
        expected: BlobInfo,
        meter: &Meter,
    ) -> Result<Vec<u8>, TransferError> {
        let mut delays = delays();
        let mut wrong = 0;
        let mut key = self.key(None).await;
        loop {
            let error = match self.fetch_blob_once(path, &key, expected, meter).await {
                Ok(bytes) => return Ok(bytes),
                Err(TransferError::KeyOutdated) => {
                    key = self.key(Some(&key)).await;
                    continue;
                }
                Err(error) => error,
            };
            match error {
                TransferError::Transient(_) => {}
                TransferError::Differs(_) if wrong + 1 < MAX_WRONG => wrong += 1,
                error => return Err(error),
            }
            tracing::warn!(reason = %error, "a blob could not be fetched, which is tried again");
            pause(&mut delays).await;
            key = self.key(None).await;
        }
    }

    async fn fetch_blob_once(
        &self,
        path: &str,
        key: &Secret,
        expected: BlobInfo,
        meter: &Meter,
    ) -> Result<Vec<u8>, TransferError> {
        let Clients { download, .. } = self.clients().await?;
        let call = download.get(format!("{}{path}", self.base)).bearer_auth(key.reveal());
        let response = call.send().await;
        let is_missing =
            |status: StatusCode| matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        if response.as_ref().is_ok_and(|response| is_missing(response.status())) {
            return Err(TransferError::Missing);
        }
        let mut response = accepted(response)?;
        let capacity = usize::try_from(expected.size.min(MAX_RESERVED)).unwrap_or_default();
        let mut bytes = Vec::with_capacity(capacity);
        while let Some(chunk) = response.chunk().await.map_err(TransferError::network)? {
            meter.add(chunk.len());
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > expected.size {
                break;
            }
        }
        self.metrics.received(bytes.len() as u64);
        // A blob may have hundreds of megabytes.
        let checked = tokio::task::spawn_blocking(move || {
            let sha256 = Sha256Digest(Sha256::digest(&bytes).into());
            (BlobInfo { size: bytes.len() as u64, sha256 }, bytes)
        });
        let (found, bytes) = checked.await.map_err(|error| {
            TransferError::Permanent(format!("a blob could not be checked: {error}"))
        })?;
        if found == expected { Ok(bytes) } else { Err(TransferError::Differs(found.size)) }
    }
}
