//! The depot on disk: records of shards until they are proved, and results of tasks until Hierophant has stored them.
//!
//! A record stays with the worker whose execution has cut it, until the shard is done. Each job has a folder, named by
//! its id, with a file for each record, named by the SHA-256 of its content. A file is written under a temporary name
//! and renamed when it is complete; its digest is checked when it is read. After each handshake the records are listed
//! to Hierophant, which answers which of them are no longer needed. Results are in `results`.

pub(crate) mod results;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network_lib::ids::{JobId, Sha256Digest};
use network_lib::job::BlobInfo;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use self::results::TaskResult;

/// Prefix of the names of incomplete files.
const ASIDE: &str = "incomplete-";

/// The depot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Depot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    max_bytes: u64,
    records: Mutex<Records>,
    /// Bytes in use. A change notifies executions that wait for room.
    used: watch::Sender<u64>,
}

/// What the depot holds: sizes of records.
#[derive(Debug, Default)]
struct Records {
    by_job: BTreeMap<JobId, BTreeMap<Sha256Digest, u64>>,
    /// Bytes of all records, and of those that are being written.
    used: u64,
}

/// Why a record cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum DepotError {
    /// It would exceed `max_depot_bytes`.
    #[error(
        "the depot is full: {free} bytes are free and {wanted} are needed; set a larger `max_depot_bytes`"
    )]
    Full {
        /// Size of the record.
        wanted: u64,
        /// Free bytes.
        free: u64,
        /// Size of the whole depot.
        limit: u64,
    },
    /// The disk does not accept it.
    #[error("cannot write to the depot: {0}")]
    Disk(#[source] io::Error),
}

impl Depot {
    /// Opens the folder, creating it if necessary, for records of at most `max_bytes` together. Returns the finished
    /// results of an earlier process. Incomplete entries are removed; foreign files are left alone.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or read.
    pub fn open(folder: &Path, max_bytes: u64) -> io::Result<(Self, Vec<TaskResult>)> {
        // Records hold the memory of a client's program, so only this user may enter the folder.
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut records = Records::default();
        let mut results = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Ok(job) = name(&path).parse::<JobId>() else {
                tracing::warn!(path = %path.display(), "a foreign file in the depot is left alone");
                continue;
            };
            let found = sizes(&path)?;
            results.extend(results::found(&path, job)?);
            records.used += found.values().sum::<u64>();
            if found.is_empty() {
                // An error says that it has results, or foreign files.
                let _ = fs::remove_dir(&path);
            } else {
                records.by_job.insert(job, found);
            }
        }
        let used = watch::Sender::new(records.used);
        let records = Mutex::new(records);
        let inner = Inner { folder: folder.to_owned(), max_bytes, records, used };
        Ok((Self(Arc::new(inner)), results))
    }

    /// Removes a depot that is no longer used.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn discard(folder: &Path) -> io::Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps a record. Blocks while it writes.
    ///
    /// # Errors
    ///
    /// [`DepotError`]: there is no room, or the disk fails.
    pub fn keep(&self, job: JobId, record: &[u8]) -> Result<BlobInfo, DepotError> {
        let info = BlobInfo {
            size: record.len() as u64,
            sha256: Sha256Digest(Sha256::digest(record).into()),
        };
        {
            let mut records = self.records();
            if records.by_job.get(&job).is_some_and(|held| held.contains_key(&info.sha256)) {
                return Ok(info);
            }
            let free = self.0.max_bytes.saturating_sub(records.used);
            if info.size > free {
                let limit = self.0.max_bytes;
                return Err(DepotError::Full { wanted: info.size, free, limit });
            }
            records.used += info.size;
        }
        let written = write(&self.job_folder(job), info.sha256, record);
        let mut records = self.records();
        let is_new = written.is_ok()
            && records.by_job.entry(job).or_default().insert(info.sha256, info.size).is_none();
        if !is_new {
            records.used = records.used.saturating_sub(info.size);
        }
        self.publish(records);
        written.map(|()| info).map_err(DepotError::Disk)
    }

    /// Reads a record; `None` if it is not held. A damaged one is removed. Blocks while it reads.
    #[must_use]
    pub fn read(&self, job: JobId, record: Sha256Digest) -> Option<Vec<u8>> {
        if !self.holds(job, record) {
            return None;
        }
        let content = fs::read(self.path(job, record)).ok();
        let intact = content.filter(|bytes| Sha256::digest(bytes)[..] == record.0);
        if intact.is_none() {
            tracing::warn!(job_id = %job, "a record in the depot is damaged and is removed");
            self.remove(job, &[record]);
        }
        intact
    }

    /// Whether a record is held.
    #[must_use]
    pub fn holds(&self, job: JobId, record: Sha256Digest) -> bool {
        self.records().by_job.get(&job).is_some_and(|held| held.contains_key(&record))
    }

    /// The job of a record.
    #[must_use]
    pub fn job_of(&self, record: Sha256Digest) -> Option<JobId> {
        let records = self.records();
        let mut jobs = records.by_job.iter();
        jobs.find(|(_, held)| held.contains_key(&record)).map(|(job, _)| *job)
    }

    /// Removes records, as far as they are held. Blocks while it deletes files.
    pub fn remove(&self, job: JobId, gone: &[Sha256Digest]) {
        let mut records = self.records();
        let Some(held) = records.by_job.get_mut(&job) else { return };
        let sizes: Vec<u64> = gone.iter().filter_map(|record| held.remove(record)).collect();
        if held.is_empty() {
            records.by_job.remove(&job);
        }
        for record in gone {
            clear(&self.path(job, *record));
        }
        // An error says that the folder still has files.
        let _ = fs::remove_dir(self.job_folder(job));
        records.used = records.used.saturating_sub(sizes.iter().sum());
        self.publish(records);
    }

    /// Removes everything of a job. Blocks while it deletes files.
    pub fn remove_job(&self, job: JobId) {
        let mut records = self.records();
        let held = records.by_job.remove(&job).unwrap_or_default();
        clear(&self.job_folder(job));
        records.used = records.used.saturating_sub(held.values().sum());
        self.publish(records);
    }

    /// Jobs of which it holds records.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobId> {
        self.records().by_job.keys().copied().collect()
    }

    /// Records of a job.
    #[must_use]
    pub fn list(&self, job: JobId) -> Vec<Sha256Digest> {
        let records = self.records();
        records.by_job.get(&job).map(|held| held.keys().copied().collect()).unwrap_or_default()
    }

    /// Bytes in use by records, and free ones.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        let used = self.records().used;
        (used, self.0.max_bytes.saturating_sub(used))
    }

    /// Bytes in use by records, now and in future.
    #[must_use]
    pub fn used(&self) -> watch::Receiver<u64> {
        self.0.used.subscribe()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, records: MutexGuard<'_, Records>) {
        self.0.used.send_replace(records.used);
    }

    fn job_folder(&self, job: JobId) -> PathBuf {
        self.0.folder.join(job.to_string())
    }

    fn path(&self, job: JobId, record: Sha256Digest) -> PathBuf {
        self.job_folder(job).join(record.to_string())
    }
}

