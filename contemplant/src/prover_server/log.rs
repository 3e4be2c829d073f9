//! The output of a prover server: passed on to this program's log, and parsed for version, memory and progress.

mod lines;
mod tasks;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network_lib::job::Memory;

pub(crate) use self::lines::Lines;
pub use self::tasks::Tasks;

/// Number of lines that are kept for the report of its end.
const KEPT: usize = 5;

/// Start of the first line of `sp1-gpu-server`, before its version.
const GREETING: &str = "Running sp1-gpu-server ";

/// The log of one server. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServerLog(Arc<Mutex<LogState>>);

#[derive(Debug, Default)]
struct LogState {
    last: VecDeque<String>,
    version: Option<String>,
    out_of_memory: Option<Memory>,
    tasks: Tasks,
}

impl ServerLog {
    /// Parses a line and passes it on.
    pub fn line(&self, line: &str) {
        pass_on(line);
        let mut known = self.lock();
        if let Some(rest) = line.split(GREETING).nth(1) {
            known.version = rest.split_whitespace().next().map(str::to_owned);
        }
        known.out_of_memory = known.out_of_memory.or(out_of_memory(line));
        if known.tasks.record(line) {
            return;
        }
        if known.last.len() == KEPT {
            known.last.pop_front();
        }
        known.last.push_back(line.to_owned());
    }

    /// The server's version, once it has been logged.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.lock().version.clone()
    }

    /// The memory that ran out according to the log, if any.
    #[must_use]
    pub fn out_of_memory(&self) -> Option<Memory> {
        self.lock().out_of_memory
    }

    /// Starts to count the tasks of a new proof.
    pub fn begin_proof(&self) {
        self.lock().tasks = Tasks::default();
    }

    /// The tasks of the current proof.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.lock().tasks
    }

    /// The last lines, for people.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let known = self.lock();
        if known.last.is_empty() {
            return "its log is empty".to_owned();
        }
        let lines: Vec<&str> = known.last.iter().map(String::as_str).collect();
        format!("its last log lines: {}", lines.join(" | "))
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that ran out according to a text of SP1 or CUDA, if any.
#[must_use]
pub fn out_of_memory(text: &str) -> Option<Memory> {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    // The last message of Rust's allocator.
    if has(&["memory allocation of"]) {
        return Some(Memory::Main);
    }
    has(&["out of gpu memory", "out of memory", "outofmemory"]).then_some(Memory::Gpu)
}

fn pass_on(line: &str) {
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if has(&["ERROR", "panicked", "WARN"]) {
        tracing::warn!(target: "prover_server", "{line}");
    } else if has(&["DEBUG", "TRACE"]) {
        tracing::debug!(target: "prover_server", "{line}");
    } else {
        tracing::info!(target: "prover_server", "{line}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_version_and_the_last_lines_are_remembered() {
        let log = ServerLog::default();
        assert_eq!(log.last_lines(), "its log is empty");
        log.line("Running sp1-gpu-server 6.10.0 with device 0");
        assert_eq!(log.version().unwrap(), "6.10.0");
        for number in 0..10 {
            log.line(&format!("line {number}"));
        }
        let lines = log.last_lines();
        assert!(lines.contains("line 9") && !lines.contains("line 4"), "{lines}");
        assert_eq!(log.version().unwrap(), "6.10.0");
    }

    #[test]
    fn texts_about_memory_are_recognised() {
        let of_gpu = Some(Memory::Gpu);
        assert_eq!(out_of_memory("prover error: out of GPU memory"), of_gpu);
        assert_eq!(out_of_memory("CudaRustError: out of memory"), of_gpu);
        let panic = "called `Result::unwrap()` on an `Err` value: OutOfMemory";
        assert_eq!(out_of_memory(panic), of_gpu);
        let of_rust = "memory allocation of 68719476736 bytes failed";
        assert_eq!(out_of_memory(of_rust), Some(Memory::Main));
        assert_eq!(out_of_memory("memory shard proved"), None);
    }
}
