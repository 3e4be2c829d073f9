//! A program under test as a child process: signals as the operating system sends them, its output in
//! a file, and no way to outlive its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};

/// Both programs read variables with these prefixes; a developer's own must not reach them.
const WITHHELD: [&str; 2] = ["HIEROPHANT_", "CONTEMPLANT_"];

/// A shell's line that starts the program and arguments behind it with as many open files as the system lets it
/// have. It is the same process afterwards.
pub(crate) const WITH_ALL_FILES: &str = r#"ulimit -n "$(ulimit -H -n)"; exec "$0" "$@""#;

/// Log lines shown of a process when a case falls short.
const TAIL_LINES: usize = 25;

/// Signals that the cases send, beside the SIGKILL of [`Process::kill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Asks to end.
    Terminate,
    /// Freezes: no code runs, sockets stay open.
    Stop,
    /// Ends a freeze.
    Continue,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `program --config FILE` with `variables`; what it writes is appended to `log`.
    pub(crate) fn spawn(
        name: &str,
        program: &Path,
        config: &Path,
        log: &Path,
        variables: &[(&str, PathBuf)],
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", WITH_ALL_FILES]).arg(program);
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if WITHHELD.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
        let child = command
            .arg("--config")
            .arg(config)
            .env("NO_COLOR", "1")
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share a log file")?)
            .stderr(output)
            .kill_on_drop(true)
            // A group of its own, so that a Ctrl-C in the terminal reaches the suite alone.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Sends a signal. The standard library can only kill; the shell's own `kill` does the rest
    /// without unsafe code.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().with_context(|| format!("{} has ended already", self.name))?;
        let line = format!("kill -{} {id}", signal.name());
        let sent =
            Command::new("sh").args(["-c", &line]).status().await.context("cannot run sh")?;
        ensure!(sent.success(), "cannot send SIG{} to {}", signal.name(), self.name);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.context("cannot wait for a child process"),
            Err(_) => bail!("{} has not ended within {} s", self.name, limit.as_secs()),
        }
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::Terminate).await?;
        self.ended(limit).await
    }

    /// Its id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// A log as text, empty if it is not there.
pub(crate) fn log_text(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

/// The last lines of every log in a folder.
pub(crate) fn log_tails(folder: &Path) -> String {
    let mut logs: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let mut tails = String::new();
    for log in logs {
        let text = log_text(&log);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        let name = log.file_stem().unwrap_or_default().to_string_lossy();
        tails.push_str(&format!("  last lines of {name}:\n    {tail}\n"));
    }
    tails
}
