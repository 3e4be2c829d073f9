//! The note about a server that runs, so that a Contemplant that was killed leaves none behind for long.
//!
//! The note has the process id and when that process started: an id alone may belong to somebody else by
//! now.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// How long a killed process may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// Where a server's process is noted.
#[derive(Debug, Clone)]
pub(super) struct Leftover {
    note: PathBuf,
}

impl Leftover {
    /// Notes go to the file `note`.
    pub(super) const fn new(note: PathBuf) -> Self {
        Self { note }
    }

    /// Notes that this process is the server.
    pub(super) fn note(&self, id: u32) {
        let Some(start) = start_time(id) else { return };
        if let Err(error) = std::fs::write(&self.note, format!("{id} {start}\n")) {
            tracing::warn!(%error, "a prover server cannot be noted; it may outlive a crash");
        }
    }

    /// The server is gone.
    pub(super) fn forget(&self) {
        let _ = std::fs::remove_file(&self.note);
    }

    /// Ends the server that an earlier process has left running.
    pub(super) async fn end(&self) {
        let Ok(text) = std::fs::read_to_string(&self.note) else { return };
        let mut words = text.split_whitespace();
        let id = words.next().and_then(|word| word.parse().ok());
        if let (Some(id), Some(start)) = (id, words.next()) {
            let deadline = Instant::now() + GONE_LIMIT;
            while start_time(id).as_deref() == Some(start) && Instant::now() < deadline {
                tracing::info!(process = id, "ending the prover server of an earlier Contemplant");
                kill_group(id).await;
                sleep(Duration::from_millis(100)).await;
            }
        }
        self.forget();
    }
}

/// Kills a process with all of its group. The standard library cannot, the system's shell can.
pub(super) async fn kill_group(id: u32) {
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -s KILL -- -{id}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    match killed {
        Ok(status) if status.success() => {}
        // Mostly because it has ended by itself meanwhile.
        Ok(status) => {
            tracing::debug!(%status, "a prover server's processes were not ended by kill");
        }
        Err(error) => tracing::warn!(%error, "cannot run sh to end a prover server"),
    }
}

/// When a process started, in the kernel's own unit; nothing if it has ended.
fn start_time(id: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The program's name, in brackets, may hold anything.
    let mut fields = text.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?;
    // The start time is field 22, the state field 3.
    (state != "Z").then(|| fields.nth(18).map(str::to_owned)).flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_process_that_was_noted_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let leftover = Leftover::new(folder.path().join("note"));
        let mut sleeper = Command::new("sleep");
        let sleeper = sleeper.arg("600").process_group(0).kill_on_drop(true);
        let mut sleeper = sleeper.spawn().unwrap();
        let id = sleeper.id().unwrap();

        std::fs::write(&leftover.note, format!("{id} 1\n")).unwrap();
        leftover.end().await;
        assert!(start_time(id).is_some(), "another process was ended");
        assert!(!leftover.note.exists());

        leftover.note(id);
        leftover.end().await;
        let ended = tokio::time::timeout(GONE_LIMIT, sleeper.wait()).await;
        assert!(!ended.expect("it was killed").unwrap().success());
        assert!(start_time(id).is_none());
    }
}
