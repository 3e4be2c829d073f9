//! The output of a prover server: passed on to this program's log, and parsed for version, trouble, memory and
//! progress.

mod lines;
mod tasks;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network_lib::job::Memory;
use tokio::time::Instant;

pub(crate) use self::lines::Lines;
pub use self::tasks::Tasks;

/// Number of lines that are kept for reports of failures.
const KEPT: usize = 20;

/// Number of lines in such a report.
const REPORTED: usize = 5;

/// Longest part of a line in such a report, in characters.
const MAX_REPORTED: usize = 300;

/// Start of the first line of `sp1-gpu-server`, before its version.
const GREETING: &str = "Running sp1-gpu-server ";

/// Starts of the lines that SP1 prints for a guest. The guest's author controls the rest of them.
const GUEST: [&str; 2] = ["stdout: ", "stderr: "];

/// Parts of the lines that each ping causes.
const PING: [&str; 3] = ["Connection accepted", "Destroying key", "Connection disconnected"];

/// Parts of the lines after which the server cannot finish the proof in progress. After most of them SP1 answers with
/// an error. After a panic it does not: the proof has no end, while other connections are served.
const TROUBLE: [&str; 7] = [
    "panicked at",
    "task panicked",
    "task failed with fatal error",
    "exhausted its retry budget",
    "CoreExecute: task failed",
    "Controller: task failed",
    "AllocError",
];

/// Lower-case parts of the lines about the killed process in which SP1 executes a program: messages and `Debug` texts.
const EXECUTOR_KILLED: [&str; 4] =
    ["killed externally", "childkilled", "killed by memory monitor", "killedbymemorymonitor"];

/// Lower-case parts of the lines about exhausted GPU memory.
const NO_GPU_MEMORY: [&str; 4] =
    ["out of gpu memory", "out of memory", "outofmemory", "allocerror"];

/// The log of one server. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServerLog(Arc<Mutex<LogState>>);

#[derive(Debug, Default)]
struct LogState {
    last: VecDeque<LogLine>,
    /// Whether the next line is the message of a panic.
    panicked: bool,
    version: Option<String>,
    trouble: Option<Trouble>,
    out_of_memory: Option<Memory>,
    tasks: Tasks,
}

#[derive(Debug)]
struct LogLine {
    text: String,
    /// Whether it reports a fault.
    is_serious: bool,
}

/// The first line after which the server cannot finish the proof in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The line.
    pub line: String,
    /// When it was read.
    pub at: Instant,
}

impl ServerLog {
    /// Parses a line and passes it on.
    pub fn line(&self, line: &str) {
        let weight = Weight::of(line);
        weight.pass_on(line);
        // A guest must not be able to end its proof as this machine's failure.
        if starts_with_any(line, &GUEST) {
            return;
        }
        let mut known = self.lock();
        if let Some(rest) = line.split(GREETING).nth(1) {
            known.version = rest.split_whitespace().next().map(str::to_owned);
        }
        known.out_of_memory = known.out_of_memory.or(out_of_memory(line));
        if known.trouble.is_none() && is_trouble(line) {
            known.trouble = Some(Trouble { line: line.to_owned(), at: Instant::now() });
        }
        if known.tasks.record(line) || is_of_ping(line) {
            return;
        }
        let is_serious = weight == Weight::Serious || known.panicked;
        known.panicked = line.contains("panicked at");
        if known.last.len() == KEPT {
            known.last.pop_front();
        }
        known.last.push_back(LogLine { text: line.to_owned(), is_serious });
    }

