//! Blobs as files in a folder, each renamed into place when complete and durable.
//!
//! A folder that is not mounted has no files either. A file counts as missing only while the folder has its mark.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use hierophant_model::records::Millis;
use network_lib::ids::ArtifactId;
use tokio::sync::Semaphore;

use super::file::{self, blocking};
use super::{Ample, BlobMetadata, BlobStore, ByteStream, Listed, MARK, StagedBlob, id_of};
use crate::private_files;

/// Maximum number of concurrent look-ups of metadata. Those that hang hold no more threads than that.
const MAX_LOOKS: usize = 32;

/// A folder of blobs, in subfolders (shelves) named by the first two digits of the ids.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
    looks: Arc<Semaphore>,
    /// The mark that the folder must have.
    mark: Arc<OnceLock<String>>,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, looks: Arc::new(Semaphore::new(MAX_LOOKS)), mark: Arc::default() }
    }

    fn path_of(&self, id: ArtifactId) -> PathBuf {
        let name = id.to_string();
        self.root.join(&name[..2]).join(name)
    }

    fn mark(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.root.join(MARK)) {
            Ok(mark) => Ok(Some(mark.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Checks that this is the folder that it was at the start, so that what is missing is missing from it.
    fn confirm(&self) -> io::Result<()> {
        let Some(expected) = self.mark.get() else { return Ok(()) };
        let found = match self.mark()? {
            Some(found) if found == *expected => return Ok(()),
            Some(_) => "is another one's",
            None => "is missing",
        };
        let root = self.root.display();
        Err(io::Error::other(format!(
            "the file `{MARK}` of {root} {found}; mount the folder again"
        )))
    }

    fn find(&self, id: ArtifactId) -> io::Result<Option<BlobMetadata>> {
        let found = metadata_of(&self.path_of(id))?;
        if found.is_none() {
            self.confirm()?;
        }
        Ok(found)
    }

    /// Error of a file that was just opened; only one in the right folder is certainly missing.
    fn confirmed(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::NotFound => self.confirm().err().unwrap_or(error),
            _ => error,
        }
    }
}

#[async_trait]
impl BlobStore for Folder {
    async fn adopt(&self, staged: StagedBlob, id: ArtifactId) -> io::Result<BlobMetadata> {
        let (target, root) = (self.path_of(id), self.clone());
        blocking(move || {
            root.confirm()?;
            let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
            if !folder.exists() {
                private_files::create_folder(folder)?;
                if let Some(above) = folder.parent() {
                    File::open(above)?.sync_all()?;
                }
            }
            staged.persist(&target)?;
            metadata_of(&target)?.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
        .await
    }

    /// On the blocking pool: a disk that hangs, such as a network file system, must not hold up the runtime.
    async fn metadata(&self, id: ArtifactId) -> io::Result<Option<BlobMetadata>> {
        let (folder, looks) = (self.clone(), Arc::clone(&self.looks));
        // A look that hangs keeps its permit, so hanging ones do not take the whole pool.
        let permit = looks.acquire_owned().await.map_err(io::Error::other)?;
        blocking(move || {
            let found = folder.find(id);
            drop(permit);
            found
        })
        .await
    }

    async fn read(
        &self,
        id: ArtifactId,
        range: Option<Range<u64>>,
        ample: Ample,
    ) -> io::Result<ByteStream> {
        let (path, root) = (self.path_of(id), self.clone());
        let open = move || File::open(path).map_err(|error| root.confirmed(error));
        file::read(open, range, ample).await
    }

    async fn remove(&self, id: ArtifactId) -> io::Result<()> {
        let (path, root) = (self.path_of(id), self.clone());
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => root.confirm(),
            removed => removed,
        })
        .await
    }

    fn list(&self) -> BoxStream<'static, io::Result<Listed>> {
        let root = self.root.clone();
        stream::once(blocking(move || shelves(&root)))
            .map_ok(|shelves| stream::iter(shelves).map(Ok))
            .try_flatten()
            .and_then(|shelf| blocking(move || blobs_on(&shelf)))
            .map_ok(|blobs| stream::iter(blobs).map(Ok))
            .try_flatten()
            .boxed()
    }

    /// All sizes, ignoring the limit: each takes some microseconds.
    async fn sizes(
        &self,
        ids: Vec<ArtifactId>,
        _limit: Duration,
    ) -> BTreeMap<ArtifactId, io::Result<Option<u64>>> {
        let folder = self.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let size = |id| folder.find(id).map(|found| found.map(|found| found.size));
            ids.into_iter().map(|id| (id, size(id))).collect()
        });
        looking.await.unwrap_or_default()
    }

    async fn read_mark(&self) -> io::Result<Option<String>> {
        let folder = self.clone();
        blocking(move || folder.mark()).await
    }

    async fn write_mark(&self, mark: &str) -> io::Result<()> {
        let (root, mark) = (self.root.clone(), format!("{mark}\n"));
        blocking(move || {
            let mut file = tempfile::NamedTempFile::new_in(root.join("tmp"))?;
            file.write_all(mark.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(root.join(MARK)).map_err(|error| error.error)?;
            File::open(&root)?.sync_all()
        })
        .await
    }

    fn require_mark(&self, mark: &str) {
        // Required once, at the start.
        let _ = self.mark.set(mark.to_owned());
    }

    fn path(&self, id: ArtifactId) -> Option<PathBuf> {
        Some(self.path_of(id))
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

fn metadata_of(path: &Path) -> io::Result<Option<BlobMetadata>> {
    match fs::metadata(path) {
        // Anything but a file is not a blob.
        Ok(metadata) if !metadata.is_file() => Ok(None),
        Ok(metadata) => {
            Ok(Some(BlobMetadata { size: metadata.len(), modified: metadata.modified()? }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn shelves(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut shelves = Vec::new();
    for shelf in fs::read_dir(root)? {
        let shelf = shelf?;
        if shelf.file_name() != "tmp" && shelf.file_type()?.is_dir() {
            shelves.push(shelf.path());
        }
    }
    Ok(shelves)
}

/// Blobs on a shelf; other names are skipped.
fn blobs_on(shelf: &Path) -> io::Result<Vec<Listed>> {
    let mut blobs = Vec::new();
    for entry in fs::read_dir(shelf)? {
        let entry = entry?;
        let Some(id) = id_of(&entry.file_name()) else { continue };
        if !shelf.ends_with(&id.to_string()[..2]) {
            continue;
        }
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let since_epoch = written.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
        // A file without metadata counts as new.
        let written = since_epoch
            .map_or(i64::MAX, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        blobs.push(Listed { id, written: Millis(written) });
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn look_ups_that_hang_hold_up_no_reads() {
        let place = tempfile::tempdir().expect("temp dir");
        let folder = Folder::new(place.path().to_owned());
        let id = ArtifactId([9; 16]);
        let all = u32::try_from(MAX_LOOKS).expect("a small number");
        let hanging = Arc::clone(&folder.looks).acquire_many_owned(all).await.expect("open");
        let looking = folder.metadata(id);
        tokio::pin!(looking);
        assert!(futures_util::poll!(&mut looking).is_pending(), "one more look-up waits");
        let read = folder.read(id, None, Arc::new(|| true)).await;
        assert_eq!(read.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        drop(hanging);
        assert!(looking.await.expect("looks").is_none());
    }
}
