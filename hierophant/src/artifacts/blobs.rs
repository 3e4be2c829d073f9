//! Bytes on disk: written to a temporary file, digested on the way, synced, then renamed into place.
//!
//! A blob is either there as a whole or not at all. Each chunk is written and hashed on the blocking pool
//! while the next one is awaited, and no more than that: a slow disk slows the sender down instead of
//! filling memory, and a slow sender occupies no thread.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use network_lib::ids::{ArtifactId, Sha256Digest, random_bytes};
use network_lib::job::BlobInfo;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use crate::records::Millis;

/// The folder that holds all blobs.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: Arc<PathBuf>,
}

impl Blobs {
    /// Opens the folder, creating it, and clears away what an earlier run left half-written. Files that
    /// are not named like ours are left alone.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or written to.
    pub fn open(root: &Path) -> io::Result<Self> {
        let temporary = root.join("tmp");
        fs::create_dir_all(&temporary)?;
        for entry in fs::read_dir(&temporary)? {
            let entry = entry?;
            if id_of(&entry.file_name()).is_some() && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            } else {
                tracing::warn!(file = %entry.path().display(), "a foreign file is left alone");
            }
        }
        // A folder that cannot be written to shows at the start, not at the first upload.
        drop(TemporaryFile::create(&temporary)?);
        Ok(Self { root: Arc::new(root.to_owned()) })
    }

    /// Starts writing a blob.
    ///
    /// # Errors
    ///
    /// When the temporary file cannot be created, for instance because the disk is full.
    pub async fn begin(&self) -> io::Result<BlobWriter> {
        let folder = self.root.join("tmp");
        let creating = tokio::task::spawn_blocking(move || TemporaryFile::create(&folder));
        let (temporary, file) = creating.await??;
        let unfinished = Unfinished { file, hasher: Sha256::new(), size: 0 };
        Ok(BlobWriter { step: Step::Idle(unfinished), temporary })
    }

    /// Puts a finished file in its place, durably.
    ///
    /// # Errors
    ///
    /// When the file cannot be moved; the temporary file is removed.
    pub async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<()> {
        let target = self.path(id);
        tokio::task::spawn_blocking(move || {
            let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
            if !folder.exists() {
                fs::create_dir_all(folder)?;
                if let Some(above) = folder.parent() {
                    File::open(above)?.sync_all()?;
                }
            }
            fs::rename(&staged.temporary.0, &target)?;
            File::open(folder)?.sync_all()
        })
        .await?
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn read(&self, id: ArtifactId) -> io::Result<tokio::fs::File> {
        tokio::fs::File::open(self.path(id)).await
    }

    /// The first `length` bytes of a blob, fewer if it is shorter.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn read_head(&self, id: ArtifactId, length: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.read(id).await?.take(length).read_to_end(&mut head).await?;
        Ok(head)
    }

    /// Whether a blob of this size is there.
    pub async fn holds(&self, id: ArtifactId, size: u64) -> bool {
        let metadata = tokio::fs::metadata(self.path(id)).await;
        metadata.is_ok_and(|metadata| metadata.len() == size)
    }

    /// Removes a blob; one that is not there (any more) is fine.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be removed.
    pub async fn remove(&self, id: ArtifactId) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The blobs that were last written so many milliseconds before `now`, or earlier.
    pub(super) fn older_than(&self, now: Millis, age: u64) -> io::Result<Vec<ArtifactId>> {
        let mut old = Vec::new();
        self.each(|id, path| {
            let written = fs::metadata(path).and_then(|metadata| metadata.modified());
            let since_epoch =
                written.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
            // What cannot be looked at counts as new.
            let written = since_epoch
                .map_or(i64::MAX, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
            if now.since(Millis(written)) >= age {
                old.push(id);
            }
            false
        })?;
        Ok(old)
    }

    /// Whether there is any blob.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn holds_any(&self) -> io::Result<bool> {
        self.each(|_, _| true)
    }

    /// Calls `visit` with each blob's id and file until it returns true, and says whether it did.
    /// Whatever is not named like a blob is passed over.
    pub(super) fn each(
        &self,
        mut visit: impl FnMut(ArtifactId, &Path) -> bool,
    ) -> io::Result<bool> {
        for shelf in fs::read_dir(&*self.root)? {
            let shelf = shelf?;
            if shelf.file_name() == "tmp" || !shelf.file_type()?.is_dir() {
                continue;
            }
            for entry in fs::read_dir(shelf.path())? {
                let path = entry?.path();
                let id = path.file_name().and_then(id_of).filter(|id| self.path(*id) == path);
                if id.is_some_and(|id| visit(id, &path)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a blob is there, whatever is in it.
    pub async fn is_there(&self, id: ArtifactId) -> bool {
        tokio::fs::try_exists(self.path(id)).await.unwrap_or(false)
    }

    /// Whether a blob with this size and digest is there. Reads all of it, on a thread of the blocking
    /// pool.
    ///
    /// # Errors
    ///
    /// When it is there but cannot be read.
    pub async fn verify(&self, id: ArtifactId, info: BlobInfo) -> io::Result<bool> {
        let path = self.path(id);
        let checking = move || Ok(has_size(&path, info)? && has_digest(&path, info)?);
        tokio::task::spawn_blocking(checking).await?
    }

    /// Where a blob lies, whether it is there or not.
    pub(crate) fn path(&self, id: ArtifactId) -> PathBuf {
        let name = id.to_string();
        self.root.join(&name[..2]).join(name)
    }
}

/// A blob that is being written. Dropping it removes what was written so far.
#[derive(Debug)]
pub struct BlobWriter {
    step: Step,
    temporary: TemporaryFile,
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
        let info = tokio::task::spawn_blocking(move || unfinished.finish()).await??;
        Ok(StagedBlob { info, temporary: self.temporary })
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

/// Whether a file is there and has the size; a missing one has not.
pub(super) fn has_size(path: &Path, info: BlobInfo) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file() && metadata.len() == info.size),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a file has the digest.
pub(super) fn has_digest(path: &Path, info: BlobInfo) -> io::Result<bool> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize()[..] == info.sha256.0)
}

/// The id that a blob's file is named after, `None` for a foreign name.
pub(super) fn id_of(name: &std::ffi::OsStr) -> Option<ArtifactId> {
    let name = name.to_str()?;
    name.parse::<ArtifactId>().ok().filter(|id| id.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_below(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("entry"));
        entries.map(|e| if e.path().is_dir() { files_below(&e.path()) } else { 1 }).sum()
    }

    #[tokio::test]
    async fn a_finished_blob_reads_back_with_its_digest() {
        let folder = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let mut writer = blobs.begin().await.expect("begins");
        writer.write(Bytes::from_static(b"hello ")).await.expect("writes");
        writer.write(Bytes::from_static(b"world")).await.expect("writes");
        let staged = writer.finish().await.expect("finishes");
        assert_eq!(staged.info().size, 11);
        assert_eq!(
            staged.info().sha256.to_string(),
            "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
        );
        let id = ArtifactId::random();
        blobs.adopt(staged, id).await.expect("adopts");
        assert!(blobs.holds(id, 11).await);
        assert_eq!(blobs.read_head(id, 5).await.expect("reads"), b"hello");
        assert_eq!(files_below(folder.path()), 1);
    }

    #[tokio::test]
    async fn damage_to_a_blob_is_found() {
        let folder = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let mut writer = blobs.begin().await.expect("begins");
        writer.write(Bytes::from_static(b"hello")).await.expect("writes");
        let staged = writer.finish().await.expect("finishes");
        let (id, info) = (ArtifactId::random(), staged.info());
        blobs.adopt(staged, id).await.expect("adopts");
        assert!(blobs.verify(id, info).await.expect("reads"));
        fs::write(blobs.path(id), b"hallo").expect("writes");
        assert!(!blobs.verify(id, info).await.expect("reads"), "other bytes of the same size");
        fs::write(blobs.path(id), b"hell").expect("writes");
        assert!(!blobs.verify(id, info).await.expect("reads"), "too short");
        fs::remove_file(blobs.path(id)).expect("removes");
        assert!(!blobs.verify(id, info).await.expect("reads"), "missing");
    }

    #[tokio::test]
    async fn an_abandoned_blob_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let mut writer = blobs.begin().await.expect("begins");
        writer.write(Bytes::from_static(b"half")).await.expect("writes");
        drop(writer);
        assert_eq!(files_below(folder.path()), 0);
        let staged = blobs.begin().await.expect("begins").finish().await.expect("finishes");
        drop(staged);
        assert_eq!(files_below(folder.path()), 0);
    }

    #[test]
    fn a_slow_sender_occupies_no_thread() {
        let folder = tempfile::tempdir().expect("temp dir");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
        runtime.block_on(async {
            let mut slow = blobs.begin().await.expect("begins");
            slow.write(Bytes::from_static(b"half")).await.expect("writes");
            let other = async { blobs.begin().await?.finish().await };
            let other = tokio::time::timeout(std::time::Duration::from_secs(20), other).await;
            other.expect("is not held up").expect("finishes");
            slow.write(Bytes::from_static(b" and half")).await.expect("writes");
            assert_eq!(slow.finish().await.expect("finishes").info().size, 13);
        });
    }

    #[test]
    fn opening_clears_half_written_files() {
        let folder = tempfile::tempdir().expect("temp dir");
        Blobs::open(folder.path()).expect("opens");
        let left = folder.path().join("tmp").join("ab".repeat(16));
        fs::write(&left, b"x").expect("writes");
        fs::write(folder.path().join("tmp/notes.txt"), b"x").expect("writes");
        fs::create_dir(folder.path().join("tmp/lost+found")).expect("creates");
        Blobs::open(folder.path()).expect("opens");
        assert!(!left.exists());
        assert_eq!(files_below(folder.path()), 1, "foreign files are left alone");
    }
}
