//! What this machine has, and whether that suffices: memory, `/dev/shm`, folders that allow execution, free space.
//!
//! Each check is one [`Finding`]. `contemplant doctor` prints them all. A failed one is an obstacle to every proof:
//! the worker offers nothing while there is one, because a job would only fail.

mod container;
mod folder;
mod memory;
mod processor;
mod shm;

use std::path::PathBuf;

use network_lib::job::ProofMode;
use network_lib::processor::Build;

pub use self::memory::MainMemory;
use crate::config::{BackendChoice, Config};

/// Whether SP1 executes programs in a child process, over `/dev/shm`, with a runner that it writes to the temporary
/// folder, which is in the data folder. On other processors it interprets them in its own process.
const NATIVE: bool = cfg!(all(target_arch = "x86_64", target_os = "linux"));

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check, in one word or two.
    pub what: &'static str,
    /// Whether it has passed.
    pub verdict: Verdict,
    /// What was found; unless the check has passed, also what to do.
    pub text: String,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Passed,
    /// The worker can work, but slower than it might, or not with every program.
    Warning,
    /// The worker cannot work.
    Failed,
}

impl Finding {
    /// A check that has passed.
    #[must_use]
    pub fn passed(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Passed, text: text.into() }
    }

    /// A check with a warning.
    #[must_use]
    pub fn warning(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Warning, text: text.into() }
    }

    /// A failed check.
    #[must_use]
    pub fn failed(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Failed, text: text.into() }
    }

    /// A check that has passed, or has failed for the given reason.
    #[must_use]
    pub fn of(what: &'static str, outcome: Result<String, String>) -> Self {
        match outcome {
            Ok(text) => Self::passed(what, text),
            Err(text) => Self::failed(what, text),
        }
    }
}

/// The machine, or a folder that stands in for its root.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self::at("/")
    }
}

/// What the configured backend needs of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Whether proofs are made in this process, which takes the most main memory.
    proves_here: bool,
    /// Whether other proofs than Core are offered.
    beyond_core: bool,
    /// Number of executions at a time.
    executions: usize,
    /// The folder of this installation, which contains every temporary folder.
    data_dir: PathBuf,
}

impl Needs {
    /// What `config` needs to execute this number of programs at a time.
    #[must_use]
    pub fn of(config: &Config, executions: usize) -> Self {
        Self {
            proves_here: config.backend == BackendChoice::Cpu,
            beyond_core: config.wanted_modes().iter().any(|mode| *mode != ProofMode::Core),
            executions,
            data_dir: config.data_dir.clone(),
        }
    }
}

impl Machine {
    /// The machine whose root folder is `root`; for tests, any other than `/`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Carries out every check. Blocks, for a script that is run in each folder of programs.
    #[must_use]
    pub fn examine(&self, needs: &Needs) -> Vec<Finding> {
        let mut findings = vec![
            memory::judge(self.memory(), needs.proves_here, needs.beyond_core),
            folder::judge_space(&needs.data_dir),
            processor::judge(Build::of_this_program(), Build::of_this_machine(), needs.proves_here),
        ];
        if NATIVE {
            findings.push(folder::judge_programs(&needs.data_dir));
            findings.push(shm::judge(self.shm(), needs.executions));
        }
        findings
    }

    /// Why this machine cannot prove, with the remedies; none if it can. Blocks as [`Self::examine`] does.
    #[must_use]
    pub fn obstacle(&self, needs: &Needs) -> Option<String> {
        obstacle_in(self.examine(needs))
    }
}

/// Main memory that this process can use, in bytes: that of the machine, or the limit of its control group. 0 if
/// unknown.
#[must_use]
pub fn memory_bytes() -> u64 {
    Machine::default().memory().bytes()
}

/// The texts of failed checks.
fn obstacle_in(findings: Vec<Finding>) -> Option<String> {
    let failed = findings.into_iter().filter(|finding| finding.verdict == Verdict::Failed);
    let texts: Vec<String> = failed.map(|finding| finding.text).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// A size for people.
fn size(bytes: u64) -> String {
    if bytes < 1 << 30 { format!("{} MiB", bytes >> 20) } else { format!("{} GiB", bytes >> 30) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_failed_checks_are_obstacles() {
        let passed = || Finding::passed("memory", "64 GiB");
        let warning = || Finding::warning("shm", "2 GiB: make it 8 GiB");
        assert_eq!(obstacle_in(vec![passed(), warning()]), None);
        let failed = |text: &str| Finding::failed("temp", text);
        let found = obstacle_in(vec![failed("/tmp is full"), passed(), failed("no memory")]);
        assert_eq!(found.unwrap(), "/tmp is full; no memory");
    }

    #[test]
    fn the_backend_decides_what_is_needed() {
        let mut config = Config::for_test("ws://127.0.0.1:1/ws", "/data");
        let mock = Needs::of(&config, 1);
        assert!(!mock.proves_here && mock.beyond_core);
        config.backend = BackendChoice::Cpu;
        config.modes = Some(vec![ProofMode::Core]);
        let cpu = Needs::of(&config, 1);
        assert!(cpu.proves_here && !cpu.beyond_core);
    }

    #[test]
    fn this_machine_is_examined_as_a_whole() {
        let data = tempfile::tempdir().unwrap();
        let config = Config::for_test("ws://127.0.0.1:1/ws", data.path().join("not there yet"));
        let findings = Machine::default().examine(&Needs::of(&config, 1));
        let names: Vec<&str> = findings.iter().map(|finding| finding.what).collect();
        assert_eq!(names[..3], ["memory", "disk", "processor"]);
        assert_eq!(names.contains(&"shm"), NATIVE);
        assert!(!data.path().join("not there yet").exists(), "a check creates no folder");
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "a file was left behind");
    }
}
