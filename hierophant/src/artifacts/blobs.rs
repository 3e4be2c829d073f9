//! Bytes of uploads and proofs: staged on the disk, then adopted by the folder or the bucket that holds
//! them all.
//!
//! A blob is either there as a whole or not at all. "Not there" is said only of what is certainly gone: a
//! store that cannot be asked is an error, worth another try later, and never a lost proof.

pub mod bucket;
mod folder;
mod staging;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use hierophant_model::records::Millis;
use network_lib::ids::ArtifactId;
use network_lib::job::BlobInfo;
use sha2::{Digest, Sha256};

use crate::config::BucketSettings;
use bucket::{Bucket, BucketError};
use folder::Folder;
pub use staging::{BlobWriter, StagedBlob};
use staging::{StagedFile, Staging};

/// The bytes of a blob, as they come.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// How many blobs a distant store is asked about at once.
const ASKED_AT_ONCE: usize = 32;

/// What is known of a blob without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its length in bytes.
    pub size: u64,
    /// When it was put in its place.
    pub modified: SystemTime,
}

/// A blob in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub id: ArtifactId,
    /// When it was put in its place.
    pub written: Millis,
}

/// Where blobs lie once they are whole.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync {
    /// Puts a finished file in its place, durably.
    ///
    /// # Errors
    ///
    /// When it cannot be put there, or perhaps was not; the temporary file is removed.
    async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<()>;

    /// What is known of a blob, `None` if it is certainly not there.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    async fn look(&self, id: ArtifactId) -> io::Result<Option<Found>>;

    /// The bytes of a blob, or of a part of it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when it is certainly not there; anything else when the store cannot be
    /// asked.
    async fn read(&self, id: ArtifactId, range: Option<Range<u64>>) -> io::Result<ByteStream>;

    /// Removes a blob; one that is not there (any more) is fine.
    ///
    /// # Errors
    ///
    /// When it is perhaps still there.
    async fn remove(&self, id: ArtifactId) -> io::Result<()>;

    /// All blobs, in any order. Whatever is not named like one is passed over.
    fn list(&self) -> BoxStream<'static, io::Result<Listed>>;

    /// The sizes of many blobs, `None` for those that are certainly not there. Those that could not be asked
    /// for within the limit are missing.
    async fn sizes(
        &self,
        ids: Vec<ArtifactId>,
        limit: Duration,
    ) -> BTreeMap<ArtifactId, io::Result<Option<u64>>> {
        let looking = stream::iter(ids).map(async |id| {
            let found = self.look(id).await;
            (id, found.map(|found| found.map(|found| found.size)))
        });
        let end = tokio::time::sleep(limit);
        looking.buffer_unordered(ASKED_AT_ONCE).take_until(end).collect().await
    }

    /// The blob's file, if this store keeps files on this machine; it need not be there.
    fn path(&self, id: ArtifactId) -> Option<PathBuf>;

    /// Where that is, for people.
    fn place(&self) -> String;
}

/// All blobs, and the folder in which new ones are written.
#[derive(Debug, Clone)]
pub struct Blobs {
    staging: Arc<Staging>,
    store: Arc<dyn BlobStore>,
}

impl Blobs {
    /// Opens a folder of blobs, creating it, and clears away what an earlier run left half-written. Files
    /// that are not named like ours are left alone.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or written to.
    pub fn open(root: &Path) -> io::Result<Self> {
        let staging = Staging::open(root.join("tmp"))?;
        Ok(Self { staging: Arc::new(staging), store: Arc::new(Folder::new(root.to_owned())) })
    }

    /// The same with the blobs in a bucket; the folder `root` holds only what is being written. The bucket
    /// is tried out: a blob is written, read and removed.
    ///
    /// # Errors
    ///
    /// [`BucketError`] names the cause.
    pub async fn connect(root: &Path, settings: &BucketSettings) -> Result<Self, BucketError> {
        let folder = Self::open(root).map_err(|source| BucketError::Staging { source })?;
        let left = folder.holds_any().await.map_err(|source| BucketError::Staging { source })?;
        if left {
            return Err(BucketError::FolderInUse { folder: root.to_owned() });
        }
        let bucket = Bucket::connect(settings).await?;
        Ok(Self { staging: folder.staging, store: Arc::new(bucket) })
    }

    /// Starts writing a blob. `announced` is its length by its sender's word, if there is one: it need not be
    /// true.
    #[must_use]
    pub fn begin(&self, announced: Option<u64>) -> BlobWriter {
        self.staging.begin(announced)
    }

    /// Puts a finished file in its place, durably.
    ///
    /// # Errors
    ///
    /// Those of [`BlobStore::adopt`].
    pub async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<()> {
        self.store.adopt(staged, id).await
    }

