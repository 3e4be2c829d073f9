//! Where uploads, proofs and records are stored: `[storage]` and `database_url`.

use network_lib::config::Faults;
use network_lib::secret::Secret;
use serde::{Deserialize, Serialize};

use super::bucket::BucketSettings;

/// Section `[storage]`: where uploads and proofs are stored, and how much space they may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageConfig {
    /// Bytes kept free on the disk of `data_dir`; below that, new uploads and requests are refused as
    /// retryable. Default 2 GiB: room for the proofs of accepted requests.
    pub min_free_bytes: u64,
    /// Maximum size of all uploads and proofs; above it, new uploads and requests are refused as retryable.
    /// Default none: the disk is the limit.
    pub max_bytes: Option<u64>,
    /// Bucket for uploads and proofs, `s3://bucket/prefix`. Default none: the folder `artifacts` in
    /// `data_dir`. With a bucket, that folder holds only unfinished uploads.
    pub artifacts_url: Option<String>,
    /// URL of the S3 service. Default none: `AWS_ENDPOINT_URL`, or Amazon's. Only an `http://` URL is used
    /// without TLS.
    pub s3_endpoint: Option<String>,
    /// Region of the bucket. Default none: `AWS_REGION`, or `us-east-1`.
    pub s3_region: Option<String>,
    /// Access key id. Default none: `AWS_ACCESS_KEY_ID`, or the machine's role.
    pub s3_access_key_id: Option<Secret>,
    /// Secret access key. Default none: `AWS_SECRET_ACCESS_KEY`, or the machine's role.
    pub s3_secret_access_key: Option<Secret>,
    /// Whether the bucket's name is part of the host name (`bucket.host`) instead of the path. Default no:
    /// every service accepts it in the path.
    pub s3_virtual_host: bool,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            min_free_bytes: 2 << 30,
            max_bytes: None,
            artifacts_url: None,
            s3_endpoint: None,
            s3_region: None,
            s3_access_key_id: None,
            s3_secret_access_key: None,
            s3_virtual_host: false,
        }
    }
}

impl StorageConfig {
    /// Checks the section; `max_artifact_bytes` is the size of the largest upload.
    pub(super) fn validate(&self, max_artifact_bytes: u64, faults: &mut Faults) {
        if self.max_bytes.is_some_and(|max| max < max_artifact_bytes) {
            faults.add(
                "storage.max_bytes",
                "is less than `max_artifact_bytes`, so the largest upload could never be stored: \
                 expected a larger size",
            );
        }
        if let Err(wrong) = BucketSettings::of(self) {
            faults.add(wrong.key, wrong.fault);
        }
    }
}
