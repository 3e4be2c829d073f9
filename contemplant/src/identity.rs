//! The data folder: the identity of this installation, downloads and finished proofs.
//!
//! The worker id must survive restarts, or Hierophant would treat a restarted worker as a new one and lose its
//! record. Two processes must not share an id, so the folder is locked.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use network_lib::ids::WorkerId;

/// An open, locked data folder.
#[derive(Debug)]
pub struct DataDir {
    /// Stable identity of the installation.
    pub worker_id: WorkerId,
    /// Folder of files that are needed for one job, which only this user can enter. Emptied at each start.
    pub downloads: PathBuf,
    /// Folder of finished proofs until Hierophant has stored them. Survives restarts.
    pub held: PathBuf,
    /// Folder of the depot: records of shards, and results of tasks. Survives restarts.
    pub depot: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the folder, creating it if necessary, and reads or generates the worker id.
    ///
    /// # Errors
    ///
    /// When the folder is not writable, is in use by another Contemplant, or holds an invalid worker id.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let writable = || {
            format!(
                "the data folder {} is not writable; set `data_dir` to a writable folder",
                folder.display()
            )
        };
        fs::create_dir_all(folder).with_context(writable)?;
        let lock = File::create(folder.join("lock")).with_context(writable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by another Contemplant; set another `data_dir`",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(writable),
        }
        let downloads = temp_folder(folder);
        if downloads.exists() {
            fs::remove_dir_all(&downloads).with_context(writable)?;
        }
        create_private(&downloads).with_context(writable)?;
        let worker_id = match read_id(&folder.join("worker-id"))? {
            Some(id) => id,
            None => draw_id(folder).with_context(writable)?,
        };
        Ok(Self {
            worker_id,
            downloads,
            held: folder.join("held"),
            depot: folder.join("depot"),
            _lock: lock,
        })
    }
}

/// The folder of temporary files in a data folder.
#[must_use]
pub fn temp_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("tmp")
}

/// Creates a folder that only this user can enter, unless it exists.
///
/// # Errors
///
/// Those of the file system.
pub fn create_private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn read_id(file: &Path) -> anyhow::Result<Option<WorkerId>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let id = text.trim().parse().with_context(|| {
        format!("{} does not hold a worker id; delete it to become a new worker", file.display())
    })?;
    Ok(Some(id))
}

fn draw_id(folder: &Path) -> anyhow::Result<WorkerId> {
    let id = WorkerId::random();
    // Written to a temporary file and renamed, so that a crash leaves no partial id.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{id}")?;
    file.as_file().sync_all()?;
    file.persist(folder.join("worker-id"))?;
    File::open(folder)?.sync_all()?;
    Ok(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_id_survives_and_downloads_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();
        fs::write(first.downloads.join("half a program"), b"x").unwrap();
        let id = first.worker_id;
        drop(first);
        let second = DataDir::open(folder.path()).unwrap();
        assert_eq!(second.worker_id, id);
        assert_eq!(fs::read_dir(&second.downloads).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let _first = DataDir::open(folder.path()).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("in use by another Contemplant"), "{error}");
    }

    #[test]
    fn faults_name_the_folder_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = DataDir::open(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("is not writable; set `data_dir`"), "{error}");

        fs::write(folder.path().join("worker-id"), "nonsense").unwrap();
        let error = DataDir::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("delete it to become a new worker"), "{error}");
    }
}
