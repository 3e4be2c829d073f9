//! An S3 bucket of one case, reached over a link that can break.

use anyhow::Result;
use test_harness::config::{key, merge};
use test_peers::s3::{ACCESS_KEY_ID, BUCKET, S3, SECRET_ACCESS_KEY};
use toml::Table;

use test_peers::relay::Relay;

/// What the names of Hierophant's objects begin with.
const PREFIX: &str = "network";

/// A server with one bucket. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// The link by which Hierophant reaches it.
    pub(crate) link: Relay,
    server: S3,
}

impl Bucket {
    /// Starts one with an empty bucket.
    pub(crate) async fn start() -> Result<Self> {
        let server = S3::start().await;
        Ok(Self { link: Relay::to(server.address()).await?, server })
    }

    /// Hierophant's configuration for it.
    pub(crate) fn keys(&self) -> Table {
        let mut keys = key("storage.artifacts_url", format!("s3://{BUCKET}/{PREFIX}"));
        let endpoint = format!("http://{}", self.link.address);
        merge(&mut keys, &key("storage.s3_endpoint", endpoint));
        merge(&mut keys, &key("storage.s3_access_key_id", ACCESS_KEY_ID));
        merge(&mut keys, &key("storage.s3_secret_access_key", SECRET_ACCESS_KEY));
        keys
    }

    /// The file of an artifact, by the id at the end of its URI.
    pub(crate) fn object(&self, uri: &str) -> std::path::PathBuf {
        let id = uri.rsplit('/').next().unwrap_or(uri);
        self.server.object(&format!("{PREFIX}/{id}"))
    }
}
