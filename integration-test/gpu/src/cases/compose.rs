//! The shipped compose files as they are, run by Docker Compose in an engine with networks and published ports.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use test_harness::binaries;
use tokio::process::Command;

use crate::engine::Engine;
use crate::image;

/// A coordinator and a CPU worker.
const BOTH: File =
    File { name: "compose.yml", text: include_str!("../../../../deploy/docker/compose.yml") };

/// A GPU worker.
const GPU_WORKER: File =
    File { name: "gpu-worker.yml", text: include_str!("../../../../deploy/docker/gpu-worker.yml") };

/// The token of the workers. The files have no default for it.
const TOKEN: &str = "a token of the suite";

/// Port of the coordinator for clients, as the file publishes it.
const RPC_URL: &str = "http://127.0.0.1:9000";

/// The worker builds SP1's prover, then makes a Core proof, on a machine that may be busy.
pub(super) const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Longest time until a real proof is made, from the worker's start on.
const REAL_PROOF: Duration = Duration::from_secs(40 * 60);

/// Longest time until a recorded proof is returned, from the worker's start on.
const RECORDED_PROOF: Duration = Duration::from_secs(150);

/// A shipped file.
struct File {
    name: &'static str,
    text: &'static str,
}

/// A machine with an engine and Docker Compose.
struct Machine {
    engine: Engine,
    /// The plug-in `docker compose`, or the program `docker-compose`.
    compose: &'static [&'static str],
    variables: Vec<(&'static str, String)>,
}

impl Machine {
    async fn start(gpus: bool) -> Result<Self> {
        let engine = Engine::start_apart(gpus).await?;
        for compose in [&["docker", "compose"][..], &["docker-compose"]] {
            let mut version = Command::new(compose[0]);
            if engine.run(version.args(&compose[1..]).arg("version")).await.is_ok() {
                let token = TOKEN.to_owned();
                let variables =
                    vec![("HIEROPHANT_WORKER_TOKEN", token.clone()), ("CONTEMPLANT_TOKEN", token)];
                return Ok(Self { engine, compose, variables });
            }
        }
        bail!(
            "Docker Compose is missing: expected the plug-in, or the program (Debian: docker-compose)"
        )
    }

    /// Runs Compose on one of the files, each as a project of its own.
    async fn compose(&self, file: &File, arguments: &[&str]) -> Result<String> {
        let path = self.path(file);
        std::fs::write(&path, file.text)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new(self.compose[0]);
        command.args(&self.compose[1..]).args(["-p", file.name.trim_end_matches(".yml"), "-f"]);
        command.arg(&path).args(arguments).envs(self.variables.iter().cloned());
        self.engine.run(&mut command).await
    }

    fn path(&self, file: &File) -> PathBuf {
        self.engine.folder().join(file.name)
    }

    /// Has an SDK client request a Core proof and verify it.
    async fn proved(&self, limit: Duration) -> Result<()> {
        let client = binaries::own_folder()?.join("integration-test");
        ensure!(
            client.is_file(),
            "{} is missing: start the suite by `cargo xtask`",
            client.display()
        );
        let mut client = self.engine.beside(&client).await?;
        let limit = limit.as_secs().to_string();
        let said = client.args(["--rpc-url", RPC_URL, "--timeout", &limit]);
        let said = self.engine.run(said).await?;
        ensure!(said.contains("real Core proof, verified by sp1-sdk"), "{said}");
        Ok(())
    }

    /// Fails if a container was started again or killed for its memory.
    async fn is_undisturbed(&self) -> Result<()> {
        let running = self.engine.docker(&["ps", "--quiet"]).await?;
        let state = "{{.Name}} {{.RestartCount}} {{.State.OOMKilled}}";
        let inspect = ["inspect", "--format", state].into_iter().chain(running.split_whitespace());
        let states = self.engine.docker(&inspect.collect::<Vec<_>>()).await?;
        ensure!(
            states.lines().all(|line| line.ends_with(" 0 false")),
            "restarts and kills: {states}"
        );
        Ok(())
    }

    /// Stops the containers of a file, each of which must end with success, and removes them with their volumes.
    async fn stop(&self, file: &File) -> Result<()> {
        self.compose(file, &["stop"]).await?;
        let ended =
            self.engine.docker(&["ps", "--all", "--quiet", "--filter", "status=exited"]).await?;
        let inspect = ["inspect", "--format", "{{.Name}} {{.State.ExitCode}}"];
        let inspect = inspect.into_iter().chain(ended.split_whitespace());
        let codes = self.engine.docker(&inspect.collect::<Vec<_>>()).await?;
        ensure!(codes.lines().all(|line| line.ends_with(" 0")), "exit codes: {codes}");
        self.compose(file, &["down", "--volumes"]).await.map(drop)
    }

    /// Adds the end of the containers' logs to an error.
    async fn explained(&self, file: &File, outcome: Result<()>) -> Result<()> {
        let Err(error) = outcome else { return Ok(()) };
        let logs = self.compose(file, &["logs", "--tail", "30"]).await.unwrap_or_default();
        Err(error.context(logs))
    }
}

pub(super) async fn both_programs(_: &Engine) -> Result<()> {
    let machine = Machine::start(false).await?;
    image::provide_hierophant(&machine.engine).await?;
    image::provide_contemplant(&machine.engine).await?;
    machine.compose(&BOTH, &["up", "--detach"]).await?;
    machine.explained(&BOTH, machine.proved(REAL_PROOF).await).await?;
    // The operator's command, which needs no token in the container.
    let status =
        machine.compose(&BOTH, &["exec", "-T", "hierophant", "hierophant", "status"]).await?;
    ensure!(status.contains("1 ready"), "{status}");
    machine.is_undisturbed().await?;
    machine.stop(&BOTH).await
}

pub(super) async fn gpu_worker(_: &Engine) -> Result<()> {
    let mut machine = Machine::start(true).await?;
    image::provide_hierophant(&machine.engine).await?;
    image::provide_contemplant_cuda(&machine.engine).await?;
    machine.compose(&BOTH, &["up", "--detach", "hierophant"]).await?;
    // To containers of another project the machine is the gateway of this network.
    let hierophant = machine.engine.docker(&["ps", "--quiet"]).await?;
    let gateway = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}";
    let gateway = ["inspect", "--format", gateway, hierophant.trim()];
    let gateway = machine.engine.docker(&gateway).await?;
    ensure!(!gateway.trim().is_empty(), "the coordinator's network has no gateway");
    let address = format!("ws://{}:9010/ws", gateway.trim());
    machine.variables.push(("HIEROPHANT_WS_ADDRESS", address));
    machine.compose(&GPU_WORKER, &["up", "--detach"]).await?;
    machine.explained(&GPU_WORKER, machine.proved(RECORDED_PROOF).await).await?;
    // The engine gives no GPU to the container, and `doctor` says so.
    let doctor =
        machine.compose(&GPU_WORKER, &["exec", "-T", "contemplant", "contemplant", "doctor"]).await;
    let doctor = doctor.err().context("`doctor` finds a GPU")?.to_string();
    ensure!(doctor.contains("FAIL  gpu"), "{doctor}");
    machine.is_undisturbed().await?;
    machine.stop(&GPU_WORKER).await?;
    machine.stop(&BOTH).await
}
