//! Where uploads, proofs and records are stored: `[storage]` and `database_url`.

use std::time::Duration;

use network_lib::config::Faults;
use network_lib::secret::Secret;
use reqwest::Url;
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
    /// Whether a start is allowed although most uploads and proofs are missing: they then count as lost. Default no: a
    /// folder that is not mounted looks the same.
    pub accept_loss: bool,
    /// How long a start waits for a Postgres server that cannot be reached, and for the lock of the database that
    /// another Hierophant holds. Default 1 minute: a server notices after half a minute that a Hierophant whose
    /// network failed is gone. A standby waits longer.
    #[serde(with = "humantime_serde")]
    pub database_wait: Duration,
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

/// An invalid key of `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// Dotted name of the key.
    pub key: &'static str,
    /// What is wrong, and what is expected.
    pub fault: String,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            min_free_bytes: 2 << 30,
            max_bytes: None,
            accept_loss: false,
            database_wait: Duration::from_secs(60),
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
    /// The configured bucket; `None` if artifacts are stored in a folder.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    pub fn bucket(&self) -> Result<Option<BucketSettings>, WrongSetting> {
        let wrong = |key, fault: &str| Err(WrongSetting { key, fault: fault.into() });
        let Some(url) = &self.artifacts_url else {
            let unused = self.s3_endpoint.is_some()
                || self.s3_region.is_some()
                || self.s3_access_key_id.is_some()
                || self.s3_secret_access_key.is_some()
                || self.s3_virtual_host;
            if unused {
                return wrong(
                    "storage.artifacts_url",
                    "is missing although other keys are about S3: expected a bucket like \"s3://bucket/prefix\"",
                );
            }
            return Ok(None);
        };
        let named =
            url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let is_name = |name: &str| {
            name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) && !name.is_empty()
        };
        let Some((bucket, prefix)) = named.filter(|(bucket, _)| is_name(bucket)) else {
            let fault =
                format!("invalid bucket URL {url:?}: expected one like \"s3://bucket/prefix\"");
            return wrong("storage.artifacts_url", &fault);
        };
        if let Some(endpoint) = &self.s3_endpoint {
            let reachable = Url::parse(endpoint)
                .is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
            if !reachable {
                let fault = format!(
                    "invalid URL {endpoint:?}: expected an http:// or https:// URL like \"https://s3.example.org\""
                );
                return wrong("storage.s3_endpoint", &fault);
            }
        }
        let keys = match (&self.s3_access_key_id, &self.s3_secret_access_key) {
            (Some(id), Some(secret)) => Some((id.clone(), secret.clone())),
            (None, None) => None,
            (Some(_), None) => {
                return wrong(
                    "storage.s3_secret_access_key",
                    "is missing: expected the secret of `s3_access_key_id`",
                );
            }
            (None, Some(_)) => {
                return wrong(
                    "storage.s3_access_key_id",
                    "is missing: expected the id of `s3_secret_access_key`",
                );
            }
        };
        Ok(Some(BucketSettings {
            bucket: bucket.into(),
            prefix: prefix.trim_matches('/').into(),
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            keys,
            virtual_host: self.s3_virtual_host,
        }))
    }

    /// Checks the section; `max_artifact_bytes` is the size of the largest upload.
    pub(super) fn validate(&self, max_artifact_bytes: u64, faults: &mut Faults) {
        if self.max_bytes.is_some_and(|max| max < max_artifact_bytes) {
            faults.add(
                "storage.max_bytes",
                "is less than `max_artifact_bytes`, so the largest upload could never be stored: \
                 expected a larger size",
            );
        }
        if let Err(wrong) = self.bucket() {
            faults.add(wrong.key, wrong.fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> StorageConfig {
        StorageConfig { artifacts_url: Some(url.into()), ..StorageConfig::default() }
    }

    fn fault(config: &StorageConfig) -> &'static str {
        config.bucket().expect_err("must be refused").key
    }

    #[test]
    fn a_url_names_bucket_and_prefix() {
        let of = |url| config(url).bucket().expect("good").expect("a bucket");
        assert_eq!(of("s3://proofs").location(), "s3://proofs");
        let settings = of("s3://proofs/a/b/");
        assert_eq!((settings.bucket.as_str(), settings.prefix.as_str()), ("proofs", "a/b"));
        assert_eq!(StorageConfig::default().bucket(), Ok(None));
    }

    #[test]
    fn a_virtual_host_carries_the_name_of_the_bucket() {
        let mut settings = config("s3://proofs").bucket().expect("good").expect("one");
        assert_eq!(settings.endpoint_at("http://minio:9000"), "http://minio:9000");
        settings.virtual_host = true;
        assert_eq!(settings.endpoint_at("http://minio:9000"), "http://proofs.minio:9000");
    }

    #[test]
    fn wrong_settings_are_named() {
        for url in ["s3:/proofs", "s3://", "s3:///x", "https://proofs", "s3://user@host"] {
            assert_eq!(fault(&config(url)), "storage.artifacts_url", "{url}");
        }
        let mut with = config("s3://proofs");
        with.s3_endpoint = Some("minio:9000".into());
        assert_eq!(fault(&with), "storage.s3_endpoint");
        let mut with = config("s3://proofs");
        with.s3_access_key_id = Some(Secret::from("id"));
        assert_eq!(fault(&with), "storage.s3_secret_access_key");
        let lost = StorageConfig { s3_region: Some("eu".into()), ..StorageConfig::default() };
        assert_eq!(fault(&lost), "storage.artifacts_url");
    }
}