    /// What is known of a blob, `None` if it is certainly not there.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    pub async fn look(&self, id: ArtifactId) -> io::Result<Option<Found>> {
        self.store.look(id).await
    }

    /// The bytes of a blob, or of a part of it.
    ///
    /// # Errors
    ///
    /// Those of [`BlobStore::read`].
    pub async fn read(&self, id: ArtifactId, range: Option<Range<u64>>) -> io::Result<ByteStream> {
        self.store.read(id, range).await
    }

    /// The first `length` bytes of a blob, fewer if it is shorter.
    ///
    /// # Errors
    ///
    /// Those of [`BlobStore::read`].
    pub async fn read_head(&self, id: ArtifactId, length: usize) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let mut bytes = self.read(id, None).await?;
        while head.len() < length
            && let Some(chunk) = bytes.try_next().await?
        {
            head.extend_from_slice(&chunk);
        }
        head.truncate(length);
        Ok(head)
    }

    /// Whether a blob of this size is there.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    pub async fn holds(&self, id: ArtifactId, size: u64) -> io::Result<bool> {
        Ok(self.look(id).await?.is_some_and(|found| found.size == size))
    }

    /// Whether a blob is there, whatever is in it.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    pub async fn is_there(&self, id: ArtifactId) -> io::Result<bool> {
        Ok(self.look(id).await?.is_some())
    }

    /// Whether a blob with this size and digest is there. Reads all of it.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked, or the blob not be read.
    pub async fn verify(&self, id: ArtifactId, info: BlobInfo) -> io::Result<bool> {
        if !self.holds(id, info.size).await? {
            return Ok(false);
        }
        match self.local(id).await {
            Ok(LocalBlob { path, fetched: None }) => {
                tokio::task::spawn_blocking(move || has_digest(&path, info)).await?
            }
            Ok(LocalBlob { fetched: Some(fetched), .. }) => Ok(fetched.info == info),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A blob as a file on this machine; fetched into a temporary one if it lies elsewhere.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when it is certainly not there (a file of one's own disk is not looked at
    /// before it is opened); anything else when it cannot be fetched.
    pub async fn local(&self, id: ArtifactId) -> io::Result<LocalBlob> {
        if let Some(path) = self.store.path(id) {
            return Ok(LocalBlob { path, fetched: None });
        }
        let mut bytes = self.read(id, None).await?;
        let mut writer = self.begin(None);
        while let Some(chunk) = bytes.try_next().await? {
            writer.write(chunk).await?;
        }
        let fetched = writer.finish().await?.into_file()?;
        Ok(LocalBlob { path: fetched.path().to_owned(), fetched: Some(fetched) })
    }

    /// Removes a blob; one that is not there (any more) is fine.
    ///
    /// # Errors
    ///
    /// When it is perhaps still there.
    pub async fn remove(&self, id: ArtifactId) -> io::Result<()> {
        self.store.remove(id).await
    }

    /// All blobs, in any order.
    pub(super) fn list(&self) -> BoxStream<'static, io::Result<Listed>> {
        self.store.list()
    }

    /// Those of [`BlobStore::sizes`].
    pub(super) async fn sizes(
        &self,
        ids: Vec<ArtifactId>,
        limit: Duration,
    ) -> BTreeMap<ArtifactId, io::Result<Option<u64>>> {
        self.store.sizes(ids, limit).await
    }

    /// Whether there is any blob.
    ///
    /// # Errors
    ///
    /// When the store cannot be asked.
    pub async fn holds_any(&self) -> io::Result<bool> {
        Ok(self.list().try_next().await?.is_some())
    }

    /// Where the blobs lie, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.store.place()
    }
}

/// A blob as a file on this machine. A fetched one is removed when this is dropped.
#[derive(Debug)]
pub struct LocalBlob {
    path: PathBuf,
    fetched: Option<StagedFile>,
}

impl LocalBlob {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size and digest, if it was fetched.
    #[must_use]
    pub fn fetched(&self) -> Option<BlobInfo> {
        self.fetched.as_ref().map(|fetched| fetched.info)
    }
}

/// Whether a file has the digest.
fn has_digest(path: &Path, info: BlobInfo) -> io::Result<bool> {
    let mut hasher = Sha256::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize()[..] == info.sha256.0)
}

/// The id that a blob is named after, `None` for a foreign name.
fn id_of(name: &std::ffi::OsStr) -> Option<ArtifactId> {
    let name = name.to_str()?;
    name.parse::<ArtifactId>().ok().filter(|id| id.to_string() == name)
}