/// Sizes of the records in a job's folder. Incomplete ones are removed.
fn sizes(folder: &Path) -> io::Result<BTreeMap<Sha256Digest, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if name(&path).starts_with(ASIDE) {
            clear(&path);
        } else if let Ok(record) = name(&path).parse() {
            found.insert(record, fs::metadata(&path)?.len());
        }
    }
    Ok(found)
}

/// Writes a record. It is not synced to the disk: after a power failure it is damaged, which is found when it is read.
fn write(folder: &Path, record: Sha256Digest, content: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::Builder::new().prefix(ASIDE).tempfile_in(folder)?;
    file.write_all(content)?;
    file.persist(folder.join(record.to_string()))?;
    Ok(())
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn clear(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "data of a task that is no longer needed cannot be removed");
        }
        _ => {}
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const JOB: JobId = JobId([1; 16]);
    const OTHER: JobId = JobId([2; 16]);

    fn open(folder: &Path, max_bytes: u64) -> Depot {
        Depot::open(folder, max_bytes).unwrap().0
    }

    #[test]
    fn records_survive_a_restart_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("depot");
        let depot = open(&root, 100);
        let first = depot.keep(JOB, b"a record").unwrap();
        let second = depot.keep(JOB, b"another").unwrap();
        let foreign = depot.keep(OTHER, b"of another job").unwrap();
        assert_eq!(depot.keep(JOB, b"a record").unwrap(), first, "it is held already");
        assert_eq!(depot.usage(), (29, 71));
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        let half = root.join(JOB.to_string()).join(format!("{ASIDE}x"));
        fs::write(&half, b"half").unwrap();
        fs::write(root.join("notes.txt"), b"mine").unwrap();

        let depot = open(&root, 100);
        assert!(!half.exists() && root.join("notes.txt").exists());
        assert_eq!(depot.usage(), (29, 71));
        assert_eq!(depot.jobs(), [JOB, OTHER]);
        assert_eq!(depot.list(JOB).len(), 2);
        assert_eq!(depot.read(JOB, first.sha256).unwrap(), b"a record");
        assert_eq!(depot.job_of(foreign.sha256), Some(OTHER));
        depot.remove(JOB, &[first.sha256]);
        assert_eq!(depot.read(JOB, first.sha256), None);
        assert_eq!(depot.list(JOB), [second.sha256]);
        depot.remove_job(JOB);
        assert_eq!((depot.jobs(), depot.usage()), (vec![OTHER], (14, 86)));
        depot.remove(OTHER, &[foreign.sha256]);
        assert!(!root.join(OTHER.to_string()).exists());
        assert_eq!(open(&root, 100).usage(), (0, 100));
    }

    #[test]
    fn a_damaged_record_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let depot = open(folder.path(), 100);
        let kept = depot.keep(JOB, b"a record").unwrap();
        fs::write(depot.path(JOB, kept.sha256), b"A record").unwrap();
        assert_eq!(depot.read(JOB, kept.sha256), None);
        assert!(!depot.holds(JOB, kept.sha256));
        assert_eq!(depot.usage(), (0, 100));
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let depot = open(folder.path(), 10);
        let kept = depot.keep(JOB, b"12345678").unwrap();
        let error = depot.keep(JOB, b"123").unwrap_err();
        assert!(error.to_string().contains("2 bytes are free and 3 are needed"), "{error}");
        let mut used = depot.used();
        used.mark_unchanged();
        depot.remove(JOB, &[kept.sha256]);
        assert!(used.has_changed().unwrap());
        depot.keep(JOB, b"123").unwrap();
    }

    #[test]
    fn a_disk_that_accepts_nothing_is_an_error_and_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("depot");
        let depot = open(&root, 100);
        fs::remove_dir(&root).unwrap();
        fs::write(&root, b"not a folder any more").unwrap();
        assert!(matches!(depot.keep(JOB, b"a record"), Err(DepotError::Disk(_))));
        assert_eq!(depot.usage(), (0, 100));
    }
}
