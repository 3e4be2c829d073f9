//! The S3 bucket named by `[storage]`.

use network_lib::secret::Secret;
use reqwest::Url;

use super::storage::StorageConfig;

/// An S3 bucket: its name, service and credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix of our objects' names; may be empty.
    pub prefix: String,
    /// URL of the service. Default: Amazon's.
    pub endpoint: Option<String>,
    /// Region. Default: `us-east-1`.
    pub region: Option<String>,
    /// Access key id and secret access key. Default: the AWS variables, or the machine's role.
    pub keys: Option<(Secret, Secret)>,
    /// Whether the bucket's name is part of the host name instead of the path.
    pub virtual_host: bool,
}

/// An invalid key of `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// Dotted name of the key.
    pub key: &'static str,
    /// What is wrong, and what is expected.
    pub fault: String,
}

impl BucketSettings {
    /// The configured bucket; `None` if artifacts are stored in a folder.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    pub fn of(config: &StorageConfig) -> Result<Option<Self>, WrongSetting> {
        let wrong = |key, fault: &str| Err(WrongSetting { key, fault: fault.into() });
        let Some(url) = &config.artifacts_url else {
            let unused = config.s3_endpoint.is_some()
                || config.s3_region.is_some()
                || config.s3_access_key_id.is_some()
                || config.s3_secret_access_key.is_some()
                || config.s3_virtual_host;
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
        if let Some(endpoint) = &config.s3_endpoint {
            let reachable = Url::parse(endpoint)
                .is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
            if !reachable {
                let fault = format!(
                    "invalid URL {endpoint:?}: expected an http:// or https:// URL like \"https://s3.example.org\""
                );
                return wrong("storage.s3_endpoint", &fault);
            }
        }
        let keys = match (&config.s3_access_key_id, &config.s3_secret_access_key) {
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
        Ok(Some(Self {
            bucket: bucket.into(),
            prefix: prefix.trim_matches('/').into(),
            endpoint: config.s3_endpoint.clone(),
            region: config.s3_region.clone(),
            keys,
            virtual_host: config.s3_virtual_host,
        }))
    }

    /// The URL of the bucket at a service.
    #[must_use]
    pub fn endpoint_at(&self, endpoint: &str) -> String {
        match endpoint.split_once("://") {
            Some((scheme, host)) if self.virtual_host => {
                format!("{scheme}://{}.{host}", self.bucket)
            }
            _ => endpoint.to_owned(),
        }
    }

    /// The bucket as text, for logs and errors.
    #[must_use]
    pub fn location(&self) -> String {
        let location = format!("s3://{}/{}", self.bucket, self.prefix);
        match &self.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", location.trim_end_matches('/')),
            None => location.trim_end_matches('/').to_owned(),
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
        BucketSettings::of(config).expect_err("must be refused").key
    }

    #[test]
    fn a_url_names_bucket_and_prefix() {
        let of = |url| BucketSettings::of(&config(url)).expect("good").expect("a bucket");
        assert_eq!(of("s3://proofs").location(), "s3://proofs");
        let settings = of("s3://proofs/a/b/");
        assert_eq!((settings.bucket.as_str(), settings.prefix.as_str()), ("proofs", "a/b"));
        assert_eq!(BucketSettings::of(&StorageConfig::default()), Ok(None));
    }

    #[test]
    fn a_virtual_host_carries_the_name_of_the_bucket() {
        let mut settings = BucketSettings::of(&config("s3://proofs")).expect("good").expect("one");
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
