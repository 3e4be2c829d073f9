//! A Docker engine of the suite's own, driven with Docker's own command line: what the Contemplant did
//! is seen with other eyes than its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration_test::wait;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long the engine may take until it answers, and until it has ended.
const LIMIT: Duration = Duration::from_secs(60);

/// The label of every container of a Contemplant.
const LABEL: &str = "io.hierophant.contemplant";

/// A running engine. Dropping it kills it with its containers.
pub(crate) struct Engine {
    folder: TempDir,
    process: Mutex<Option<Child>>,
}

impl Engine {
    /// Starts an engine without bridges, which works inside containers too.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gpu-suite-").tempdir()?;
        let engine = Self { folder, process: Mutex::new(None) };
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
        let at = |name: &str| self.folder.path().join(name);
        let log = File::options().create(true).append(true).open(at("engine.log"))?;
        let child = Command::new("dockerd")
            .arg("--host")
            .arg(self.address())
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("engine.pid"))
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver=vfs"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start dockerd; install Docker (Debian: docker.io) and be root")?;
        *self.process.lock().expect("nothing panics with it") = Some(child);
        wait::until("the Docker engine", LIMIT, async || {
            Ok(self.docker(&["info"]).await.ok().map(drop))
        })
        .await
        .with_context(|| std::fs::read_to_string(at("engine.log")).unwrap_or_default())
    }

    /// Stops the engine, and with it every container.
    pub(crate) async fn down(&self) -> Result<()> {
        let child = self.process.lock().expect("nothing panics with it").take();
        let mut child = child.context("the engine does not run")?;
        let id = child.id().context("the engine has ended")?.to_string();
        ensure!(Command::new("kill").args(["-TERM", &id]).status().await?.success(), "kill");
        tokio::time::timeout(LIMIT, child.wait()).await.context("the engine does not end")??;
        Ok(())
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
        let folder = self.folder.path().to_owned();
        let child = self.process.lock().ok().and_then(|mut process| process.take());
        let id = child.as_ref().and_then(Child::id);
        if let Some(id) = id {
            let _ = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status();
            for _ in 0..100 {
                if !folder.join("engine.pid").exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
