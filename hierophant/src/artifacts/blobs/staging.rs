//! Staging of incoming blobs: bytes are written to a temporary file and hashed while they arrive.
//!
//! Bytes are buffered to parts. Each part is written and hashed on the blocking pool while the next one arrives,
//! one at a time: a slow disk slows the sender down instead of filling memory, and a slow sender occupies no thread.
//! A large blob is synced while it arrives, which leaves little for the end. A small blob, announced as such, stays
//! in memory until it is adopted: one hand-over to the blocking pool instead of three.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use network_lib::ids::{Sha256Digest, random_bytes};
use network_lib::job::BlobInfo;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::id_of;
use crate::private_files;

/// Minimum size of a write; below it, the hand-over takes longer than the write.
const PART: usize = 64 << 10;

/// Minimum size of a write after [`LARGE_AFTER`] bytes of a blob.
const LARGE_PART: usize = 512 << 10;

/// Number of bytes after which parts are large.
const LARGE_AFTER: u64 = 32 << 20;

/// Number of bytes after which a blob is synced while it arrives.
const SYNC_AFTER: u64 = 32 << 20;

/// The folder of temporary files, cleared at each start.
#[derive(Debug)]
pub(in crate::artifacts) struct Staging(PathBuf);

impl Staging {
    /// Opens or creates the folder, and removes unfinished files of an earlier run. Other files are left alone.
    pub(in crate::artifacts) fn open(folder: PathBuf) -> io::Result<Self> {
        private_files::create_folder(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if id_of(&entry.file_name()).is_some() && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            } else {
                tracing::warn!(file = %entry.path().display(), "unknown file in the staging folder is left alone");
            }
        }
        // Detects an unwritable folder at the start instead of at the first upload.
        drop(TemporaryFile::create(&folder)?);
        Ok(Self(folder))
    }

    /// Starts a blob; `announced` is the length that the sender announced.
    pub(in crate::artifacts) fn begin(&self, announced: Option<u64>) -> BlobWriter {
        BlobWriter {
            folder: self.0.clone(),
            is_small: announced.is_some_and(|length| length < PART as u64),
            gathered: BytesMut::new(),
            step: Step::Idle(None),
            syncing: None,
            size: 0,
            synced: 0,
        }
    }
}

/// A blob being written. Dropping it removes the written bytes.
#[derive(Debug)]
pub struct BlobWriter {
    folder: PathBuf,
    /// Less than a part was announced.
    is_small: bool,
    /// Bytes not yet handed to the disk.
    gathered: BytesMut,
    step: Step,
    /// A running sync of the bytes so far.
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// Number of bytes handed to the disk.
    size: u64,
    /// Number of bytes at the start of the last sync.
    synced: u64,
}

#[derive(Debug)]
enum Step {
    /// No write is running; the file is created with the first bytes.
    Idle(Option<Unfinished>),
    /// A running write, which returns its empty buffer for reuse.
    Writing(JoinHandle<io::Result<(Unfinished, BytesMut)>>),
    Failed,
}

