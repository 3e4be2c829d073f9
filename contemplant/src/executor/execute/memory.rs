//! Main memory and executions: the limit of one, and whether the kernel has ended one for want of it.

use network_lib::job::{Failure, FailureClass, Memory, OutOfMemory};
use tokio::sync::Semaphore;

use crate::machine::memory_bytes;

/// The variable from which SP1 takes the memory limit of its native executor, in bytes.
pub(in crate::executor) const LIMIT: &str = "MEMORY_LIMIT";

/// SP1's own default for it.
const DEFAULT_LIMIT: u64 = 24 << 30;

/// Memory that a program may take when it is executed: what [`LIMIT`] says, else SP1's default, or three quarters of a
/// smaller machine's.
pub(in crate::executor) fn limit() -> u64 {
    if let Some(bytes) = std::env::var(LIMIT).ok().and_then(|bytes| bytes.parse().ok()) {
        return bytes;
    }
    match memory_bytes() {
        0 => DEFAULT_LIMIT,
        bytes => DEFAULT_LIMIT.min(bytes / 4 * 3),
    }
}

/// How many executions may run at once: as many as fit, each with its [`limit`], into three quarters of this machine's
/// memory. The rest is for this program and the prover servers, which must not be killed because two clients' programs
/// take much memory at the same time. One always may.
pub(in crate::executor) fn executions_at_once() -> usize {
    fitting(memory_bytes(), limit())
}

fn fitting(memory: u64, limit: u64) -> usize {
    match memory {
        0 => Semaphore::MAX_PERMITS,
        bytes => usize::try_from(bytes / 4 * 3 / limit.max(1))
            .map_or(1, |number| number.clamp(1, Semaphore::MAX_PERMITS)),
    }
}

/// Number of processes that the kernel has killed for want of memory since the machine started.
pub(in crate::executor) fn kills_by_kernel() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    kills_in(&text)
}

fn kills_in(vmstat: &str) -> u64 {
    let count = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// A failure of this machine because main memory ran out, of which the execution had `bytes`.
pub(in crate::executor) fn ran_out(reason: &str, bytes: u64) -> Failure {
    let out_of_memory =
        OutOfMemory { memory: Memory::Main, bytes: Some(bytes).filter(|bytes| *bytes > 0) };
    Failure {
        out_of_memory: Some(out_of_memory),
        ..Failure::new(FailureClass::Worker, format!("out of memory: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_at_once_fit_into_memory_together() {
        let gib = |number: u64| number << 30;
        assert_eq!(fitting(gib(16), gib(12)), 1);
        assert_eq!(fitting(gib(63), gib(24)), 1);
        assert_eq!(fitting(gib(64), gib(24)), 2);
        assert_eq!(fitting(gib(512), gib(24)), 16);
        assert_eq!(fitting(gib(64), gib(60)), 1, "a limit that an operator has set");
        assert_eq!(fitting(gib(64), gib(6)), 8);
        assert_eq!(fitting(0, gib(24)), Semaphore::MAX_PERMITS, "unknown memory");
    }

    #[test]
    fn the_kernel_s_count_is_read() {
        assert_eq!(kills_in("oom_kill_disable 0\noom_kill 12\nother 3\n"), 12);
        assert_eq!(kills_in(""), 0);
    }
}
