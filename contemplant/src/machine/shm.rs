//! `/dev/shm`, through which SP1 hands a program's memory and traces between processes.

use std::io;

use super::{Finding, Machine, size};

/// Least size. Docker's default of 64 MiB holds the smallest programs only; beyond it the execution is killed, and with
/// it perhaps this process.
const LEAST_BYTES: u64 = 1 << 30;

/// Least free space: with less, not even the head of an execution's files is sure to fit.
const LEAST_FREE_BYTES: u64 = 64 << 20;

/// What the execution of a long program fills: most of a ring of two traces of up to 2.2 GiB.
const RING_BYTES: u64 = 4 << 30;

/// Size and free space in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedMemory {
    total: u64,
    free: u64,
}

impl Machine {
    /// Size and free space of `/dev/shm`.
    pub(super) fn shm(&self) -> io::Result<SharedMemory> {
        let found = fs4::statvfs(self.root.join("dev/shm"))?;
        Ok(SharedMemory { total: found.total_space(), free: found.available_space() })
    }
}

/// Whether shared memory suffices for this number of executions at a time: a ring for each, and as much as another for
/// programs with much memory.
pub(super) fn judge(found: io::Result<SharedMemory>, executions: usize) -> Finding {
    let what = "shm";
    let remedy = "make it larger (Docker: `--shm-size 16g`, Compose: `shm_size: 16gb`, Kubernetes: an \
                  `emptyDir` of medium Memory at /dev/shm, otherwise: `mount -o remount,size=16g /dev/shm`)";
    let SharedMemory { total, free } = match found {
        Ok(found) => found,
        Err(error) => {
            let text = format!("/dev/shm cannot be used ({error}): mount a tmpfs there");
            return Finding::failed(what, text);
        }
    };
    let recommended = RING_BYTES * (executions as u64 + 1);
    if total < LEAST_BYTES {
        let (has, least) = (size(total), size(LEAST_BYTES));
        let text = format!("/dev/shm has {has}: expected at least {least}; {remedy}");
        return Finding::failed(what, text);
    }
    if free < LEAST_FREE_BYTES {
        let text = format!(
            "/dev/shm is full, {} of {} are free: remove what other programs have left there, or {remedy}",
            size(free),
            size(total)
        );
        return Finding::failed(what, text);
    }
    if total < recommended {
        let (has, wanted) = (size(total), size(recommended));
        let text = format!("/dev/shm has {has}: long programs need up to {wanted}; {remedy}");
        return Finding::warning(what, text);
    }
    Finding::passed(what, format!("/dev/shm has {}, {} are free", size(total), size(free)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::machine::Verdict;

    fn of(total: u64, free: u64, executions: usize) -> Finding {
        judge(Ok(SharedMemory { total, free }), executions)
    }

    #[test]
    fn docker_s_default_is_refused_with_the_remedy() {
        let found = of(64 << 20, 64 << 20, 1);
        assert_eq!(found.verdict, Verdict::Failed);
        assert!(found.text.contains("has 64 MiB: expected at least 1 GiB"), "{}", found.text);
        assert!(found.text.contains("`--shm-size 16g`"), "{}", found.text);
    }

    #[test]
    fn what_does_for_small_programs_is_a_warning_and_grows_with_the_executions() {
        assert_eq!(of(1 << 30, 1 << 30, 1).verdict, Verdict::Warning);
        assert_eq!(of(8 << 30, 8 << 30, 1).verdict, Verdict::Passed);
        assert_eq!(of(8 << 30, 8 << 30, 2).verdict, Verdict::Warning);
        assert_eq!(of(36 << 30, 36 << 30, 8).verdict, Verdict::Passed);
    }

    #[test]
    fn a_full_one_is_an_obstacle_however_large_it_is() {
        let full = of(16 << 30, 1 << 20, 1);
        assert_eq!(full.verdict, Verdict::Failed);
        assert!(full.text.contains("/dev/shm is full, 1 MiB of 16 GiB are free"), "{}", full.text);
    }

    #[test]
    fn a_missing_one_is_named() {
        let root = tempfile::tempdir().unwrap();
        let missing = judge(Machine::at(root.path()).shm(), 1);
        assert_eq!(missing.verdict, Verdict::Failed);
        assert!(missing.text.contains("mount a tmpfs there"), "{}", missing.text);
        std::fs::create_dir_all(root.path().join("dev/shm")).unwrap();
        assert!(Machine::at(root.path()).shm().unwrap().total > 0);
    }
}
