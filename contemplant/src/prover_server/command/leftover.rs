//! Processes of a prover server, found so that those of a killed Contemplant are ended at the next start.
//!
//! They are identified by a variable in their environment, which their children inherit. Unlike a stored process id it
//! exists from the first moment, and finds children that outlived their parent. The lock of the data folder guarantees
//! that they do not belong to another running Contemplant.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// The variable: the GPU's number, a colon, the data folder.
pub(super) const MARK: &str = "CONTEMPLANT_PROVER_SERVER";

/// Time limit for killed processes to end.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// Pause between two searches.
const PAUSE: Duration = Duration::from_millis(100);

/// The processes of one GPU's server.
#[derive(Debug, Clone)]
pub(super) struct Leftover {
    gpu: u32,
    all_gpus: Vec<u32>,
    owner: String,
}

impl Leftover {
    /// The processes of `gpu` in this data folder, and of GPUs that are no longer among `all_gpus`.
    pub(super) fn new(gpu: u32, all_gpus: &[u32], data_dir: &Path) -> Self {
        let folder = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Self { gpu, all_gpus: all_gpus.to_vec(), owner: folder.display().to_string() }
    }

    /// The value of [`MARK`] for the server's own processes.
    pub(super) fn mark(&self) -> String {
        format!("{}:{}", self.gpu, self.owner)
    }

    /// Kills them, and waits until they have ended.
    pub(super) async fn end(&self) {
        let deadline = Instant::now() + GONE_LIMIT;
        loop {
            let found = self.processes().await;
            if found.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                tracing::warn!(processes = ?found, "a prover server's processes do not end");
                return;
            }
            kill(&found).await;
            sleep(PAUSE).await;
        }
    }

    async fn processes(&self) -> Vec<u32> {
        let this = self.clone();
        // A machine may have thousands of processes.
        let looked = tokio::task::spawn_blocking(move || {
            let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            ids.filter(|id| this.has_mark(*id)).collect()
        });
        looked.await.unwrap_or_default()
    }

    /// Whether a process has the mark. An ended process has none.
    fn has_mark(&self, id: u32) -> bool {
        let Ok(environment) = std::fs::read(format!("/proc/{id}/environ")) else { return false };
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| {
            str::from_utf8(variable).ok()?.strip_prefix(MARK)?.strip_prefix('=')
        });
        let Some((gpu, owner)) = value.and_then(|value| value.split_once(':')) else {
            return false;
        };
        let gpu: Option<u32> = gpu.parse().ok();
        let is_served_elsewhere =
            gpu.is_some_and(|gpu| gpu != self.gpu && self.all_gpus.contains(&gpu));
        owner == self.owner && !is_served_elsewhere
    }
}

async fn kill(processes: &[u32]) {
    let ids: Vec<String> = processes.iter().map(u32::to_string).collect();
    tracing::debug!(processes = ?ids, "ending a prover server's processes");
    run(&format!("kill -s KILL {}", ids.join(" "))).await;
}

/// Kills a process with all of its group.
pub(super) async fn kill_group(id: u32) {
    run(&format!("kill -s KILL -- -{id}")).await;
}

/// Runs a command in the system's shell, because the standard library cannot send signals.
async fn run(command: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdout(Stdio::null()).stderr(Stdio::null());
    match shell.status().await {
        Ok(status) if status.success() => {}
        // Usually because the process has ended meanwhile.
        Ok(status) => {
            tracing::debug!(%status, "a prover server's processes were not ended by kill");
        }
        Err(error) => tracing::warn!(%error, "cannot run sh to end a prover server"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::process::Child;

    use super::*;

    fn sleeper(mark: &str) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").env(MARK, mark).kill_on_drop(true).spawn().unwrap()
    }

    #[tokio::test]
    async fn only_this_folder_s_processes_of_gpus_that_nobody_else_serves_are_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mark = |gpu, folder: &Path| Leftover::new(gpu, &[], folder).mark();
        let own = folder.path();
        let mut ended = [sleeper(&mark(0, own)), sleeper(&mark(7, own)), sleeper(&mark(0, own))];
        let mut left = [sleeper(&mark(1, own)), sleeper(&mark(0, &own.join("other")))];
        Leftover::new(0, &[0, 1], own).end().await;
        for child in &mut ended {
            let status = tokio::time::timeout(GONE_LIMIT, child.wait()).await;
            assert!(!status.expect("it was killed").unwrap().success());
        }
        for child in &mut left {
            assert!(child.try_wait().unwrap().is_none(), "another's process was ended");
        }
    }
}
