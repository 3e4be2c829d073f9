//! Room for concurrent checks: their number, and the bytes of their proofs.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::memory_limit;

/// Proof bytes for each check that may run at once, in MiB. Only Core proofs of very long executions are larger; such
/// a proof takes the place of several others.
const MEBIBYTES_PER_CHECK: usize = 256;

/// Size of a proof for which the default number of checks has memory, in bytes.
const USUAL_PROOF: u64 = 64 << 20;

/// Room for checks. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    number: Arc<Semaphore>,
    mebibytes: Arc<Semaphore>,
    most: u32,
}

/// A place for one check, until this is dropped.
#[derive(Debug)]
pub(super) struct Place(#[allow(dead_code, reason = "held, not read")] [OwnedSemaphorePermit; 2]);

impl Room {
    /// Room for `number` checks at once.
    pub(super) fn new(number: usize) -> Self {
        let number = number.clamp(1, 1024);
        let mebibytes = number * MEBIBYTES_PER_CHECK;
        Self {
            number: Arc::new(Semaphore::new(number)),
            mebibytes: Arc::new(Semaphore::new(mebibytes)),
            most: mebibytes as u32,
        }
    }

    /// Waits for room for a proof of this size. A proof that is larger than all room is checked alone.
    pub(super) async fn take(&self, size: u64) -> Place {
        let mebibytes = size.div_ceil(1 << 20).clamp(1, self.most.into()) as u32;
        let number = Arc::clone(&self.number).acquire_owned().await;
        let bytes = Arc::clone(&self.mebibytes).acquire_many_owned(mebibytes).await;
        Place([number, bytes].map(|permit| permit.expect("the semaphores are never closed")))
    }
}

/// Default number of checks at once: half of the processors, because the other half serves clients and workers, but
/// no more than fit with their limits of memory into half of it.
pub(super) fn default_number(check_memory: u64) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    fitting(processors, memory_bytes(), memory_limit(check_memory, USUAL_PROOF))
}

/// Number of threads of each of `number` checks at once: together they have one for each processor.
pub(super) fn threads(number: usize) -> usize {
    shared_out(std::thread::available_parallelism().map_or(1, NonZero::get), number)
}

fn shared_out(processors: usize, number: usize) -> usize {
    (processors / number.max(1)).max(1)
}

fn fitting(processors: usize, memory: Option<u64>, each: u64) -> usize {
    let by_memory = memory
        .map_or(usize::MAX, |bytes| usize::try_from(bytes / 2 / each.max(1)).unwrap_or(usize::MAX));
    (processors / 2).min(by_memory).max(1)
}

/// Memory of this machine or container in bytes, if it is known.
fn memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_in(&text));
    machine.into_iter().chain(group_limit()).min()
}

/// Least limit of memory of this process's control group and of those around it.
fn group_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let folder = root.join(own);
    let limits = folder.ancestors().take_while(|folder| folder.starts_with(root));
    limits
        .filter_map(|it| std::fs::read_to_string(it.join("memory.max")).ok()?.trim().parse().ok())
        .min()
}

fn total_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn the_default_number_of_checks_grows_with_the_machine() {
        let gib = |number: u64| number << 30;
        assert_eq!(fitting(1, Some(gib(1)), gib(1)), 1);
        assert_eq!(fitting(16, Some(gib(64)), gib(1)), 8);
        assert_eq!(fitting(128, Some(gib(512)), gib(1)), 64);
        assert_eq!(fitting(128, Some(gib(16)), gib(1)), 8, "little memory");
        assert_eq!(fitting(8, None, gib(1)), 4, "unknown memory");
        assert_eq!(
            [(16, 8), (16, 1), (2, 4), (7, 3), (1, 0)].map(|(all, n)| shared_out(all, n)),
            [2, 16, 1, 2, 1]
        );
        assert_eq!(total_in("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16384));
        assert_eq!(total_in(""), None);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_are_counted_and_so_are_their_bytes() {
        let room = Room::new(2);
        let minute = Duration::from_secs(60);
        let (small, other) = (room.take(1).await, room.take(1 << 20).await);
        assert!(timeout(minute, room.take(1)).await.is_err(), "a third check");
        drop((small, other));
        let large = room.take(300 << 20).await;
        assert!(timeout(minute, room.take(300 << 20)).await.is_err(), "600 MiB");
        drop(timeout(minute, room.take(1)).await.expect("beside a large one"));
        drop(large);
        let huge = room.take(u64::MAX).await;
        assert!(timeout(minute, room.take(1)).await.is_err(), "beside one that takes all");
        drop(huge);
    }
}
