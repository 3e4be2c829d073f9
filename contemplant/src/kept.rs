//! Finished shards on disk, until the proof that they are part of is finished.
//!
//! A long proof has hundreds of shards, each of which takes minutes. When the process dies, the same job goes on from
//! those that were finished. Each job has a folder, named by a digest of all that its shards depend on, with a file for
//! each shard: the SHA-256 of the content, then the content. A file is written under a temporary name and renamed when
//! it is complete. The folder goes when the job has ended. What remains of jobs that never came back is evicted, oldest
//! first, when there is more than the limit allows.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use network_lib::ids::Sha256Digest;
use sha2::{Digest, Sha256};
use shard_plan::Key;

/// Prefix of the names of incomplete files.
const ASIDE: &str = "incomplete-";

/// Bytes of the digest before the content.
const DIGEST_BYTES: usize = 32;

/// The folder of kept shards of all jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeptShards {
    folder: Arc<Path>,
    max_bytes: u64,
}

/// The kept shards of one job. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeptJob {
    all: KeptShards,
    folder: Arc<Path>,
    /// Whether the job has ended: a prover that is still busy with it keeps nothing more.
    has_ended: Arc<Mutex<bool>>,
}

/// A file with a kept shard.
struct Entry {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

impl KeptShards {
    /// Kept shards in this folder, which need not exist, of at most `max_bytes` together; 0 keeps none.
    #[must_use]
    pub fn new(folder: &Path, max_bytes: u64) -> Self {
        Self { folder: folder.into(), max_bytes }
    }

    /// Removes what a process that died was writing. The folder must be locked.
    pub fn clean(&self) {
        for entry in self.entries() {
            if is_incomplete(&entry.path) {
                remove(&entry.path);
            }
        }
        self.make_room(0);
    }

    /// The kept shards of the job with this digest.
    #[must_use]
    pub fn job(&self, digest: Sha256Digest) -> KeptJob {
        let folder = self.folder.join(digest.to_string()).into();
        KeptJob { all: self.clone(), folder, has_ended: Arc::default() }
    }

    /// Evicts the oldest shards until `wanted` further bytes fit. Returns whether they do.
    fn make_room(&self, wanted: u64) -> bool {
        if wanted > self.max_bytes {
            return false;
        }
        let mut entries = self.entries();
        let mut used: u64 = entries.iter().map(|entry| entry.bytes).sum();
        entries.sort_by(|a, b| (a.written, &a.path).cmp(&(b.written, &b.path)));
        let mut evicted = 0;
        for entry in entries {
            if used <= self.max_bytes - wanted {
                break;
            }
            used -= entry.bytes;
            evicted += 1;
            remove(&entry.path);
            if let Some(folder) = entry.path.parent() {
                // An error says that it still has shards.
                let _ = fs::remove_dir(folder);
            }
        }
        if evicted > 0 {
            tracing::info!(evicted, "kept shards were evicted, the oldest first");
        }
        used <= self.max_bytes - wanted
    }

    /// All files of all jobs. What cannot be read is left out.
    fn entries(&self) -> Vec<Entry> {
        let folders = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_job = |name: &str| name.parse::<Sha256Digest>().is_ok();
        let jobs = folders.filter(|entry| entry.file_name().to_str().is_some_and(is_job));
        jobs.flat_map(|job| fs::read_dir(job.path()).into_iter().flatten().flatten())
            .filter_map(|file| {
                let about = file.metadata().ok().filter(fs::Metadata::is_file)?;
                let written = about.modified().ok()?;
                Some(Entry { path: file.path(), bytes: about.len(), written })
            })
            .collect()
    }
}

impl KeptJob {
    /// The content that was kept under this key. A damaged file is removed, and treated as missing.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<Vec<u8>> {
        let path = self.path(key);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "a kept shard cannot be read; it is proved again");
                return None;
            }
        };
        let is_whole = bytes
            .split_at_checked(DIGEST_BYTES)
            .is_some_and(|(digest, content)| digest == &Sha256::digest(content)[..]);
        if !is_whole {
            tracing::warn!("a kept shard is damaged; it is proved again");
            remove(&path);
            return None;
        }
        Some(bytes.split_off(DIGEST_BYTES))
    }

    /// Keeps this content, unless the job has ended or it does not fit. Blocks while it writes. After an error the shard
    /// would be proved again.
    pub fn keep(&self, key: Key, content: &[u8]) {
        let has_ended = self.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_ended || !self.all.make_room((DIGEST_BYTES + content.len()) as u64) {
            return;
        }
        if let Err(error) = self.write(key, content) {
            tracing::warn!(%error, "a finished shard cannot be written to the data folder; it is not kept");
        }
    }

    /// Removes all shards of the job, which has ended.
    pub fn remove(&self) {
        *self.has_ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "kept shards that are no longer needed cannot be removed");
            }
            _ => {}
        }
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(key.to_string())
    }

    fn write(&self, key: Key, content: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut file = tempfile::Builder::new().prefix(ASIDE).tempfile_in(&self.folder)?;
        file.write_all(&Sha256::digest(content))?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(self.path(key))?;
        File::open(&self.folder)?.sync_all()
    }
}

