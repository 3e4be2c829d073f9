//! Which bucket, and how it is reached, out of `[storage]`.

use reqwest::Url;

use crate::config::{Secret, StorageConfig};

/// A bucket and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// Its name.
    pub bucket: String,
    /// What the names of our objects begin with; may be empty.
    pub prefix: String,
    /// Address of the service; without one it is Amazon's.
    pub endpoint: Option<String>,
    /// Region; without one `us-east-1`.
    pub region: Option<String>,
    /// Access key id and secret access key; without them the AWS variables or the machine's role count.
    pub keys: Option<(Secret, Secret)>,
    /// Whether the bucket's name is part of the host's name instead of the path.
    pub virtual_host: bool,
}

/// A key of `[storage]` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// Which key.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub fault: String,
}

impl BucketSettings {
    /// The bucket of a configuration, `None` if it names none.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn of(config: &StorageConfig) -> Result<Option<Self>, WrongSetting> {
        let wrong = |key, fault: &str| Err(WrongSetting { key, fault: fault.into() });
        let Some(url) = &config.artifacts_url else {
            let unused = config.s3_endpoint.is_some()
                || config.s3_region.is_some()
                || config.s3_access_key_id.is_some()
                || config.s3_secret_access_key.is_some()
                || config.s3_virtual_host;
            if unused {
                return wrong("storage.artifacts_url", "is missing, but other keys speak of S3");
            }
            return Ok(None);
        };
        let named =
            url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let is_name = |name: &str| {
            name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) && !name.is_empty()
        };
        let Some((bucket, prefix)) = named.filter(|(bucket, _)| is_name(bucket)) else {
            let fault = format!("{url:?} names no bucket; write it like \"s3://bucket/prefix\"");
            return wrong("storage.artifacts_url", &fault);
        };
        if let Some(endpoint) = &config.s3_endpoint {
            let reachable = Url::parse(endpoint)
                .is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
            if !reachable {
                let fault = format!(
                    "{endpoint:?} is no http:// or https:// URL; write it like \"https://s3.example.org\""
                );
                return wrong("storage.s3_endpoint", &fault);
            }
        }
        let keys = match (&config.s3_access_key_id, &config.s3_secret_access_key) {
            (Some(id), Some(secret)) => Some((id.clone(), secret.clone())),
            (None, None) => None,
            (Some(_), None) => return wrong("storage.s3_secret_access_key", "is missing"),
            (None, Some(_)) => return wrong("storage.s3_access_key_id", "is missing"),
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

    /// The address that requests go to, given that of the service.
    pub(super) fn reached_at(&self, endpoint: &str) -> String {
        match endpoint.split_once("://") {
            Some((scheme, host)) if self.virtual_host => {
                format!("{scheme}://{}.{host}", self.bucket)
            }
            _ => endpoint.to_owned(),
        }
    }

    /// Which bucket, for people.
    pub(super) fn place(&self) -> String {
        let place = format!("s3://{}/{}", self.bucket, self.prefix);
        match &self.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", place.trim_end_matches('/')),
            None => place.trim_end_matches('/').to_owned(),
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
        assert_eq!(of("s3://proofs").place(), "s3://proofs");
        let settings = of("s3://proofs/a/b/");
        assert_eq!((settings.bucket.as_str(), settings.prefix.as_str()), ("proofs", "a/b"));
        assert_eq!(BucketSettings::of(&StorageConfig::default()), Ok(None));
    }

    #[test]
    fn a_virtual_host_carries_the_name_of_the_bucket() {
        let mut settings = BucketSettings::of(&config("s3://proofs")).expect("good").expect("one");
        assert_eq!(settings.reached_at("http://minio:9000"), "http://minio:9000");
        settings.virtual_host = true;
        assert_eq!(settings.reached_at("http://minio:9000"), "http://proofs.minio:9000");
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
        with.s3_access_key_id = Some(Secret("id".into()));
        assert_eq!(fault(&with), "storage.s3_secret_access_key");
        let lost = StorageConfig { s3_region: Some("eu".into()), ..StorageConfig::default() };
        assert_eq!(fault(&lost), "storage.artifacts_url");
    }
}
