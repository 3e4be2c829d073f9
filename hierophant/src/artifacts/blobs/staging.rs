//! Blobs on their way in: written to a temporary file, digested on the way, synced.
//!
//! Each chunk is written and hashed on the blocking pool while the next one is awaited, and no more than
//! that: a slow disk slows the sender down instead of filling memory, and a slow sender occupies no thread. A
//! large blob is synced on the way, too: the disk writes while bytes still come, and little is left for the end.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use network_lib::ids::{Sha256Digest, random_bytes};
use network_lib::job::BlobInfo;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::id_of;

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

    pub(super) async fn begin(&self) -> io::Result<BlobWriter> {
        let folder = self.0.clone();
        let creating = tokio::task::spawn_blocking(move || TemporaryFile::create(&folder));
        let (temporary, file) = creating.await??;
        let unfinished = Unfinished { file, hasher: Sha256::new(), size: 0 };
        Ok(BlobWriter { step: Step::Idle(unfinished), temporary, syncing: None, synced: 0 })
    }
}

/// A blob that is being written. Dropping it removes what was written so far.
#[derive(Debug)]
pub struct BlobWriter {
    step: Step,
    temporary: TemporaryFile,
    /// A sync of what came so far.
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// How many bytes there were when the last one was begun.
    synced: u64,
}

#[derive(Debug)]
enum Step {
    Idle(Unfinished),
    Writing(JoinHandle<io::Result<Unfinished>>),
    Failed,
}

impl BlobWriter {
    /// Adds bytes; waits until those before are written.
    ///
    /// # Errors
    ///
    /// What the disk said of the bytes before. Nothing more can be written then.
    pub async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        let mut unfinished = self.written().await?;
        self.sync_on_the_way(&unfinished).await?;
        self.step = Step::Writing(tokio::task::spawn_blocking(move || {
            unfinished.add(&chunk)?;
            Ok(unfinished)
        }));
        Ok(())
    }

    /// Waits until every byte is on the disk.
    ///
    /// # Errors
    ///
    /// What the disk said. The temporary file is removed then.
    pub async fn finish(mut self) -> io::Result<StagedBlob> {
        let unfinished = self.written().await?;
        // The system tells each of its errors once: one that it told here must not get lost.
        if let Some(syncing) = self.syncing.take() {
            syncing.await??;
        }
        let info = tokio::task::spawn_blocking(move || unfinished.finish()).await??;
        Ok(StagedBlob { info, temporary: self.temporary })
    }

    /// Begins a sync if much has come since the last one, which must have ended.
    async fn sync_on_the_way(&mut self, unfinished: &Unfinished) -> io::Result<()> {
        let goes_on = self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished());
        if unfinished.size - self.synced < SYNC_AFTER || goes_on {
            return Ok(());
        }
        if let Some(ended) = self.syncing.take() {
            ended.await??;
        }
        let file = unfinished.file.try_clone()?;
        self.synced = unfinished.size;
        self.syncing = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        Ok(())
    }

    async fn written(&mut self) -> io::Result<Unfinished> {
        match std::mem::replace(&mut self.step, Step::Failed) {
            Step::Idle(unfinished) => Ok(unfinished),
            Step::Writing(writing) => writing.await?,
            Step::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// An open file with what is known of its bytes so far.
#[derive(Debug)]
struct Unfinished {
    file: File,
    hasher: Sha256,
    size: u64,
}

impl Unfinished {
    fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.hasher.update(chunk);
        self.size += chunk.len() as u64;
        Ok(())
    }

    fn finish(self) -> io::Result<BlobInfo> {
        self.file.sync_all()?;
        let sha256 = Sha256Digest(self.hasher.finalize().into());
        Ok(BlobInfo { size: self.size, sha256 })
    }
}

/// A blob that is completely on disk, but not in its place yet. Dropping it removes it.
#[derive(Debug)]
pub struct StagedBlob {
    info: BlobInfo,
    temporary: TemporaryFile,
}

impl StagedBlob {
    /// Its size and digest.
    #[must_use]
    pub const fn info(&self) -> BlobInfo {
        self.info
    }

    /// Where it lies until it is adopted or dropped.
    pub(super) fn path(&self) -> &Path {
        &self.temporary.0
    }

    /// At most `length` of its bytes, from `offset` on.
    pub(super) async fn part(&self, offset: u64, length: u64) -> io::Result<Bytes> {
        let path = self.temporary.0.clone();
        let reading = move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut part = Vec::new();
            file.take(length).read_to_end(&mut part)?;
            Ok(part.into())
        };
        tokio::task::spawn_blocking(reading).await?
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
