//! A Docker engine of the suite's own, driven with Docker's own command line: what the Contemplant did
//! is seen with other eyes than its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
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

/// What an engine looks for to see whether it can give NVIDIA's GPUs to containers, and runs before such a container.
const GPU_HOOK: &str = "nvidia-container-runtime-hook";

/// A hook that gives a container nothing. It reads the container's state as the engine expects.
const EMPTY_HOOK: &str = "#!/bin/sh\ncat >/dev/null\n";

/// A running engine. Dropping it kills it with its containers.
pub(crate) struct Engine {
    folder: TempDir,
    process: Mutex<Process>,
}

impl Engine {
    /// Starts an engine without bridges, which works inside containers too.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gpu-suite-").tempdir()?;
        let process =
            Process::new("engine", Path::new("dockerd"), &folder.path().join("engine.log"))
                .argument("--iptables=false")
                .argument("--ip6tables=false")
                .argument("--bridge=none")
                .argument("--storage-driver=vfs");
        Self::start_in(folder, process).await
    }

    /// Starts an engine with networks and published ports as on any machine, in a network namespace of its own: neither
    /// the machine's ports nor its firewall are touched. With `gpus` it accepts containers with GPUs, which then have
    /// none.
    pub(crate) async fn start_apart(gpus: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gpu-suite-").tempdir()?;
        let mut process =
            Process::new("engine", Path::new("unshare"), &folder.path().join("engine.log"))
                .argument("--net")
                .argument("sh")
                .argument("-c")
                .argument("ip link set lo up && exec dockerd \"$@\"")
                .argument("engine");
        if gpus {
            let hook = folder.path().join(GPU_HOOK);
            std::fs::write(&hook, EMPTY_HOOK)?;
            std::fs::set_permissions(&hook, Permissions::from_mode(0o755))?;
            let path = std::env::var_os("PATH").unwrap_or_default();
            let paths = [folder.path().to_owned()].into_iter().chain(std::env::split_paths(&path));
            process.set_variables(&[("PATH", std::env::join_paths(paths)?)]);
        }
        Self::start_in(folder, process).await
    }

    async fn start_in(folder: TempDir, process: Process) -> Result<Self> {
        let at = |name: &str| folder.path().join(name);
        let process = process
            .argument("--host")
            .argument(format!("unix://{}", at("engine.sock").display()))
            .argument("--data-root")
            .argument(at("data"))
            .argument("--exec-root")
            .argument(at("exec"))
            .argument("--pidfile")
            .argument(at("engine.pid"));
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
        self.run(Command::new("docker").args(arguments)).await
    }

    /// Runs a client of the engine; returns what it printed.
    pub(crate) async fn run(&self, command: &mut Command) -> Result<String> {
        command.env("DOCKER_HOST", self.address()).stdin(Stdio::null()).kill_on_drop(true);
        let line = format!("{:?}", command.as_std());
        let output = command.output().await.with_context(|| format!("cannot run {line}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{line}: {}\n{}", String::from_utf8_lossy(&output.stderr).trim(), said.trim());
        }
        Ok(said)
    }

    /// A program that sees the network of the engine, with the published ports.
    pub(crate) async fn beside(&self, program: &Path) -> Result<Command> {
        let id = self.process.lock().await.id().context("the engine does not run")?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{id}/ns/net")).arg(program);
        Ok(command)
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
    /// An engine that is killed leaves its containers running, and one that ends waits for them, which a worker may
    /// make hours.
    fn drop(&mut self) {
        let Some(id) = self.process.get_mut().id() else { return };
        let run = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(program);
            command.args(arguments).env("DOCKER_HOST", self.address()).output()
        };
        if let Ok(listed) = run("docker", &["ps", "--quiet"]) {
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let kill: Vec<&str> = ["kill"].into_iter().chain(listed.split_whitespace()).collect();
            let _ = run("docker", &kill);
        }
        let _ = run("kill", &["-TERM", &id.to_string()]);
        for _ in 0..100 {
            if !self.folder.path().join("engine.pid").exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
