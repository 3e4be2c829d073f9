//! The S3 bucket named by `[storage]`.

use network_lib::secret::Secret;

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

impl BucketSettings {
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
