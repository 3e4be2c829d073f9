//! The worker of the shipped compose file, with exactly its options.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_test::network::LocalNetwork;
use integration_test::options::Mode;
use serde::Deserialize;
use test_harness::binaries::Binaries;
use test_harness::config::key;

use crate::bench::Bench;
use crate::engine::Engine;
use crate::image;

/// The file.
const FILE: &str = include_str!("../../../../deploy/docker/compose.yml");

/// The variable that the file takes the token from, and its value here.
const TOKEN: (&str, &str) = ("HIEROPHANT_WORKER_TOKEN", "a token of the suite");

/// The worker's container.
const CONTAINER: &str = "compose-contemplant";

/// The worker builds SP1's prover, then makes a Core proof, on a machine that may be busy.
pub(super) const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Longest time until the worker is ready, or the proof is made.
const STEP: Duration = Duration::from_secs(20 * 60);

/// The services of a compose file. Only the worker's options are read.
#[derive(Debug, Deserialize)]
struct Compose {
    services: Services,
}

#[derive(Debug, Deserialize)]
struct Services {
    contemplant: Service,
}

/// The options of a container. An unknown one is an error, so that none is left out here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    restart: String,
    read_only: bool,
    user: String,
    cap_drop: Vec<String>,
    security_opt: Vec<String>,
    tmpfs: Vec<String>,
    shm_size: String,
    stop_grace_period: String,
    volumes: Vec<String>,
    environment: BTreeMap<String, String>,
    /// The suite makes the image itself, and its own Hierophant.
    #[serde(rename = "image")]
    _image: String,
    #[serde(rename = "depends_on")]
    _depends_on: Vec<String>,
}

impl Service {
    /// The arguments of `docker run` for the same container, but for the address of the network `at`.
    fn arguments(&self, at: &str) -> Result<Vec<String>> {
        let grace = self.stop_grace_period.strip_suffix('s').context("seconds are expected")?;
        let mut arguments = vec![
            format!("--restart={}", self.restart),
            format!("--read-only={}", self.read_only),
            format!("--user={}", self.user),
            format!("--shm-size={}", self.shm_size),
            format!("--stop-timeout={grace}"),
        ];
        let lists = [
            ("cap-drop", &self.cap_drop),
            ("security-opt", &self.security_opt),
            ("tmpfs", &self.tmpfs),
            ("volume", &self.volumes),
        ];
        for (option, values) in lists {
            arguments.extend(values.iter().map(|value| format!("--{option}={value}")));
        }
        for (name, value) in &self.environment {
            let (token, secret) = TOKEN;
            let value = match value.strip_prefix("${") {
                Some(rest) if rest.starts_with(token) => secret,
                Some(_) => anyhow::bail!("{name} takes {value}: expected {token}"),
                None if name == "CONTEMPLANT_HIEROPHANT_WS_ADDRESS" => at,
                None => value,
            };
            arguments.push(format!("--env={name}={value}"));
        }
        Ok(arguments)
    }
}

fn worker() -> Result<Service> {
    let compose: Compose = serde_saphyr::from_str(FILE).context("deploy/docker/compose.yml")?;
    Ok(compose.services.contemplant)
}

pub(super) async fn proves(engine: &Engine) -> Result<()> {
    image::provide_contemplant(engine).await?;
    let keys = key("worker_token", TOKEN.1);
    let network = LocalNetwork::start(&Binaries::locate()?, &keys).await?;
    let at = format!("{}/ws", network.http_url().replacen("http://", "ws://", 1));
    let mut arguments: Vec<String> =
        ["run", "--detach", "--name", CONTAINER].map(str::to_owned).into();
    // The suite's engine has no other network. With the label it removes the container after a failure.
    arguments
        .extend(["--network=host", "--label=io.hierophant.contemplant=compose"].map(str::to_owned));
    arguments.extend(worker()?.arguments(&at)?);
    arguments.push(image::CONTEMPLANT.to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    engine.docker(&arguments).await?;

    let mut bench = Bench { engine, network };
    let proved = async {
        bench.network.wait_for_mode(Mode::Core, STEP).await?;
        let request = bench.request_within(Mode::Core, STEP).await?;
        bench.proved(request).await
    };
    if let Err(error) = proved.await {
        let log = engine.docker(&["logs", "--tail", "30", CONTAINER]).await.unwrap_or_default();
        return Err(error.context(log));
    }
    let inspect = ["inspect", "--format", "{{.RestartCount}} {{.State.OOMKilled}}", CONTAINER];
    let state = engine.docker(&inspect).await?;
    ensure!(state.trim() == "0 false", "the worker was started again: {state}");
    engine.docker(&["stop", CONTAINER]).await?;
    engine.docker(&["rm", "--volumes", CONTAINER]).await?;
    engine.docker(&["volume", "rm", "contemplant"]).await?;
    bench.stop().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_compose_file_becomes_one_of_docker_run() {
        let worker = worker().expect("the compose file");
        let arguments = worker.arguments("ws://127.0.0.1:1/ws").expect("arguments");
        for wanted in [
            "--restart=unless-stopped",
            "--read-only=true",
            "--user=10001:10001",
            "--shm-size=16gb",
            "--stop-timeout=910",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges:true",
            "--tmpfs=/tmp:exec,mode=1777",
            "--volume=contemplant:/var/lib/contemplant",
            "--env=CONTEMPLANT_DATA_DIR=/var/lib/contemplant",
            "--env=CONTEMPLANT_HIEROPHANT_WS_ADDRESS=ws://127.0.0.1:1/ws",
            "--env=CONTEMPLANT_TOKEN=a token of the suite",
        ] {
            assert!(arguments.iter().any(|found| found == wanted), "{wanted} in {arguments:?}");
        }
    }
}
