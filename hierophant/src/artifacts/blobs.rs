//! Blobs: bytes of uploads and proofs, staged on the disk and then adopted by a folder or a bucket.
//!
//! A blob exists completely or not at all. "Missing" means certainly missing: a store that cannot be reached is an
//! error, which a retry may resolve, and never counts as a lost proof.

pub mod bucket;
mod checked;
pub(super) mod file;
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
use checked::{Checked, Sound};
use folder::Folder;
pub use staging::{BlobWriter, StagedBlob};
pub(super) use staging::{StagedFile, Staging};

/// Whether large pieces may be read now. While they may not, because much waits for slow readers already, pieces are
/// small.
pub type Ample = Arc<dyn Fn() -> bool + Send + Sync>;

/// Stream of the bytes of a blob.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Number of concurrent metadata requests to a distant store.
const CONCURRENT_REQUESTS: usize = 32;

/// Name of the file or object that holds the mark.
const MARK: &str = "store-id";

/// Metadata of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobMetadata {
    /// Length in bytes.
    pub size: u64,
    /// Time of adoption.
    pub modified: SystemTime,
}

/// A listed blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Id of the blob.
    pub id: ArtifactId,
    /// Time of adoption.
    pub written: Millis,
}

/// A store of complete blobs: a folder or a bucket.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync {
    /// Adopts a finished file durably.
    ///
    /// # Errors
    ///
    /// If the file was not adopted, or possibly not; the temporary file is removed.
    async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<BlobMetadata>;

    /// Metadata of a blob; `None` if it is certainly missing.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    async fn metadata(&self, id: ArtifactId) -> io::Result<Option<BlobMetadata>>;

    /// Bytes of a blob or of a range, read as they are asked for: a first small piece, then pieces that are large while
    /// `ample`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if the blob is certainly missing; otherwise the store cannot be reached.
    async fn read(
        &self,
        id: ArtifactId,
        range: Option<Range<u64>>,
        ample: Ample,
    ) -> io::Result<ByteStream>;

    /// Removes a blob; a missing one is not an error.
    ///
    /// # Errors
    ///
    /// If the blob possibly still exists.
    async fn remove(&self, id: ArtifactId) -> io::Result<()>;

    /// All blobs, unordered. Other names are skipped.
    fn list(&self) -> BoxStream<'static, io::Result<Listed>>;

    /// Sizes of blobs, `None` for missing ones. Results that do not arrive within the limit are left out.
    async fn sizes(
        &self,
        ids: Vec<ArtifactId>,
        limit: Duration,
    ) -> BTreeMap<ArtifactId, io::Result<Option<u64>>> {
        let looking = stream::iter(ids).map(async |id| {
            let found = self.metadata(id).await;
            (id, found.map(|found| found.map(|found| found.size)))
        });
        let end = tokio::time::sleep(limit);
        looking.buffer_unordered(CONCURRENT_REQUESTS).take_until(end).collect().await
    }

    /// The mark that was written last; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    async fn read_mark(&self) -> io::Result<Option<String>>;

    /// Writes a mark durably.
    ///
    /// # Errors
    ///
    /// If the mark was possibly not written.
    async fn write_mark(&self, mark: &str) -> io::Result<()>;

    /// From now on, blobs count as missing only while this mark is there; a bucket tells otherwise whether it is there.
    fn require_mark(&self, mark: &str);

    /// Path of the blob's file if this store is a local folder; the file may be missing.
    fn path(&self, id: ArtifactId) -> Option<PathBuf>;

    /// Location of the store, for messages.
    fn location(&self) -> String;
}

/// The blob store with its staging folder.
#[derive(Debug, Clone)]
pub struct Blobs {
    staging: Arc<Staging>,
    store: Arc<dyn BlobStore>,
    /// Digests that were checked lately.
    checked: Arc<Checked>,
}

impl Blobs {
    /// Opens or creates a folder of blobs, and removes unfinished files of an earlier run. Other files are left
    /// alone.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created or written.
    pub fn open(root: &Path) -> io::Result<Self> {
        let staging = Staging::open(root.join("tmp"))?;
        Ok(Self::of(Arc::new(staging), Arc::new(Folder::new(root.to_owned()))))
    }

