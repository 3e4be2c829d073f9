//! Blobs as objects in an S3-compatible bucket, named after their ids.
//!
//! An upload counts when the bucket itself says that the whole is there. An object counts as gone only if
//! the bucket, asked for a list, answers: a bucket that is missing, closed or away never looks like a lost
//! proof. Each request carries the SHA-256 of its body, which the bucket checks.

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

use super::{BlobStore, ByteStream, Found, Listed, StagedBlob, id_of};
use crate::config::BucketSettings;
use client::{Connector, Crypto};

/// Largest upload in one request, and the size of a part of a larger one. Buckets take 5 MiB to 5 GiB and
/// at most 10,000 parts; a part is in memory while it is sent.
const PART: u64 = 8 << 20;

/// Most parts of an upload.
const MOST_PARTS: u64 = 9_000;

/// How many uploads go on at once; each has one part in memory.
const UPLOADS_AT_ONCE: usize = 8;

/// For how long a request is tried again after its first failure. A caller waits for the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest text of an answer that is passed on.
const LONGEST_WORD: usize = 300;

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The folder for what is being written cannot be used.
    #[error("uploads cannot be written to the disk")]
    Staging {
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// There are blobs in the folder, which would be lost from sight.
    #[error(
        "{} holds uploads and proofs already; copy them into the bucket, each file by its own name under \
         the prefix, and move the folder away, or remove `artifacts_url`",
        folder.display()
    )]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The settings are no use.
    #[error("the settings of the bucket cannot be used; mend `[storage]`")]
    Settings {
        /// What is wrong with them.
        #[source]
        source: Error,
    },
    /// The bucket does not do what it must.
    #[error("cannot {doing} {place}: {said}; {advice}")]
    Unusable {
        /// What was tried.
        doing: &'static str,
        /// Which bucket.
        place: String,
        /// What the bucket or the network said.
        said: String,
        /// What to do about it.
        advice: &'static str,
    },
}

/// A bucket, or what lies under a prefix in one.
pub(super) struct Bucket {
    store: AmazonS3,
    prefix: Path,
    place: String,
    uploads: Arc<Semaphore>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.place).finish()
    }
}

impl Bucket {
    /// Opens a bucket and tries it out.
    pub(super) async fn connect(settings: &BucketSettings) -> Result<Self, BucketError> {
        let bucket = Self::open(settings).map_err(|source| BucketError::Settings { source })?;
        bucket.try_out().await?;
        Ok(bucket)
    }

