//! What a prover server writes: passed on to this program's log, and read for what it tells of versions,
//! memory and progress.

mod lines;
mod tasks;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network_lib::job::Memory;

pub(crate) use self::lines::Lines;
pub use self::tasks::Tasks;

/// How many lines are kept for the report of its end.
const KEPT: usize = 5;

/// What `sp1-gpu-server` writes first: its version follows.
const GREETING: &str = "Running sp1-gpu-server ";

/// The log of one server. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServerLog(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    last: VecDeque<String>,
    version: Option<String>,
    out_of_memory: Option<Memory>,
    tasks: Tasks,
}

impl ServerLog {
    /// Takes note of a line and passes it on.
    pub fn line(&self, line: &str) {
        pass_on(line);
        let mut known = self.lock();
        if let Some(rest) = line.split(GREETING).nth(1) {
            known.version = rest.split_whitespace().next().map(str::to_owned);
        }
        known.out_of_memory = known.out_of_memory.or(tells_of_memory(line));
        if known.tasks.note(line) {
            return;
        }
        if known.last.len() == KEPT {
            known.last.pop_front();
        }
        known.last.push_back(line.to_owned());
    }

    /// The server's version, once it has said so.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.lock().version.clone()
    }

    /// Which memory it has said to have run out, if it has.
    #[must_use]
    pub fn tells_of_memory(&self) -> Option<Memory> {
        self.lock().out_of_memory
    }

    /// Begins to count tasks anew.
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
    pub fn last_words(&self) -> String {
        let known = self.lock();
        if known.last.is_empty() {
            return "it wrote nothing".to_owned();
        }
        let lines: Vec<&str> = known.last.iter().map(String::as_str).collect();
        format!("its last words: {}", lines.join(" | "))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which memory has run out according to a text of SP1's or CUDA's, if it says so.
#[must_use]
pub fn tells_of_memory(text: &str) -> Option<Memory> {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    // What Rust's allocator says last.
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
    fn the_version_and_the_last_words_are_remembered() {
        let log = ServerLog::default();
        assert_eq!(log.last_words(), "it wrote nothing");
        log.line("Running sp1-gpu-server 6.10.0 with device 0");
        assert_eq!(log.version().unwrap(), "6.10.0");
        for number in 0..10 {
            log.line(&format!("line {number}"));
        }
        let words = log.last_words();
        assert!(words.contains("line 9") && !words.contains("line 4"), "{words}");
        assert_eq!(log.version().unwrap(), "6.10.0");
    }

    #[test]
    fn words_about_memory_are_understood() {
        let of_gpu = Some(Memory::Gpu);
        assert_eq!(tells_of_memory("prover error: out of GPU memory"), of_gpu);
        assert_eq!(tells_of_memory("CudaRustError: out of memory"), of_gpu);
        let panic = "called `Result::unwrap()` on an `Err` value: OutOfMemory";
        assert_eq!(tells_of_memory(panic), of_gpu);
        let of_rust = "memory allocation of 68719476736 bytes failed";
        assert_eq!(tells_of_memory(of_rust), Some(Memory::Main));
        assert_eq!(tells_of_memory("memory shard proved"), None);
    }
}
