//! Blobs as objects in an S3-compatible bucket, named by their ids.
//!
//! An upload is complete when the bucket confirms its size. An object counts as missing only if the bucket also
//! answers a list request: a missing, inaccessible or unreachable bucket never looks like a lost proof. Each
//! request carries the SHA-256 of its body, which the bucket checks.

mod client;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use hierophant_model::records::Millis;
use network_lib::ids::{ArtifactId, random_bytes};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use tokio::sync::Semaphore;

use super::{Ample, BlobMetadata, BlobStore, ByteStream, Listed, MARK, StagedBlob, id_of};
use crate::config::BucketSettings;
use client::{Connector, Crypto};

/// Maximum size of a single-request upload, and size of a part of a larger one. Buckets accept parts of 5 MiB to
/// 5 GiB and at most 10,000 of them; a part is in memory while it is sent.
const PART: u64 = 8 << 20;

/// Maximum number of parts of an upload.
const MAX_PARTS: u64 = 9_000;

/// Number of concurrent uploads; each has one part in memory.
const CONCURRENT_UPLOADS: usize = 8;

/// Time limit of retries of a request; a caller waits for the answer.
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum length of a bucket's error message.
const MAX_MESSAGE: usize = 300;

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The staging folder cannot be used.
    #[error("cannot write uploads to the disk")]
    Staging {
        /// The disk's error.
        #[source]
        source: io::Error,
    },
    /// The folder contains blobs, which would no longer be found.
    #[error(
        "{} already contains uploads and proofs; copy each file into the bucket under the prefix and its own \
         name, then move the folder away, or remove `artifacts_url`",
        folder.display()
    )]
    FolderInUse {
        /// Path of the folder.
        folder: PathBuf,
    },
    /// Invalid settings.
    #[error("invalid bucket settings; correct `[storage]`")]
    Settings {
        /// What is wrong with the settings.
        #[source]
        source: Error,
    },
    /// The bucket fails its test.
    #[error("cannot {doing} {location}: {said}; {advice}")]
    Unusable {
        /// Operation that failed.
        doing: &'static str,
        /// Location of the bucket.
        location: String,
        /// Message of the bucket or of the network.
        said: String,
        /// Remedy.
        advice: &'static str,
    },
}

/// A bucket, or the objects under a prefix in one.
pub(super) struct Bucket {
    store: AmazonS3,
    prefix: Path,
    location: String,
    uploads: Arc<Semaphore>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.location).finish()
    }
}

impl Bucket {
    /// Opens a bucket and tests it.
    pub(super) async fn connect(settings: &BucketSettings) -> Result<Self, BucketError> {
        let bucket = Self::open(settings).map_err(|source| BucketError::Settings { source })?;
        bucket.test().await?;
        Ok(bucket)
    }