    /// The server's version, once it has been logged.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.lock().version.clone()
    }

    /// The trouble since the current proof began, if any.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.clone()
    }

    /// The memory that has run out since the current proof began, if any.
    #[must_use]
    pub fn out_of_memory(&self) -> Option<Memory> {
        self.lock().out_of_memory
    }

    /// Begins a new proof: counts its tasks, and forgets earlier trouble, which it is not to blame for.
    pub fn begin_proof(&self) {
        let mut known = self.lock();
        known.tasks = Tasks::default();
        known.trouble = None;
        known.out_of_memory = None;
    }

    /// The tasks of the current proof.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.lock().tasks
    }

    /// A failure's reason with the last lines, if there are any: those of an external server are not known.
    #[must_use]
    pub fn explain(&self, reason: &str) -> String {
        if self.lock().last.is_empty() {
            return reason.to_owned();
        }
        format!("{reason}; {}", self.last_lines())
    }

    /// The last lines, for people: the first trouble, what reports faults, and what was logged last in the remaining
    /// places.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let known = self.lock();
        if known.last.is_empty() {
            return "its log is empty".to_owned();
        }
        let serious = known.last.iter().filter(|line| line.is_serious).count().min(REPORTED);
        let (mut serious_places, mut other_places) = (serious, REPORTED - serious);
        let has_place = |line: &&LogLine| {
            let places = if line.is_serious { &mut serious_places } else { &mut other_places };
            let has_place = *places > 0;
            *places = places.saturating_sub(1);
            has_place
        };
        let mut lines: Vec<&str> =
            known.last.iter().rev().filter(has_place).map(|line| line.text.as_str()).collect();
        // Readers may cut a long text, so the cause comes first.
        if let Some(cause) = known.trouble.as_ref().map(|trouble| trouble.line.as_str()) {
            lines.retain(|line| *line != cause);
            lines.push(cause);
        }
        let lines: Vec<String> = lines.into_iter().rev().map(shortened).collect();
        format!("its last log lines: {}", lines.join(" | "))
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It reports a fault.
    Serious,
    /// It belongs in a log.
    Usual,
    /// It only helps to debug.
    Detail,
}

impl Weight {
    fn of(line: &str) -> Self {
        if starts_with_any(line, &GUEST) {
            Self::Detail
        } else if contains_any(line, &["ERROR", "panicked", "WARN"]) {
            Self::Serious
        } else if contains_any(line, &["DEBUG", "TRACE"]) || is_of_ping(line) {
            Self::Detail
        } else {
            Self::Usual
        }
    }

    /// Writes the line to this program's log, at the level of its weight.
    fn pass_on(self, line: &str) {
        match self {
            Self::Serious => tracing::warn!(target: "prover_server", "{line}"),
            Self::Usual => tracing::info!(target: "prover_server", "{line}"),
            Self::Detail => tracing::debug!(target: "prover_server", "{line}"),
        }
    }
}

/// The memory that ran out according to a text of SP1 or CUDA, if any.
#[must_use]
pub fn out_of_memory(text: &str) -> Option<Memory> {
    let text = text.to_lowercase();
    // The last message of Rust's allocator.
    if text.contains("memory allocation of") || contains_any(&text, &EXECUTOR_KILLED) {
        return Some(Memory::Main);
    }
    contains_any(&text, &NO_GPU_MEMORY).then_some(Memory::Gpu)
}

fn is_trouble(line: &str) -> bool {
    contains_any(line, &TROUBLE) || contains_any(&line.to_lowercase(), &EXECUTOR_KILLED)
}

fn is_of_ping(line: &str) -> bool {
    contains_any(line, &PING) && !contains_any(line, &["ERROR", "WARN"])
}

