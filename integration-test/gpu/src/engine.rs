//! A Docker engine of the suite's own, driven with Docker's own command line: what the Contemplant did
//! is seen with other eyes than its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use test_harness::{Process, wait};
use tokio::process::Command;
use tokio::sync::Mutex;

/// Longest time until the engine answers, and until it has ended.
const LIMIT: Duration = Duration::from_secs(60);

/// The label of every container of a Contemplant.
const LABEL: &str = "io.hierophant.contemplant";

/// A running engine. Dropping it kills it with its containers.
pub(crate) struct Engine {
    folder: TempDir,
    process: Mutex<Process>,
}

impl Engine {
    /// Starts an engine without bridges, which works inside containers too.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gpu-suite-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let process = Process::new("engine", Path::new("dockerd"), &at("engine.log"))
            .argument("--host")
            .argument(format!("unix://{}", at("engine.sock").display()))
            .argument("--data-root")
            .argument(at("data"))
            .argument("--exec-root")
            .argument(at("exec"))
            .argument("--pidfile")
            .argument(at("engine.pid"))
            .argument("--iptables=false")
            .argument("--ip6tables=false")
            .argument("--bridge=none")
            .argument("--storage-driver=vfs");
        let engine = Self { folder, process: Mutex::new(process) };
        engine.up().await?;
        Ok(engine)
    }

    /// Where the engine listens.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Where the engine listens, as a path.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// The suite's own folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the engine, with the images that it had.
    pub(crate) async fn up(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        process.start().context("install Docker (Debian: docker.io) and be root")?;
        wait::until("the Docker engine", LIMIT, async || {
            Ok(self.docker(&["info"]).await.ok().map(drop))
        })
        .await
        .with_context(|| process.log_tail())
    }

    /// Stops the engine, and with it every container.
    pub(crate) async fn down(&self) -> Result<()> {
        self.process.lock().await.terminate(LIMIT).await.map(drop)
    }

    /// Runs `docker` with these arguments; returns what it printed.
    pub(crate) async fn docker(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("docker")
            .args(arguments)
            .env("DOCKER_HOST", self.address())
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run docker")?;
        if !output.status.success() {
            bail!("docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ids of the Contemplants' containers, running or not.
    pub(crate) async fn containers(&self) -> Result<Vec<String>> {
        let filter = format!("label={LABEL}");
        let listing = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter];
        let listed = self.docker(&listing).await?;
        Ok(listed.split_whitespace().map(str::to_owned).collect())
    }

    /// The only container.
    pub(crate) async fn container(&self) -> Result<String> {
        let containers = self.containers().await?;
        let [only] = &containers[..] else { bail!("not one container: {containers:?}") };
        Ok(only.clone())
    }

    /// Fails if a container is left.
    pub(crate) async fn is_clean(&self) -> Result<()> {
        let left = self.containers().await?;
        ensure!(left.is_empty(), "containers are left: {left:?}");
        Ok(())
    }

    /// Removes what a failed case has left.
    pub(crate) async fn clean(&self) -> Result<()> {
        for container in self.containers().await? {
            self.docker(&["rm", "--force", &container]).await?;
        }
        Ok(())
    }
}

impl Drop for Engine {
    /// An engine that is killed leaves its containers running.
    fn drop(&mut self) {
        let Some(id) = self.process.get_mut().id() else { return };
        let _ = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status();
        for _ in 0..100 {
            if !self.folder.path().join("engine.pid").exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
