//! SP1's files in shared memory.
//!
//! SP1 keeps a guest's memory and traces in `/dev/shm`, gigabytes of them, and removes the files itself, unless its
//! process is killed. What a killed process has left is removed here: it would take main memory until the machine
//! restarts.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::processes;

/// Where Linux keeps shared memory.
pub(crate) const FOLDER: &str = "/dev/shm";

/// Files that are younger may belong to a process that has created them and not mapped them yet.
const MIN_AGE: Duration = Duration::from_secs(2);

/// SP1's files that any of these processes has mapped.
pub(crate) fn mapped_by(processes: impl IntoIterator<Item = u32>) -> BTreeSet<PathBuf> {
    let maps = processes.into_iter().filter_map(|id| fs::read(format!("/proc/{id}/maps")).ok());
    maps.flat_map(|maps| files(&String::from_utf8_lossy(&maps))).collect()
}

/// Removes those of `files` that still exist.
pub(crate) fn remove(files: &BTreeSet<PathBuf>) {
    for file in files {
        if fs::remove_file(file).is_ok() {
            tracing::debug!(file = %file.display(), "removed shared memory of an ended process");
        }
    }
}

/// Removes SP1's files that belong to this user and are mapped by no process. Containers that share `/dev/shm` but not
/// their processes need a user each.
///
/// Blocks while it reads the memory maps of all processes.
#[allow(clippy::disallowed_methods, reason = "files have an age by the wall clock alone")]
pub(crate) fn sweep() {
    let left = left_over(Path::new(FOLDER), SystemTime::now());
    if left.is_empty() {
        return;
    }
    let mapped = mapped_by(processes::ids());
    let left: BTreeSet<PathBuf> = left.difference(&mapped).cloned().collect();
    if !left.is_empty() {
        tracing::info!(files = left.len(), "removing shared memory that an ended process has left");
    }
    remove(&left);
}

/// SP1's files of this user in `folder` that are old enough.
fn left_over(folder: &Path, now: SystemTime) -> BTreeSet<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_ours = |file: &Metadata| {
        let age = file.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        file.is_file() && file.uid() == user && age.is_some_and(|age| age >= MIN_AGE)
    };
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_of_sp1))
        .filter(|entry| entry.metadata().is_ok_and(|file| is_ours(&file)))
        .map(|entry| entry.path())
        .collect()
}

/// Whether SP1 names its files like this: memory and traces, and the semaphores of the trace ring.
fn is_of_sp1(name: &str) -> bool {
    name.starts_with("sp1_") || name.starts_with("sem.sp1_")
}

/// SP1's files in a `/proc/ID/maps`.
fn files(maps: &str) -> Vec<PathBuf> {
    let files = maps.lines().filter_map(|line| {
        let file = &line[line.find(FOLDER)?..];
        let file = file.strip_suffix(" (deleted)").unwrap_or(file);
        let name = file.strip_prefix(FOLDER)?.strip_prefix('/')?;
        is_of_sp1(name).then(|| PathBuf::from(file))
    });
    files.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn sp1_s_files_are_found_in_a_memory_map() {
        let maps = "\
            55d0-55d1 r--p 00000000 fd:01 131 /usr/bin/sp1_tool\n\
            7f00-7f80 rw-s 00000000 00:1a 12 /dev/shm/sp1_AbC-_m\n\
            7f80-7f81 rw-s 00000000 00:1a 13 /dev/shm/sem.sp1_AbC-_t_free (deleted)\n\
            7f82-7f83 rw-s 00000000 00:1a 14 /dev/shm/another\n\
            7ffc-7ffd rw-p 00000000 00:00 0 [stack]\n";
        let found = files(maps);
        let expected = ["/dev/shm/sp1_AbC-_m", "/dev/shm/sem.sp1_AbC-_t_free"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn only_old_files_of_sp1_are_left_over() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["sp1_a_m", "sem.sp1_a_t", "sp1_new_m", "mine"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        fs::create_dir(folder.path().join("sp1_folder")).unwrap();
        let now = SystemTime::now();
        assert!(left_over(folder.path(), now).is_empty());
        let later = now + MIN_AGE;
        fs::File::open(folder.path().join("sp1_new_m")).unwrap().set_modified(later).unwrap();
        let found: Vec<PathBuf> = left_over(folder.path(), later).into_iter().collect();
        assert_eq!(found, ["sem.sp1_a_t", "sp1_a_m"].map(|name| folder.path().join(name)));
    }

    #[test]
    fn an_abandoned_file_is_swept() {
        let file = Path::new(FOLDER).join(format!("sp1_test-{}_m", std::process::id()));
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::create(&file).unwrap().set_modified(old).unwrap();
        sweep();
        assert!(!file.exists());
    }
}