    fn open(settings: &BucketSettings) -> Result<Self, Error> {
        // Keys, region and endpoint may come from the usual AWS_ variables; the configuration goes first.
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&settings.bucket)
            .with_http_connector(Connector)
            .with_crypto_provider(Arc::new(Crypto))
            // Not every bucket can remove many objects at once.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(1),
                    base: 2.0,
                },
                max_retries: 4,
                retry_timeout: PATIENCE,
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
            place: settings.location(),
            uploads: Arc::new(Semaphore::new(UPLOADS_AT_ONCE)),
        })
    }

    /// Lists, writes an object, reads it, removes it and sees that it is gone: everything that is needed.
    async fn try_out(&self) -> Result<(), BucketError> {
        let key = self.prefix.clone().join(format!("trial-{}", hex::encode(random_bytes::<8>())));
        let failed = |doing, error: &Error| BucketError::Unusable {
            doing,
            place: self.place.clone(),
            said: words(error),
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
                place: self.place.clone(),
                said: "it gives back other bytes than were written".into(),
                advice: "use another bucket",
            });
        }
        self.store.delete(&key).await.map_err(|error| failed("remove from", &error))?;
        match self.store.head(&key).await {
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(failed("find out what is missing in", &error)),
            Ok(_) => {
                return Err(BucketError::Unusable {
                    doing: "remove from",
                    place: self.place.clone(),
                    said: "what was removed is still there".into(),
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
        let said = |error: Error| said(&error);
        if size <= PART {
            let whole = staged.part(0, PART).await?;
            return self.store.put(key, whole.into()).await.map(drop).map_err(said);
        }
        let part_size = PART.max(size.div_ceil(MOST_PARTS));
        let mut upload = self.store.put_multipart(key).await.map_err(said)?;
        let sending = async {
            let mut offset = 0;
            while offset < size {
                let part = staged.part(offset, part_size).await?;
                offset += part_size;
                upload.put_part(part.into()).await.map_err(said)?;
            }
            upload.complete().await.map(drop).map_err(said)
        };
        let sent = sending.await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            let error = words(&error);
            tracing::warn!(error, "parts of a broken upload may be left in the bucket");
        }
        sent
    }

    /// After the bucket said that an object is not there: is it the bucket that says so, and is it itself
    /// there? A list needs both.
    async fn answers_for(&self, key: &Path) -> io::Result<()> {
        self.store.list(Some(key)).try_next().await.map(drop).map_err(|error| said(&error))
    }
}

#[async_trait]
impl BlobStore for Bucket {
    async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<()> {
        let _turn = self.uploads.acquire().await.map_err(io::Error::other)?;
        self.send(&staged, &self.key(id)).await?;
        match self.look(id).await? {
            Some(found) if found.size == staged.info().size => Ok(()),
            _ => Err(io::Error::other("the bucket does not hold what was sent")),
        }
    }

    async fn look(&self, id: ArtifactId) -> io::Result<Option<Found>> {
        let key = self.key(id);
        match self.store.head(&key).await {
            Ok(ObjectMeta { size, last_modified, .. }) => {
                Ok(Some(Found { size, modified: last_modified.into() }))
            }
            Err(Error::NotFound { .. }) => self.answers_for(&key).await.map(|()| None),
            Err(error) => Err(said(&error)),
        }
    }

    async fn read(&self, id: ArtifactId, range: Option<Range<u64>>) -> io::Result<ByteStream> {
        let key = self.key(id);
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        match self.store.get_opts(&key, options).await {
            Ok(found) => Ok(found.into_stream().map_err(|error| said(&error)).boxed()),
            Err(Error::NotFound { .. }) => {
                self.answers_for(&key).await?;
                Err(io::ErrorKind::NotFound.into())
            }
            Err(error) => Err(said(&error)),
        }
    }

    async fn remove(&self, id: ArtifactId) -> io::Result<()> {
        let key = self.key(id);
        match self.store.delete(&key).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound { .. }) => self.answers_for(&key).await,
            Err(error) => Err(said(&error)),
        }
    }

    fn list(&self) -> BoxStream<'static, io::Result<Listed>> {
        let prefix = self.prefix.clone();
        let within = Some(&prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let objects = self.store.list(within).map_err(|error| said(&error));
        let blobs = objects.try_filter_map(move |object| {
            let id = object.location.filename().and_then(|name| id_of(name.as_ref()));
            let id = id.filter(|id| prefix.clone().join(id.to_string()) == object.location);
            let written = Millis(object.last_modified.timestamp_millis());
            std::future::ready(Ok(id.map(|id| Listed { id, written })))
        });
        blobs.boxed()
    }

    fn path(&self, _id: ArtifactId) -> Option<PathBuf> {
        None
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// What the bucket said, as an error that means "cannot be asked now".
fn said(error: &Error) -> io::Error {
    io::Error::other(words(error))
}

/// What the bucket or the network said, in few words. Names of objects are left out: they are credentials.
fn words(error: &Error) -> String {
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
    let text: String = text.chars().take(LONGEST_WORD).collect();
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|word| {
        let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if id_of(name.as_ref()).is_some() { word.replacen(name, "…", 1) } else { word.to_owned() }
    });
    words.collect::<String>().trim().to_owned()
}

/// The innermost cause, which says it best.
fn deepest(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What tells of wrong keys, or of none: then they are asked for at an address of the machine's own.
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
        "create the bucket, or mend `artifacts_url`"
    } else if says(KEYS) {
        "mend the keys (`s3_access_key_id` and `s3_secret_access_key`, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY)"
    } else if matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        "allow these keys to get, put, delete and list (s3:GetObject, s3:PutObject, s3:DeleteObject, \
         s3:ListBucket, s3:AbortMultipartUpload)"
    } else if says(&["redirect", "AuthorizationHeaderMalformed", "PermanentRedirect"]) {
        "mend `s3_region`"
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
        assert_eq!(words(&error(xml)), "AccessDenied: no access to /b/…!");
        assert_eq!(words(&error(format!("PUT {id} timed out"))), "PUT … timed out");
        assert!(words(&error("x ".repeat(1000))).len() <= LONGEST_WORD);
    }
}
