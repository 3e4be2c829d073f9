//! Main memory and executions: the limit of one, and whether the kernel has ended one for want of it.

use network_lib::job::{Failure, FailureClass, Memory, OutOfMemory};

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
    fn the_kernel_s_count_is_read() {
        assert_eq!(kills_in("oom_kill_disable 0\noom_kill 12\nother 3\n"), 12);
        assert_eq!(kills_in(""), 0);
    }
}
