//! Processes of a prover server, found so that those of a killed Contemplant are ended at the next start.
//!
//! They are identified by a variable in their environment, which their children inherit. Unlike a stored process id it
//! exists from the first moment, and finds children that outlived their parent. The lock of the data folder guarantees
//! that they do not belong to another running Contemplant.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::processes;

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

    /// Kills them, and waits until they have ended. Returns whether they have.
    pub(super) async fn end(&self) -> bool {
        let deadline = Instant::now() + GONE_LIMIT;
        loop {
            let found = self.processes().await;
            if found.is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                tracing::warn!(processes = ?found, "a prover server's processes do not end");
                return false;
            }
            tracing::debug!(processes = ?found, "ending a prover server's processes");
            found.into_iter().for_each(processes::kill);
            sleep(PAUSE).await;
        }
    }

    async fn processes(&self) -> Vec<u32> {
        let this = self.clone();
        // A machine may have thousands of processes.
        let looked = tokio::task::spawn_blocking(move || {
            processes::with_variable(MARK, |value| this.is_ours(value))
        });
        looked.await.unwrap_or_default()
    }

    /// Whether a mark is that of these processes.
    fn is_ours(&self, mark: &str) -> bool {
        let Some((gpu, owner)) = mark.split_once(':') else { return false };
        let gpu: Option<u32> = gpu.parse().ok();
        let is_served_elsewhere =
            gpu.is_some_and(|gpu| gpu != self.gpu && self.all_gpus.contains(&gpu));
        owner == self.owner && !is_served_elsewhere
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::process::{Child, Command};

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
        assert!(Leftover::new(0, &[0, 1], own).end().await);
        for child in &mut ended {
            let status = tokio::time::timeout(GONE_LIMIT, child.wait()).await;
            assert!(!status.expect("it was killed").unwrap().success());
        }
        for child in &mut left {
            assert!(child.try_wait().unwrap().is_none(), "another's process was ended");
        }
    }
}