    fn open(settings: &BucketSettings) -> Result<Self, Error> {
        // Keys, region and endpoint may come from the usual AWS_ variables; the configuration takes precedence.
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&settings.bucket)
            .with_http_connector(Connector)
            .with_crypto_provider(Arc::new(Crypto))
            // Not every service supports bulk deletion.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(1),
                    base: 2.0,
                },
                max_retries: 4,
                retry_timeout: RETRY_TIMEOUT,
            })
            .with_virtual_hosted_style_request(settings.virtual_host);
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        if let Some((id, secret)) = &settings.keys {
            builder =
                builder.with_access_key_id(id.reveal()).with_secret_access_key(secret.reveal());
        }
        let from_env = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let endpoint = settings.endpoint.clone().or(from_env);
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(settings.endpoint_at(endpoint));
        }
        let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        Ok(Self {
            store: builder.with_allow_http(plain).build()?,
            prefix: Path::from(settings.prefix.as_str()),
            location: settings.location(),
            uploads: Arc::new(Semaphore::new(CONCURRENT_UPLOADS)),
        })
    }

    /// Tests all needed operations: lists, writes an object, reads it, removes it, and checks that it is missing.
    async fn test(&self) -> Result<(), BucketError> {
        let key = self.prefix.clone().join(format!("trial-{}", hex::encode(random_bytes::<8>())));
        let failed = |doing, error: &Error| BucketError::Unusable {
            doing,
            location: self.location.clone(),
            said: message(error),
            advice: advice(error),
        };
        let listed = self.store.list(Some(&key)).try_next().await;
        listed.map_err(|error| failed("list", &error))?;
        let content = random_bytes::<32>();
        let written = self.store.put(&key, content.to_vec().into()).await;
        written.map_err(|error| failed("write to", &error))?;
        let read = async { self.store.get(&key).await?.bytes().await };
        let read = read.await.map_err(|error| failed("read from", &error))?;
        if read[..] != content {
            return Err(BucketError::Unusable {
                doing: "read from",
                location: self.location.clone(),
                said: "the read bytes differ from the written ones".into(),
                advice: "use another bucket",
            });
        }
        self.store.delete(&key).await.map_err(|error| failed("remove from", &error))?;
        match self.store.head(&key).await {
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(failed("detect a missing object in", &error)),
            Ok(_) => {
                return Err(BucketError::Unusable {
                    doing: "remove from",
                    location: self.location.clone(),
                    said: "the removed object still exists".into(),
                    advice: "use another bucket",
                });
            }
        }
        Ok(())
    }

    fn key(&self, id: ArtifactId) -> Path {
        self.prefix.clone().join(id.to_string())
    }

    async fn send(&self, staged: &StagedBlob, key: &Path) -> io::Result<()> {
        let size = staged.info().size;
        let unavailable = |error: Error| unavailable(&error);
        if size <= PART {
            let whole = staged.part(0, PART).await?;
            return self.store.put(key, whole.into()).await.map(drop).map_err(unavailable);
        }
        let part_size = PART.max(size.div_ceil(MAX_PARTS));
        let mut upload = self.store.put_multipart(key).await.map_err(unavailable)?;
        let sending = async {
            let mut offset = 0;
            while offset < size {
                let part = staged.part(offset, part_size).await?;
                offset += part_size;
                upload.put_part(part.into()).await.map_err(unavailable)?;
            }
            upload.complete().await.map(drop).map_err(unavailable)
        };
        let sent = sending.await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            let error = message(&error);
            tracing::warn!(error, "parts of a failed upload may remain in the bucket");
        }
        sent
    }

    /// Confirms that an object is missing by a list request, which only an existing and reachable bucket answers.
    async fn confirm_missing(&self, key: &Path) -> io::Result<()> {
        self.store.list(Some(key)).try_next().await.map(drop).map_err(|error| unavailable(&error))
    }
}

#[async_trait]
impl BlobStore for Bucket {
    async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<BlobMetadata> {
        let _turn = self.uploads.acquire().await.map_err(io::Error::other)?;
        self.send(&staged, &self.key(id)).await?;
        match self.metadata(id).await? {
            Some(found) if found.size == staged.info().size => Ok(found),
            _ => Err(io::Error::other("the bucket does not contain the uploaded object")),
        }
    }

