//! Blobs on their way in: written to a temporary file, digested on the way.
//!
//! Bytes are gathered to parts. Each is written and hashed on the blocking pool while the next one is awaited,
//! and no more than that: a slow disk slows the sender down instead of filling memory, and a slow sender occupies
//! no thread. A large blob is synced on the way, too: the disk writes while bytes still come, and little is left
//! for the end. A small one, announced as such, stays in memory until it is put in its place: one hand-over
//! instead of three.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use network_lib::ids::{Sha256Digest, random_bytes};
use network_lib::job::BlobInfo;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::id_of;

/// Bytes that are handed to the disk at once, at least. Below that, handing over takes longer than writing.
const PART: usize = 64 << 10;

/// The same for a blob of which [`LARGE_AFTER`] bytes have come: whoever sends that much sends more.
const LARGE_PART: usize = 512 << 10;

/// After so many bytes parts are large.
const LARGE_AFTER: u64 = 32 << 20;

/// After so many bytes a blob is synced while more of it comes.
const SYNC_AFTER: u64 = 32 << 20;

/// The folder of temporary files. Cleared at each start.
#[derive(Debug)]
pub(super) struct Staging(PathBuf);

impl Staging {
    /// Opens the folder, creating it, and clears away what an earlier run left half-written. Files that
    /// are not named like ours are left alone.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if id_of(&entry.file_name()).is_some() && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            } else {
                tracing::warn!(file = %entry.path().display(), "a foreign file is left alone");
            }
        }
        // A folder that cannot be written to shows at the start, not at the first upload.
        drop(TemporaryFile::create(&folder)?);
        Ok(Self(folder))
    }

    /// Starts a blob; `announced` is how long its sender says that it is.
    pub(super) fn begin(&self, announced: Option<u64>) -> BlobWriter {
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

/// A blob that is being written. Dropping it removes what was written so far.
#[derive(Debug)]
pub struct BlobWriter {
    folder: PathBuf,
    /// Less than a part was announced.
    is_small: bool,
    /// What is not handed to the disk yet.
    gathered: BytesMut,
    step: Step,
    /// A sync of what came so far.
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// How many bytes were handed to the disk.
    size: u64,
    /// How many there were when the last sync was begun.
    synced: u64,
}

#[derive(Debug)]
enum Step {
    /// Nothing is being written; no file is there before the first bytes.
    Idle(Option<Unfinished>),
    /// Comes back with an empty buffer, whose room is used again.
    Writing(JoinHandle<io::Result<(Unfinished, BytesMut)>>),
    Failed,
}

impl BlobWriter {
    /// Adds bytes. Those of a small blob are gathered. Of others the first ones go to the disk at once, so that the
    /// file shows what is going on; then less than a part is gathered, and a part waits until the one before is
    /// written.
    ///
    /// # Errors
    ///
    /// What the disk said of the bytes before. Nothing more can be written then.
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

    /// Waits until every byte is written; a small blob's are in memory still. They outlast a power failure once
    /// the blob is in its place.
    ///
    /// # Errors
    ///
    /// What the disk said. The temporary file is removed then.
    pub async fn finish(mut self) -> io::Result<StagedBlob> {
        let (unfinished, _) = self.written().await?;
        // The system tells each of its errors once: one that it told here must not get lost.
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

    /// Begins a sync if much has come since the last one, which must have ended.
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

    /// Waits for what is being written.
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

/// An open file with what is known of its bytes so far. Dropping it removes the file.
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

/// A blob that came completely, but is not in its place yet. Dropping it removes it.
#[derive(Debug)]
pub struct StagedBlob {
    info: BlobInfo,
    bytes: Staged,
}

#[derive(Debug)]
enum Staged {
    /// With the folder for its temporary file.
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

    /// Its size and digest.
    #[must_use]
    pub const fn info(&self) -> BlobInfo {
        self.info
    }

    /// Moves it to its place, durably. Both are synced after the move: a file system that keeps a journal then
    /// writes once what would be two entries the other way round. Until this has returned nobody may count
    /// on what lies in that place.
    pub(super) fn persist(self, place: &Path) -> io::Result<()> {
        let above = place.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let (file, temporary) = self.bytes.in_file()?;
        fs::rename(&temporary.0, place)?;
        let synced = file.sync_all().and_then(|()| File::open(above)?.sync_all());
        synced.inspect_err(|_| {
            // It may be damaged.
            let _ = fs::remove_file(place);
        })
    }

    /// At most `length` of its bytes, from `offset` on.
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

    /// The temporary file with its bytes.
    pub(super) fn into_file(self) -> io::Result<StagedFile> {
        let (_, temporary) = self.bytes.in_file()?;
        Ok(StagedFile { info: self.info, temporary })
    }
}

/// A file that is there until this is dropped.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) info: BlobInfo,
    temporary: TemporaryFile,
}

impl StagedFile {
    pub(super) fn path(&self) -> &Path {
        &self.temporary.0
    }
}

impl Staged {
    /// The temporary file with all bytes.
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
        let file = File::create_new(&path)?;
        Ok((Self(path), file))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After a rename into place there is nothing left to remove.
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.0.display(), %error, "temporary file could not be removed");
        }
    }
}
