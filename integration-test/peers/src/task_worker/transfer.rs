//! Blobs of tasks, to and from Hierophant.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::BlobInfo;
use network_lib::secret::Secret;
use network_lib::shard::blob_path;
use reqwest::StatusCode;

use super::bytes::{info, info_aside};

/// Calls after which a busy Hierophant counts as one without the blob.
const MAX_CALLS: usize = 600;

/// Access of one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transfer {
    address: SocketAddr,
    key: Secret,
    http: reqwest::Client,
}

impl Transfer {
    pub(super) const fn new(address: SocketAddr, key: Secret, http: reqwest::Client) -> Self {
        Self { address, key, http }
    }

    fn url(&self, lease: LeaseId, blob: Sha256Digest) -> String {
        format!("http://{}{}", self.address, blob_path(lease, blob))
    }

    /// A blob; `None` if Hierophant does not have it.
    pub(super) async fn get(&self, lease: LeaseId, blob: BlobInfo) -> Result<Option<Bytes>> {
        for _ in 0..MAX_CALLS {
            let call = self.http.get(self.url(lease, blob.sha256)).bearer_auth(self.key.reveal());
            let answer = call.send().await?;
            match answer.status() {
                StatusCode::OK => {
                    let bytes = answer.bytes().await?;
                    let found = info_aside(bytes.clone()).await?;
                    ensure!(found == blob, "another blob than the announced one");
                    return Ok(Some(bytes));
                }
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::SERVICE_UNAVAILABLE => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                status => bail!("a blob was answered with {status}"),
            }
        }
        Ok(None)
    }

    /// Hands in a blob, until Hierophant has it or refuses it.
    pub(super) async fn put(&self, lease: LeaseId, bytes: Bytes) -> Result<()> {
        let blob = info(&bytes);
        self.put_as(lease, blob.sha256, bytes).await
    }

    /// The same with a known digest.
    pub(super) async fn put_as(
        &self,
        lease: LeaseId,
        sha256: Sha256Digest,
        bytes: Bytes,
    ) -> Result<()> {
        for _ in 0..MAX_CALLS {
            let call = self.http.put(self.url(lease, sha256)).body(bytes.clone());
            let status = call.bearer_auth(self.key.reveal()).send().await?.status();
            match status {
                StatusCode::OK => return Ok(()),
                StatusCode::SERVICE_UNAVAILABLE => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                status => bail!("a blob was refused with {status}"),
            }
        }
        bail!("a blob was not taken in time")
    }
}