fn contains_any(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

fn starts_with_any(text: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| text.starts_with(start))
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(MAX_REPORTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const AT: &str = "2026-01-01T00:00:00.000000Z";
    const PANIC: &str =
        "thread 'tokio-rt-worker' panicked at crates/shard_prover/src/prover.rs:82:14:";

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
    fn what_reports_a_fault_is_reported_before_what_was_logged_later() {
        let log = ServerLog::default();
        log.line(PANIC);
        log.line("called `Result::unwrap()` on an `Err` value: Elsewhere");
        for number in 0..10 {
            log.line(&format!("{AT} INFO line {number}"));
        }
        let expected = format!(
            "its last log lines: {PANIC} | called `Result::unwrap()` on an `Err` value: Elsewhere | \
             {AT} INFO line 7 | {AT} INFO line 8 | {AT} INFO line 9"
        );
        assert_eq!(log.last_lines(), expected);
        // The first trouble is reported, and first, even if much followed.
        for number in 0..30 {
            log.line(&format!("{AT} ERROR later {number}"));
        }
        let lines = log.last_lines();
        assert!(lines.starts_with(&format!("its last log lines: {PANIC} | ")), "{lines}");
        assert!(lines.ends_with("ERROR later 29") && !lines.contains("later 24"), "{lines}");
    }

    #[test]
    fn pings_do_not_push_out_other_lines() {
        let log = ServerLog::default();
        log.line(&format!("{AT} INFO sp1_gpu_server: Server listening"));
        for _ in 0..KEPT {
            for part in PING {
                let line = format!("{AT} INFO sp1_gpu_server::server: {part}");
                assert_eq!(Weight::of(&line), Weight::Detail);
                log.line(&line);
            }
        }
        assert_eq!(
            log.last_lines(),
            format!("its last log lines: {AT} INFO sp1_gpu_server: Server listening")
        );
        assert_eq!(Weight::of("ERROR Connection accepted too late"), Weight::Serious);
    }

    #[test]
    fn a_long_line_is_shortened_in_reports() {
        let log = ServerLog::default();
        log.line(&"ä".repeat(3000));
        assert!(log.last_lines().chars().count() < MAX_REPORTED + 50);
    }

    #[test]
    fn trouble_is_recognised_and_forgotten_at_the_next_proof() {
        let init = "sp1_prover::worker::node::full::init";
        let lines = [
            (PANIC.to_owned(), None),
            (format!("{AT} ERROR ProveShard{{task_id=t}}: {init}: task panicked: Panic"), None),
            (format!("{AT} ERROR {init}: Controller: task failed: Fatal(x)"), None),
            (
                format!("{AT} ERROR {init}: CoreExecute: task failed: Execution(ChildKilled)"),
                Some(Memory::Main),
            ),
            (
                "executor child killed by memory monitor (measured 25600 MB)".to_owned(),
                Some(Memory::Main),
            ),
            (
                "AllocError { layout: Layout { size: 9, align: 8 (1 << 3) } }".to_owned(),
                Some(Memory::Gpu),
            ),
        ];
        for (line, memory) in lines {
            let log = ServerLog::default();
            log.line("INFO unrelated");
            assert_eq!(log.trouble(), None);
            log.line(&line);
            assert_eq!(log.trouble().unwrap().line, line);
            assert_eq!(log.out_of_memory(), memory, "{line}");
            log.begin_proof();
            assert_eq!((log.trouble(), log.out_of_memory()), (None, None));
        }
    }

    #[test]
    fn a_guest_cannot_fake_trouble() {
        let log = ServerLog::default();
        for line in ["stderr: thread panicked at src/main.rs", "stdout: AllocError, out of memory"]
        {
            log.line(line);
        }
        assert_eq!((log.trouble(), log.out_of_memory()), (None, None));
        assert_eq!(log.last_lines(), "its log is empty");
    }

    #[test]
    fn a_failure_is_explained_by_the_log_if_there_is_one() {
        let log = ServerLog::default();
        assert_eq!(log.explain("it failed"), "it failed");
        log.line("ERROR cause");
        assert_eq!(log.explain("it failed"), "it failed; its last log lines: ERROR cause");
    }

    #[test]
    fn texts_about_memory_are_recognised() {
        let of_gpu = Some(Memory::Gpu);
        assert_eq!(out_of_memory("prover error: out of GPU memory"), of_gpu);
        assert_eq!(out_of_memory("CudaRustError: out of memory"), of_gpu);
        let panic = "called `Result::unwrap()` on an `Err` value: OutOfMemory";
        assert_eq!(out_of_memory(panic), of_gpu);
        let panic = "called `Result::unwrap()` on an `Err` value: AllocError { layout: Layout }";
        assert_eq!(out_of_memory(panic), of_gpu);
        let of_rust = "memory allocation of 68719476736 bytes failed";
        assert_eq!(out_of_memory(of_rust), Some(Memory::Main));
        let of_executor = "child executor process was killed externally";
        assert_eq!(out_of_memory(of_executor), Some(Memory::Main));
        assert_eq!(out_of_memory("memory shard proved"), None);
    }
}