    /// Opens a bucket of blobs; the folder `root` holds only unfinished files. The bucket is tested: a blob is
    /// written, read and removed.
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
        Ok(Self::of(folder.staging, Arc::new(bucket)))
    }

    fn of(staging: Arc<Staging>, store: Arc<dyn BlobStore>) -> Self {
        Self { staging, store, checked: Arc::default() }
    }

    /// Starts writing a blob. `announced` is the length that the sender announced, which may be wrong.
    #[must_use]
    pub fn begin(&self, announced: Option<u64>) -> BlobWriter {
        self.staging.begin(announced)
    }

    /// Adopts a finished file durably.
    ///
    /// # Errors
    ///
    /// Those of [`BlobStore::adopt`].
    pub async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<()> {
        let found = self.store.adopt(staged, id).await?;
        // The digest was computed from the bytes as they were written. Times in a bucket are too coarse to show a change
        // that follows at once.
        if self.store.path(id).is_some() {
            self.checked.note(id, found);
        }
        Ok(())
    }

    /// Metadata of a blob; `None` if it is certainly missing.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    pub async fn metadata(&self, id: ArtifactId) -> io::Result<Option<BlobMetadata>> {
        self.store.metadata(id).await
    }

    /// Bytes of a blob or of a range.
    ///
    /// # Errors
    ///
    /// Those of [`BlobStore::read`].
    pub async fn read(&self, id: ArtifactId, range: Option<Range<u64>>) -> io::Result<ByteStream> {
        self.read_while(id, range, Arc::new(|| true)).await
    }

    /// As [`Self::read`], in pieces that are large only while `ample`.
    ///
    /// # Errors
    ///
    /// Those of [`BlobStore::read`].
    pub async fn read_while(
        &self,
        id: ArtifactId,
        range: Option<Range<u64>>,
        ample: Ample,
    ) -> io::Result<ByteStream> {
        self.store.read(id, range, ample).await
    }

    /// First `length` bytes of a blob, or all of a shorter one.
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

    /// Metadata of a blob if it exists with this size.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    pub async fn of_size(&self, id: ArtifactId, size: u64) -> io::Result<Option<BlobMetadata>> {
        Ok(self.metadata(id).await?.filter(|found| found.size == size))
    }

    /// Whether a blob exists with this size.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    pub async fn holds(&self, id: ArtifactId, size: u64) -> io::Result<bool> {
        Ok(self.of_size(id, size).await?.is_some())
    }

    /// Whether a blob exists.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    pub async fn is_there(&self, id: ArtifactId) -> io::Result<bool> {
        Ok(self.metadata(id).await?.is_some())
    }

    /// Whether a blob exists with this size and digest. Reads the whole blob.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached, or the blob cannot be read.
    pub async fn verify(&self, id: ArtifactId, info: BlobInfo) -> io::Result<bool> {
        let verified = match self.store.path(id) {
            Some(path) => tokio::task::spawn_blocking(move || has_digest(&path, info)).await?,
            None if !self.holds(id, info.size).await? => return Ok(false),
            None => self.local(id).await.map(|local| local.fetched() == Some(info)),
        };
        match verified {
            // A file counts as missing only if its folder is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.metadata(id).await?
            {
                None => Ok(false),
                Some(_) => Err(error),
            },
            verified => verified,
        }
    }

    /// Metadata of a blob if it exists with this size and digest. A digest that was found sound is not read again for some
    /// minutes unless size or time of the blob have changed. Each blob is read once at a time, and few at the same time.
    ///
    /// # Errors
    ///
    /// Those of [`Self::verify`].
    pub async fn verify_lately(
        &self,
        id: ArtifactId,
        info: BlobInfo,
    ) -> io::Result<Option<BlobMetadata>> {
        let slot = self.checked.slot(id);
        let mut sound = slot.lock().await;
        let Some(found) = self.metadata(id).await? else { return Ok(None) };
        if found.size == info.size && sound.is_some_and(|sound| sound.holds_for(found)) {
            return Ok(Some(found));
        }
        *sound = None;
        let _turn = self.checked.turn().await;
        let is_sound = self.verify(id, info).await?;
        if is_sound {
            *sound = Some(Sound::now(found));
        }
        Ok(is_sound.then_some(found))
    }

    /// A blob as a local file; downloaded into a temporary file if necessary.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if the blob is certainly missing (a local file is not checked before it is
    /// opened); otherwise the blob cannot be downloaded.
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

    /// Removes a blob; a missing one is not an error.
    ///
    /// # Errors
    ///
    /// If the blob possibly still exists.
    pub async fn remove(&self, id: ArtifactId) -> io::Result<()> {
        self.store.remove(id).await
    }

    /// All blobs, unordered.
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

    /// Those of [`BlobStore::read_mark`].
    pub(super) async fn read_mark(&self) -> io::Result<Option<String>> {
        self.store.read_mark().await
    }

    /// Those of [`BlobStore::write_mark`].
    pub(super) async fn write_mark(&self, mark: &str) -> io::Result<()> {
        self.store.write_mark(mark).await
    }

    /// Those of [`BlobStore::require_mark`].
    pub(super) fn require_mark(&self, mark: &str) {
        self.store.require_mark(mark);
    }

    /// Whether any blob exists.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    pub async fn holds_any(&self) -> io::Result<bool> {
        Ok(self.list().try_next().await?.is_some())
    }

    /// Location of the blobs, for messages.
    #[must_use]
    pub fn location(&self) -> String {
        self.store.location()
    }
}

/// A blob as a local file. A downloaded file is removed on drop.
#[derive(Debug)]
pub struct LocalBlob {
    path: PathBuf,
    fetched: Option<StagedFile>,
}

impl LocalBlob {
    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size and digest of a downloaded blob.
    #[must_use]
    pub fn fetched(&self) -> Option<BlobInfo> {
        self.fetched.as_ref().map(|fetched| fetched.info)
    }
}

/// Whether a file has the expected size and digest.
fn has_digest(path: &Path, info: BlobInfo) -> io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    if file.metadata()?.len() != info.size {
        return Ok(false);
    }
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finalize()[..] == info.sha256.0)
}

/// Id in the name of a blob; `None` for other names.
fn id_of(name: &std::ffi::OsStr) -> Option<ArtifactId> {
    let name = name.to_str()?;
    name.parse::<ArtifactId>().ok().filter(|id| id.to_string() == name)
}