fn is_incomplete(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(ASIDE))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, "a kept shard cannot be removed");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    const LIMIT: u64 = 1000;

    fn kept(folder: &Path) -> KeptShards {
        KeptShards::new(&folder.join("shards"), LIMIT)
    }

    fn job(number: u8) -> Sha256Digest {
        Sha256Digest([number; 32])
    }

    fn key(number: u8) -> Key {
        Key([number; 32])
    }

    /// Makes a file older than those that are written now.
    fn age(job: &KeptJob, shard: u8, seconds: u64) {
        let file = File::open(job.path(key(shard))).unwrap();
        let written = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(seconds);
        file.set_modified(written).unwrap();
    }

    #[test]
    fn a_kept_shard_is_found_by_the_same_job_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let all = kept(folder.path());
        all.job(job(1)).keep(key(1), b"a shard");
        let again = kept(folder.path());
        again.clean();
        let same = again.job(job(1));
        assert_eq!(same.find(key(1)).unwrap(), b"a shard");
        assert_eq!(same.find(key(2)), None);
        assert_eq!(again.job(job(2)).find(key(1)), None);
        let mode = fs::metadata(&same.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        same.remove();
        assert!(!same.folder.exists());
        same.keep(key(1), b"too late");
        assert_eq!(same.find(key(1)), None);
        same.remove();
    }

    #[test]
    fn a_damaged_shard_is_missing_and_what_was_half_written_goes() {
        let folder = tempfile::tempdir().unwrap();
        let all = kept(folder.path());
        let kept = all.job(job(1));
        for shard in 1..=3 {
            kept.keep(key(shard), b"a shard");
        }
        let flipped = kept.path(key(1));
        let mut bytes = fs::read(&flipped).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&flipped, bytes).unwrap();
        fs::write(kept.path(key(2)), b"short").unwrap();
        fs::write(kept.folder.join(format!("{ASIDE}abc")), b"half").unwrap();
        fs::write(all.folder.join("notes.txt"), b"mine").unwrap();
        all.clean();
        assert_eq!(kept.find(key(1)), None);
        assert_eq!(kept.find(key(2)), None);
        assert_eq!(kept.find(key(3)).unwrap(), b"a shard");
        assert_eq!(fs::read_dir(&kept.folder).unwrap().count(), 1);
        assert!(all.folder.join("notes.txt").exists());
    }

    #[test]
    fn the_oldest_shards_of_all_jobs_make_room_for_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let all = kept(folder.path());
        let (old, new) = (all.job(job(1)), all.job(job(2)));
        let content = [7; 300];
        old.keep(key(1), &content);
        age(&old, 1, 20);
        new.keep(key(2), &content);
        age(&new, 2, 10);
        new.keep(key(3), &content);
        // Three times 332 bytes are almost the limit.
        new.keep(key(4), &content);
        assert_eq!(old.find(key(1)), None);
        assert!(!old.folder.exists());
        new.keep(key(5), &content);
        let found: Vec<bool> = (2..=5).map(|shard| new.find(key(shard)).is_some()).collect();
        assert_eq!(found, [false, true, true, true]);
        new.keep(key(6), &[7; LIMIT as usize]);
        assert_eq!(new.find(key(6)), None);
        assert!(new.find(key(5)).is_some(), "what cannot fit evicts nothing");
    }

    #[test]
    fn a_limit_of_zero_and_a_disk_that_takes_nothing_keep_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let none = KeptShards::new(&folder.path().join("none"), 0).job(job(1));
        none.keep(key(1), b"a shard");
        assert!(!none.folder.exists());
        let file = folder.path().join("file");
        fs::write(&file, b"not a folder").unwrap();
        let unusable = KeptShards::new(&file, LIMIT).job(job(1));
        unusable.keep(key(1), b"a shard");
        assert_eq!(unusable.find(key(1)), None);
    }
}
