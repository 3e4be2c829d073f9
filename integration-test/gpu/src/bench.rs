//! A network with one GPU Contemplant, whose containers are those of a real engine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gpu_stand_in::{BEHAVIOUR_VARIABLE, Behaviour};
use integration_test::client::{Client, Expected};
use integration_test::network::{ContemplantSettings, LocalNetwork};
use integration_test::options::{Backend, Mode};
use integration_test::status::Contemplant;
use integration_test::verify::check_proof;
use sp1_sdk::network::{B256, NetworkMode};
use test_harness::binaries::Binaries;
use test_harness::wait;
use toml::{Table, Value};

use crate::engine::Engine;
use crate::image;

/// Longest wait for a single step; deriving the program's key takes a slow machine most of a minute.
pub(crate) const STEP: Duration = Duration::from_secs(120);

/// The input of which the stand-in has real proofs.
const N: u32 = 1000;

/// File of the stand-in's faults in the home folder of all containers: their temp folders are emptied.
const BEHAVIOUR: &str = "stand-in.behaviour";

/// Name of the Contemplant.
const NAME: &str = "ezekiel";

/// A Hierophant, a Contemplant, and the engine.
pub(crate) struct Bench<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) network: LocalNetwork,
}

/// A request and what it must become.
pub(crate) struct Request {
    client: Client,
    expected: Expected,
    id: B256,
    mode: Mode,
    limit: Duration,
}

/// The section `[docker]` for the stand-in, and changes to it.
pub(crate) fn docker(engine: &Engine, changes: &[(&str, Value)]) -> Value {
    let mut table = Table::new();
    table.insert("engine".into(), engine.address().into());
    table.insert("image".into(), image::NAME.into());
    table.insert("pull".into(), false.into());
    table.insert("network".into(), "none".into());
    table.insert("gpu_request".into(), false.into());
    table.insert("shm_bytes".into(), Value::from(1_i64 << 30));
    table.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    Value::from(table)
}

/// A Contemplant with one GPU and this section `[docker]`.
pub(crate) fn contemplant(docker: Value) -> ContemplantSettings {
    let mut environment = Table::new();
    environment.insert(BEHAVIOUR_VARIABLE.into(), format!("/sp1/{BEHAVIOUR}").into());
    ContemplantSettings::cpu(NAME, Mode::Core)
        .with("backend", "cuda")
        .with("modes", vec![Value::from("core"), Value::from("compressed")])
        .with("gpus", vec![Value::from(0)])
        .with("prover_environment", environment)
        .with("docker", docker)
}

impl<'a> Bench<'a> {
    /// Starts a network with this Contemplant. Mock proofs are not allowed in it.
    pub(crate) async fn start(engine: &'a Engine, settings: &ContemplantSettings) -> Result<Self> {
        let mut network = LocalNetwork::start(&Binaries::locate()?, &Table::new()).await?;
        network.add_contemplant(settings)?;
        Ok(Self { engine, network })
    }

    /// One with the stand-in in containers, ready.
    pub(crate) async fn ready(engine: &'a Engine, changes: &[(&str, Value)]) -> Result<Self> {
        let mut bench = Self::start(engine, &contemplant(docker(engine, changes))).await?;
        bench.is_ready().await?;
        Ok(bench)
    }

    /// Waits until the Contemplant offers proofs.
    pub(crate) async fn is_ready(&mut self) -> Result<()> {
        self.network.wait_for_mode(Mode::Core, STEP).await
    }

    /// What `/contemplants` says of the Contemplant, once `wanted` wants it.
    pub(crate) async fn page(
        &mut self,
        what: &str,
        wanted: impl Fn(&Contemplant) -> bool,
    ) -> Result<Contemplant> {
        let status = self.network.status()?;
        let found = wait::until(what, STEP, async || {
            self.network.check_alive()?;
            let all = status.contemplants().await?;
            Ok(all.into_iter().find(|one| one.name == NAME && wanted(one)))
        })
        .await;
        found.with_context(|| self.network.log_tails())
    }

    /// Waits until the Contemplant says these words about why it cannot prove.
    pub(crate) async fn obstacle(&mut self, words: &str) -> Result<String> {
        let what = format!("an obstacle with \"{words}\"");
        let says_so = |one: &Contemplant| {
            one.modes.is_empty()
                && one.obstacle.as_ref().is_some_and(|obstacle| obstacle.contains(words))
        };
        self.page(&what, says_so).await?.obstacle.context("no obstacle")
    }

    /// Waits until the Contemplant makes a proof.
    pub(crate) async fn is_proving(&mut self) -> Result<()> {
        let proving = |one: &Contemplant| {
            one.current_proofs.iter().any(|proof| proof.phase.as_deref() == Some("proving"))
        };
        self.page("a proof in progress", proving).await.map(drop)
    }

    /// Waits until the Contemplant's log has these words.
    pub(crate) async fn logged(&mut self, words: &str) -> Result<()> {
        let contemplant = &self.network.contemplants()[0];
        wait::until(&format!("\"{words}\" in the log"), STEP, async || {
            Ok(contemplant.log_text().contains(words).then_some(()))
        })
        .await
    }

    /// Has all servers behave so from here on.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) -> Result<()> {
        let mut behaviour = Behaviour::default();
        change(&mut behaviour);
        let home = self.network.folder().join(format!("contemplant-{NAME}/sp1-home"));
        behaviour.write(&home.join(BEHAVIOUR)).context("cannot write the server's behaviour")
    }

    /// The folder that the containers of `gpu` have as `/tmp`.
    pub(crate) fn sockets(&self, gpu: u32) -> PathBuf {
        self.network.folder().join(format!("contemplant-{NAME}/gpu-{gpu}"))
    }

    /// Requests a proof as an SDK client does.
    pub(crate) async fn request(&self, mode: Mode) -> Result<Request> {
        self.request_within(mode, STEP).await
    }

    /// Requests a proof that may take so long.
    pub(crate) async fn request_within(&self, mode: Mode, limit: Duration) -> Result<Request> {
        let client = Client::connect(&self.network.rpc_url(), NetworkMode::Reserved).await?;
        let expected = client.execute(N).await?;
        client.register().await?;
        let id = client.request(N, mode.sdk(), limit * 2).await?;
        Ok(Request { client, expected, id, mode, limit })
    }

    /// Waits for the proof and has the SDK verify it.
    pub(crate) async fn proved(&self, request: Request) -> Result<()> {
        let Request { client, expected, id, mode, limit } = request;
        let waited = client.sdk.wait_proof(id, Some(limit), None).await;
        let proof = waited.with_context(|| self.network.log_tails())?;
        check_proof(&client, &proof, mode.sdk(), Backend::Cpu, &expected).await?;
        Ok(())
    }

    /// Stops everything and asks that no container is left.
    pub(crate) async fn stop(self) -> Result<()> {
        let engine = self.engine;
        self.network.stop().await?;
        engine.is_clean().await
    }

    /// Kills the Contemplant, as a crash would, and starts it again with these settings.
    pub(crate) async fn crash(&mut self, settings: &ContemplantSettings) -> Result<()> {
        let contemplants = self.network.contemplants();
        ensure!(contemplants.len() == 1, "there is one Contemplant");
        contemplants[0].kill().await?;
        self.network.replace_contemplant(0, settings)
    }
}