impl BlobWriter {
    /// Adds bytes. A small blob is buffered completely. The first bytes of other blobs go to the disk at once, so that
    /// the file shows progress; after that, bytes are buffered to parts, and a part waits for the previous one.
    ///
    /// # Errors
    ///
    /// The disk's error for earlier bytes; the writer cannot be used after it.
    pub async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        let gathers = self.is_small || !matches!(self.step, Step::Idle(None));
        let part = if self.size < LARGE_AFTER { PART } else { LARGE_PART };
        if gathers && self.gathered.len() + chunk.len() < part {
            self.gathered.extend_from_slice(&chunk);
            return Ok(());
        }
        let (unfinished, room) = self.written().await?;
        self.sync_on_the_way(unfinished.as_ref()).await?;
        let mut gathered = std::mem::replace(&mut self.gathered, room);
        self.size += (gathered.len() + chunk.len()) as u64;
        let folder = self.folder.clone();
        self.step = Step::Writing(tokio::task::spawn_blocking(move || {
            let mut unfinished = unfinished.map_or_else(|| Unfinished::create(&folder), Ok)?;
            unfinished.add(&gathered)?;
            unfinished.add(&chunk)?;
            gathered.clear();
            Ok((unfinished, gathered))
        }));
        Ok(())
    }

    /// Waits until all bytes are written; a small blob stays in memory. The bytes are durable after adoption.
    ///
    /// # Errors
    ///
    /// The disk's error; the temporary file is removed.
    pub async fn finish(mut self) -> io::Result<StagedBlob> {
        let (unfinished, _) = self.written().await?;
        // The system reports each error only once, so the result of the sync must not be lost.
        if let Some(syncing) = self.syncing.take() {
            syncing.await??;
        }
        let (folder, rest) = (self.folder, self.gathered);
        if self.is_small && unfinished.is_none() {
            return Ok(StagedBlob::in_memory(folder, rest.freeze()));
        }
        let finishing = move || {
            let mut unfinished = unfinished.map_or_else(|| Unfinished::create(&folder), Ok)?;
            unfinished.add(&rest)?;
            Ok(unfinished.finish())
        };
        tokio::task::spawn_blocking(finishing).await?
    }

    /// Starts a sync if many bytes arrived since the last one and that has ended.
    async fn sync_on_the_way(&mut self, unfinished: Option<&Unfinished>) -> io::Result<()> {
        let goes_on = self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished());
        let Some(unfinished) = unfinished else { return Ok(()) };
        if self.size - self.synced < SYNC_AFTER || goes_on {
            return Ok(());
        }
        if let Some(ended) = self.syncing.take() {
            ended.await??;
        }
        let file = unfinished.file.try_clone()?;
        self.synced = self.size;
        self.syncing = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        Ok(())
    }

    /// Waits for the running write.
    async fn written(&mut self) -> io::Result<(Option<Unfinished>, BytesMut)> {
        match std::mem::replace(&mut self.step, Step::Failed) {
            Step::Idle(unfinished) => Ok((unfinished, BytesMut::new())),
            Step::Writing(writing) => {
                writing.await?.map(|(unfinished, room)| (Some(unfinished), room))
            }
            Step::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// An unfinished file with its digest and size so far. Dropping it removes the file.
#[derive(Debug)]
struct Unfinished {
    file: File,
    temporary: TemporaryFile,
    hasher: Sha256,
    size: u64,
}

impl Unfinished {
    fn create(folder: &Path) -> io::Result<Self> {
        let (temporary, file) = TemporaryFile::create(folder)?;
        Ok(Self { file, temporary, hasher: Sha256::new(), size: 0 })
    }

    fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.hasher.update(chunk);
        self.size += chunk.len() as u64;
        Ok(())
    }

    fn finish(self) -> StagedBlob {
        let sha256 = Sha256Digest(self.hasher.finalize().into());
        let info = BlobInfo { size: self.size, sha256 };
        StagedBlob { info, bytes: Staged::File { file: self.file, temporary: self.temporary } }
    }
}

/// A complete blob that is not adopted yet. Dropping it removes the bytes.
#[derive(Debug)]
pub struct StagedBlob {
    info: BlobInfo,
    bytes: Staged,
}

#[derive(Debug)]
enum Staged {
    /// In memory, with the folder for a temporary file.
    Memory {
        folder: PathBuf,
        bytes: Bytes,
    },
    File {
        file: File,
        temporary: TemporaryFile,
    },
}

impl StagedBlob {
    fn in_memory(folder: PathBuf, bytes: Bytes) -> Self {
        let sha256 = Sha256Digest(Sha256::digest(&bytes).into());
        let info = BlobInfo { size: bytes.len() as u64, sha256 };
        Self { info, bytes: Staged::Memory { folder, bytes } }
    }

    /// Size and digest.
    #[must_use]
    pub const fn info(&self) -> BlobInfo {
        self.info
    }

    /// Moves the bytes to their final path, durably. File and folder are synced after the move: a journaling file
    /// system then writes one entry instead of two. The file must not be used before this returns.
    pub(super) fn persist(self, path: &Path) -> io::Result<()> {
        let above = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let (file, temporary) = self.bytes.in_file()?;
        fs::rename(&temporary.0, path)?;
        let synced = file.sync_all().and_then(|()| File::open(above)?.sync_all());
        synced.inspect_err(|_| {
            // The file may be damaged.
            let _ = fs::remove_file(path);
        })
    }

    /// Writes the bytes durably to a temporary file. Its name is not durable.
    pub(in crate::artifacts) fn into_synced_file(self) -> io::Result<StagedFile> {
        let (file, temporary) = self.bytes.in_file()?;
        file.sync_data()?;
        Ok(StagedFile { info: self.info, temporary })
    }

    /// At most `length` bytes from `offset`.
    pub(super) async fn part(&self, offset: u64, length: u64) -> io::Result<Bytes> {
        let offset = offset.min(self.info.size);
        let length = length.min(self.info.size - offset);
        let path = match &self.bytes {
            Staged::Memory { bytes, .. } => {
                let position = |at: u64| usize::try_from(at).unwrap_or(bytes.len());
                return Ok(bytes.slice(position(offset)..position(offset + length)));
            }
            Staged::File { temporary, .. } => temporary.0.clone(),
        };
        let reading = move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut part = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            file.take(length).read_to_end(&mut part)?;
            Ok(part.into())
        };
        tokio::task::spawn_blocking(reading).await?
    }

    /// Converts the blob into a temporary file.
    pub(super) fn into_file(self) -> io::Result<StagedFile> {
        let (_, temporary) = self.bytes.in_file()?;
        Ok(StagedFile { info: self.info, temporary })
    }
}

/// A temporary file, removed on drop.
#[derive(Debug)]
pub(in crate::artifacts) struct StagedFile {
    pub(in crate::artifacts) info: BlobInfo,
    temporary: TemporaryFile,
}

impl StagedFile {
    pub(in crate::artifacts) fn path(&self) -> &Path {
        &self.temporary.0
    }
}

impl Staged {
    /// Temporary file with all bytes.
    fn in_file(self) -> io::Result<(File, TemporaryFile)> {
        match self {
            Self::File { file, temporary } => Ok((file, temporary)),
            Self::Memory { folder, bytes } => {
                let (temporary, mut file) = TemporaryFile::create(&folder)?;
                file.write_all(&bytes)?;
                Ok((file, temporary))
            }
        }
    }
}

#[derive(Debug)]
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn create(folder: &Path) -> io::Result<(Self, File)> {
        let path = folder.join(hex::encode(random_bytes::<16>()));
        let file = private_files::options().write(true).create_new(true).open(&path)?;
        Ok((Self(path), file))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After the rename the temporary file no longer exists.
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.0.display(), %error, "cannot remove a temporary file");
        }
    }
}