    async fn metadata(&self, id: ArtifactId) -> io::Result<Option<BlobMetadata>> {
        let key = self.key(id);
        match self.store.head(&key).await {
            Ok(ObjectMeta { size, last_modified, .. }) => {
                Ok(Some(BlobMetadata { size, modified: last_modified.into() }))
            }
            Err(Error::NotFound { .. }) => self.confirm_missing(&key).await.map(|()| None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// The pieces are those of the connection, which are asked for one at a time.
    async fn read(
        &self,
        id: ArtifactId,
        range: Option<Range<u64>>,
        _ample: Ample,
    ) -> io::Result<ByteStream> {
        let key = self.key(id);
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        match self.store.get_opts(&key, options).await {
            Ok(found) => Ok(found.into_stream().map_err(|error| unavailable(&error)).boxed()),
            Err(Error::NotFound { .. }) => {
                self.confirm_missing(&key).await?;
                Err(io::ErrorKind::NotFound.into())
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn remove(&self, id: ArtifactId) -> io::Result<()> {
        let key = self.key(id);
        match self.store.delete(&key).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound { .. }) => self.confirm_missing(&key).await,
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn list(&self) -> BoxStream<'static, io::Result<Listed>> {
        let prefix = self.prefix.clone();
        let within = Some(&prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let objects = self.store.list(within).map_err(|error| unavailable(&error));
        let blobs = objects.try_filter_map(move |object| {
            let id = object.location.filename().and_then(|name| id_of(name.as_ref()));
            let id = id.filter(|id| prefix.clone().join(id.to_string()) == object.location);
            let written = Millis(object.last_modified.timestamp_millis());
            std::future::ready(Ok(id.map(|id| Listed { id, written })))
        });
        blobs.boxed()
    }

    async fn read_mark(&self) -> io::Result<Option<String>> {
        let key = self.prefix.clone().join(MARK);
        match self.store.get(&key).await {
            Ok(found) => {
                let mark = found.bytes().await.map_err(|error| unavailable(&error))?;
                Ok(Some(String::from_utf8_lossy(&mark).trim().to_owned()))
            }
            Err(Error::NotFound { .. }) => self.confirm_missing(&key).await.map(|()| None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn write_mark(&self, mark: &str) -> io::Result<()> {
        let (key, mark) = (self.prefix.clone().join(MARK), format!("{mark}\n"));
        self.store
            .put(&key, mark.into_bytes().into())
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// A bucket that is away answers no list either ([`Bucket::confirm_missing`]).
    fn require_mark(&self, _mark: &str) {}

    fn path(&self, _id: ArtifactId) -> Option<PathBuf> {
        None
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

/// Converts a bucket's error into one that means "cannot be reached now".
fn unavailable(error: &Error) -> io::Error {
    io::Error::other(message(error))
}

/// Short message of the bucket or of the network. Names of objects are left out: they are credentials.
fn message(error: &Error) -> String {
    let whole = error.to_string();
    let tag = |name: &str| {
        let (_, rest) = whole.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.to_owned())
    };
    let text = match (tag("Code"), tag("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        (None, _) => deepest(error),
    };
    let text: String = text.chars().take(MAX_MESSAGE).collect();
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|word| {
        let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if id_of(name.as_ref()).is_some() { word.replacen(name, "…", 1) } else { word.to_owned() }
    });
    words.collect::<String>().trim().to_owned()
}

/// Message of the innermost cause.
fn deepest(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Texts that indicate wrong or missing keys. Missing keys are requested from the machine's metadata address.
const KEYS: &[&str] = &[
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "169.254.169.254",
];

fn advice(error: &Error) -> &'static str {
    let text = error.to_string();
    let says = |codes: &[&str]| codes.iter().any(|code| text.contains(code));
    if says(&["NoSuchBucket"]) {
        "create the bucket, or correct `artifacts_url`"
    } else if says(KEYS) {
        "correct the keys (`s3_access_key_id` and `s3_secret_access_key`, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY)"
    } else if matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        "allow these keys to get, put, delete and list (s3:GetObject, s3:PutObject, s3:DeleteObject, \
         s3:ListBucket, s3:AbortMultipartUpload)"
    } else if says(&["redirect", "AuthorizationHeaderMalformed", "PermanentRedirect"]) {
        "correct `s3_region`"
    } else {
        "check that the bucket can be reached from here, and `s3_endpoint`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bucket_said_is_short_and_names_no_object() {
        let id = ArtifactId([0xab; 16]);
        let error = |text: String| Error::Generic { store: "S3", source: text.into() };
        let xml = format!(
            "403: <Error><Code>AccessDenied</Code><Message>no access to /b/{id}!</Message></Error>"
        );
        assert_eq!(message(&error(xml)), "AccessDenied: no access to /b/…!");
        assert_eq!(message(&error(format!("PUT {id} timed out"))), "PUT … timed out");
        assert!(message(&error("x ".repeat(1000))).len() <= MAX_MESSAGE);
    }
}
