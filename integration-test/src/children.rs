//! A program run as a child process: its output goes to a file, its death is noticed and explained,
//! and it never outlives its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// How long a child may take to stop after SIGTERM.
pub const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Log lines shown of a child that went wrong.
const TAIL_LINES: usize = 25;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts `program` with `arguments`; everything it writes is appended to `log`.
    ///
    /// Variables of this process whose name starts with one of `withheld` are not passed on, so that
    /// a developer's own settings do not leak into a test; those of `environment` are added.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(
        name: &str,
        program: &Path,
        arguments: &[&Path],
        withheld: &[&str],
        environment: &[(&str, String)],
        log: &Path,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log of {name}, {}", log.display()))?;
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if withheld.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
        let child = command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share a log file")?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Operating-system id, none once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails if the child has ended, with the last lines it wrote.
    ///
    /// # Errors
    ///
    /// See above.
    pub fn check_alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("cannot look after a child process")?
        else {
            return Ok(());
        };
        bail!("{} has ended by itself ({status}); {}", self.name, self.log_tail());
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines it wrote, with a heading.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return format!("{} wrote nothing", self.name);
        }
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("last lines of {}:\n    {}", self.name, tail.join("\n    "))
    }

    /// Asks it to stop (SIGTERM), kills it if it has not within `limit`.
    ///
    /// # Errors
    ///
    /// When it had to be killed, or ended with anything but exit code 0.
    pub async fn stop(&mut self, limit: Duration) -> Result<()> {
        self.check_alive()?;
        self.terminate().await?;
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => {
                let status: ExitStatus = status.context("cannot wait for a child process")?;
                if !status.success() {
                    bail!("{} did not stop cleanly ({status}); {}", self.name, self.log_tail());
                }
                Ok(())
            }
            Err(_) => {
                self.kill().await?;
                bail!(
                    "{} did not stop within {} s of SIGTERM and was killed; {}",
                    self.name,
                    limit.as_secs(),
                    self.log_tail()
                );
            }
        }
    }

    /// Kills it at once (SIGKILL), as a crash would, and waits for its end.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// The standard library can only kill; the shell's own `kill` sends a signal without a crate of
    /// system calls.
    async fn terminate(&self) -> Result<()> {
        let Some(id) = self.child.id() else {
            return Ok(());
        };
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -TERM {id}")])
            .status()
            .await
            .context("cannot run sh to send SIGTERM")?;
        if !sent.success() {
            bail!("cannot send SIGTERM to {}", self.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(script: &str, folder: &Path) -> ChildProcess {
        let file = folder.join("script.sh");
        std::fs::write(&file, script).expect("write");
        ChildProcess::spawn(
            "sleeper",
            Path::new("sh"),
            &[&file],
            &["SLEEPER_"],
            &[],
            &folder.join("log"),
        )
        .expect("starts")
    }

    async fn has_written(child: &ChildProcess, text: &str) {
        crate::wait::until("the child's words", Duration::from_secs(10), async || {
            Ok(child.log_text().contains(text).then_some(()))
        })
        .await
        .expect("written");
    }

    #[tokio::test]
    async fn a_child_that_ends_by_itself_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().expect("folder");
        let mut child = sleeper("echo farewell; exit 3", folder.path());
        let error = crate::wait::until("its end", Duration::from_secs(10), async || {
            Ok(child.check_alive().err())
        })
        .await
        .expect("ends");
        let text = error.to_string();
        assert!(text.contains("sleeper has ended by itself (exit status: 3)"), "{text}");
        assert!(text.contains("farewell"), "{text}");
    }

    #[tokio::test]
    async fn sigterm_stops_a_child_that_listens() {
        let folder = tempfile::tempdir().expect("folder");
        let mut child =
            sleeper("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done", folder.path());
        has_written(&child, "ready").await;
        child.stop(Duration::from_secs(10)).await.expect("stops cleanly");
    }

    #[tokio::test]
    async fn a_child_that_does_not_listen_is_killed_and_named() {
        let folder = tempfile::tempdir().expect("folder");
        let mut child =
            sleeper("trap '' TERM; echo ready; while :; do sleep 0.05; done", folder.path());
        has_written(&child, "ready").await;
        let error = child.stop(Duration::from_millis(300)).await.expect_err("must be killed");
        assert!(error.to_string().contains("was killed"), "{error}");
    }
}
