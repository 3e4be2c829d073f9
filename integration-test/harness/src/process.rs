//! A program as a child process: its output goes to a file, its end is noticed and explained, and it never
//! outlives its owner.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};

/// Longest time a program may take to stop after SIGTERM.
pub const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Prefixes of the variables that the programs read: a developer's own must not reach a test.
const WITHHELD: [&str; 3] = ["HIEROPHANT_", "CONTEMPLANT_", "OTEL_"];

/// Lines of a log that are shown when something fails.
const TAIL_LINES: usize = 25;

/// Signals that tests send, in addition to the SIGKILL of [`Process::kill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
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

/// A program that can be started, ended and started again. Dropping it kills the running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    core: Option<usize>,
    variables: Vec<(&'static str, OsString)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Prepares a program that is not started yet; everything it writes is appended to `log`.
    #[must_use]
    pub fn new(name: &str, program: &Path, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: Vec::new(),
            core: None,
            variables: Vec::new(),
            log: log.to_owned(),
            child: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Pins it to a core of this machine, counted from 0, from its next start on. `taskset` does it, of Debian's `util-linux`.
    pub const fn pin(&mut self, core: usize) {
        self.core = Some(core);
    }

    /// Sets variables of its environment, from its next start on.
    pub fn set_variables(&mut self, variables: &[(&'static str, OsString)]) {
        self.variables = variables.to_vec();
    }

    /// Starts it. A process that still runs is killed.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let output = File::options().create(true).append(true).open(&self.log);
        let output = output.with_context(|| format!("cannot write {}", self.log.display()))?;
        // `taskset` becomes the program: the process stays the same.
        let mut command = match self.core {
            None => Command::new(&self.program),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &core.to_string()]).arg(&self.program);
                command
            }
        };
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if WITHHELD.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
        let child = command
            .args(&self.arguments)
            .env("NO_COLOR", "1")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share a log file")?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| match self.core {
                None => format!("cannot start {}", self.program.display()),
                Some(_) => format!("cannot start {} by taskset", self.program.display()),
            })?;
        self.child = Some(child);
        Ok(())
    }

    /// Name given at the start, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Operating-system id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Fails if it has ended, with the last lines it wrote.
    ///
    /// # Errors
    ///
    /// See above.
    pub fn check_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut();
        let child = child.with_context(|| format!("{} does not run", self.name))?;
        if let Some(status) = child.try_wait().context("cannot watch a child process")? {
            bail!("{} has ended unexpectedly ({status}); {}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Sends a signal. The standard library can only kill; the shell's own `kill` does the rest without
    /// unsafe code.
    ///
    /// # Errors
    ///
    /// When it does not run, or the system refuses.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.id().with_context(|| format!("{} does not run", self.name))?;
        let line = format!("kill -{} {id}", signal.name());
        let sent = Command::new("sh").args(["-c", &line]).status().await;
        let sent = sent.context("cannot run sh to send a signal")?;
        ensure!(sent.success(), "cannot send SIG{} to {}", signal.name(), self.name);
        Ok(())
    }

    /// Kills it (SIGKILL), as a crash would, and waits for its end.
    ///
    /// # Errors
    ///
    /// When it was not started, or the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.take()?;
        child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Waits for its end, and kills it if it has not ended within `limit`.
    ///
    /// # Errors
    ///
    /// When it was not started, or had to be killed.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut child = self.take()?;
        if let Ok(status) = tokio::time::timeout(limit, child.wait()).await {
            return status.context("cannot wait for a child process");
        }
        child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
        bail!("{} did not end within {} s and was killed", self.name, limit.as_secs());
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    ///
    /// When it does not run, or had to be killed.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::Terminate).await?;
        self.ended(limit).await
    }

    /// Asks it to end, which it must do cleanly.
    ///
    /// # Errors
    ///
    /// When it does not run, had to be killed, or ended with anything but exit code 0; with the last lines it
    /// wrote.
    pub async fn stop(&mut self) -> Result<()> {
        self.stop_within(STOP_LIMIT).await
    }

    async fn stop_within(&mut self, limit: Duration) -> Result<()> {
        self.check_alive()?;
        let status = self.terminate(limit).await.with_context(|| self.log_tail())?;
        ensure!(
            status.success(),
            "{} did not stop cleanly ({status}); {}",
            self.name,
            self.log_tail()
        );
        Ok(())
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        log_text(&self.log)
    }

    /// The last lines it wrote, with a heading.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.name, &self.log_text())
    }

    fn take(&mut self) -> Result<Child> {
        self.child.take().with_context(|| format!("{} does not run", self.name))
    }
}

/// A log as text, empty if it is not there.
#[must_use]
pub fn log_text(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

/// The last lines of every log in a folder.
#[must_use]
pub fn log_tails(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut logs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let tails = logs
        .iter()
        .map(|log| tail(&log.file_stem().unwrap_or_default().to_string_lossy(), &log_text(log)));
    tails.collect::<Vec<_>>().join("\n")
}

fn tail(name: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return format!("{name} wrote nothing");
    }
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("last lines of {name}:\n    {}", last.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    const LIMIT: Duration = Duration::from_secs(10);

    fn sleeper(script: &str, folder: &Path) -> Process {
        let file = folder.join("script.sh");
        std::fs::write(&file, script).expect("write");
        let log = folder.join("log");
        let mut sleeper = Process::new("sleeper", Path::new("sh"), &log).argument(file);
        sleeper.start().expect("starts");
        sleeper
    }

    async fn has_written(child: &Process, text: &str) {
        wait::until("the child's words", LIMIT, async || {
            Ok(child.log_text().contains(text).then_some(()))
        })
        .await
        .expect("written");
    }

    #[tokio::test]
    async fn a_child_that_ends_by_itself_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().expect("folder");
        let mut child = sleeper("echo farewell; exit 3", folder.path());
        let error = wait::until("its end", LIMIT, async || Ok(child.check_alive().err()))
            .await
            .expect("ends");
        let text = error.to_string();
        assert!(text.contains("sleeper has ended unexpectedly (exit status: 3)"), "{text}");
        assert!(text.contains("farewell"), "{text}");
    }

    #[tokio::test]
    async fn sigterm_stops_a_child_that_listens() {
        let folder = tempfile::tempdir().expect("folder");
        let mut child =
            sleeper("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done", folder.path());
        has_written(&child, "ready").await;
        child.stop_within(LIMIT).await.expect("stops cleanly");
    }

    #[tokio::test]
    async fn a_child_that_does_not_listen_is_killed_and_named() {
        let folder = tempfile::tempdir().expect("folder");
        let mut child =
            sleeper("trap '' TERM; echo ready; while :; do sleep 0.05; done", folder.path());
        has_written(&child, "ready").await;
        let stopping = child.stop_within(Duration::from_millis(300));
        let error = format!("{:#}", stopping.await.expect_err("must be killed"));
        assert!(error.contains("sleeper did not end within 0 s and was killed"), "{error}");
        assert!(!child.is_alive());
    }
}
