//! The steps through a whole network: client, Hierophant, Contemplant, server.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_test::client::{Client, stdin_of};
use integration_test::network::{ContemplantSettings, LocalNetwork};
use integration_test::options::{Backend, Mode};
use integration_test::verify::check_proof;
use sp1_sdk::ProveRequest;
use sp1_sdk::network::{B256, NetworkMode};
use sp1_sdk::{Prover, SP1ProofMode};
use tempfile::TempDir;
use test_harness::binaries::Binaries;
use toml::{Table, Value};

use super::relay::{Relay, idle};
use super::server::{Obtained, Server, answers};
use super::steps::Report;
use super::watch::Watch;
use super::{N, Options};

/// Jobs that wait in the queue at the same time.
const QUEUED: u32 = 6;

/// Longest wait for a single proof; the steps have shorter limits.
const PROOF: Duration = Duration::from_secs(600);

/// Longest wait for a Contemplant's offer. Below the limit of its step, so that the step can report the logs.
const OFFER: Duration = Duration::from_secs(150);

/// Limit for cycles and gas that every program here keeps.
const ENOUGH: u64 = 1_000_000_000_000;

/// A network whose Contemplant uses the running server through a relay.
pub(super) struct Relayed {
    network: LocalNetwork,
    relay: Relay,
    _folder: TempDir,
}

fn settings(changes: &[(&str, Value)]) -> ContemplantSettings {
    let settings = ContemplantSettings::cpu("ezekiel", Mode::Core)
        .with("backend", "cuda")
        .with("modes", vec![Value::from("core"), Value::from("compressed")]);
    changes.iter().fold(settings, |settings, (key, value)| settings.with(key, value.clone()))
}

/// Starts a Hierophant and a Contemplant with these settings. Returns the seconds until the Contemplant offers proofs.
async fn start(changes: &[(&str, Value)]) -> Result<(LocalNetwork, f64)> {
    let mut network = LocalNetwork::start(&Binaries::locate()?, &Table::new()).await?;
    let start = Instant::now();
    network.add_contemplant(&settings(changes))?;
    network.wait_for_mode(Mode::Core, OFFER).await?;
    Ok((network, start.elapsed().as_secs_f64()))
}

impl Relayed {
    /// Starts the network.
    ///
    /// # Errors
    ///
    /// When the Contemplant offers no proofs.
    pub(super) async fn start(server: &Path, report: &mut Report) -> Result<Self> {
        // The path of a socket must be short.
        let folder = tempfile::Builder::new().prefix("gpu-trial-").tempdir()?;
        let relay = Relay::start(&folder.path().join("relay.sock"), server)?;
        let endpoint = format!("unix://{}", relay.socket().display());
        let (network, seconds) = start(&[("prover_endpoint", endpoint.into())]).await?;
        report.figure("worker with a running server: start to first offer", seconds, "s");
        Ok(Self { network, relay, _folder: folder })
    }

    /// One proof of this kind, from the request to the verified proof.
    ///
    /// # Errors
    ///
    /// When it is not made, or does not verify.
    pub(super) async fn proof(&self, mode: SP1ProofMode, report: &mut Report) -> Result<()> {
        let seconds = prove(&self.network, mode).await?;
        report.figure(format!("{mode:?} proof, through the network"), seconds, "s");
        Ok(())
    }

    /// Several jobs at the same time: their rate, and how long the server had nothing to prove in between.
    ///
    /// # Errors
    ///
    /// When one is not made, or does not verify.
    pub(super) async fn queue(&self, watch: Option<&Watch>, report: &mut Report) -> Result<()> {
        let client = client_of(&self.network).await?;
        let expected = client.execute(N).await?;
        let before = self.relay.proofs().len();
        let mut requests = Vec::new();
        for number in 0..QUEUED {
            requests.push(request(&client, number).await?);
        }
        for id in requests {
            let waited = client.sdk.wait_proof(id, Some(PROOF), None).await;
            let proof = waited.with_context(|| self.network.log_tails())?;
            check_proof(&client, &proof, SP1ProofMode::Core, Backend::Cpu, &expected).await?;
        }
        let proofs = self.relay.proofs().split_off(before);
        ensure!(proofs.len() >= QUEUED as usize, "the server made {} proofs", proofs.len());
        let (span, idle) = idle(&proofs).context("the server made no proofs")?;
        let span_seconds = span.as_secs_f64();
        ensure!(span_seconds > 0.0, "the proofs took no time");
        report.figure("queue: Core proofs per minute", f64::from(QUEUED) * 60.0 / span_seconds, "");
        let share = 100.0 * idle.as_secs_f64() / span_seconds;
        report.figure("queue: time without a request at the server", share, "%");
        let start = proofs.iter().map(|proof| proof.0).min();
        if let (Some(watch), Some(start)) = (watch, start)
            && let Some(mean) = watch.utilisation(start, start + span)
        {
            report.figure("queue: utilisation by the driver, mean", mean, "%");
        }
        report.note(format!("{QUEUED} Core proofs requested at the same time"));
        Ok(())
    }

    /// Stops the network.
    ///
    /// # Errors
    ///
    /// When a program does not stop cleanly.
    pub(super) async fn stop(self) -> Result<()> {
        self.network.stop().await
    }
}

/// The whole of what an operator runs: the Contemplant starts the server, tests it by a proof, and proves.
///
/// # Errors
///
/// When it offers no proofs, does not prove, or leaves its server running.
pub(super) async fn supervised(
    obtained: &Obtained,
    server: &mut Server,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    server.stop().await;
    let program = obtained.program.to_str().context("the server's path is not UTF-8")?;
    let mut environment = Table::new();
    for (name, value) in &obtained.variables {
        let value = value.to_str().context("a path is not UTF-8")?;
        environment.insert((*name).to_owned(), value.into());
    }
    let (network, seconds) = start(&[
        ("prover_command", vec![Value::from(program)].into()),
        ("prover_environment", environment.into()),
        ("prover_self_test", "prove".into()),
        ("gpus", vec![Value::from(i64::from(options.gpu))].into()),
    ])
    .await?;
    report.figure("worker that starts the server: start to first offer", seconds, "s");
    let seconds = prove(&network, SP1ProofMode::Core).await?;
    report.figure("Core proof, through that worker", seconds, "s");
    network.stop().await?;
    ensure!(
        !answers(server.socket()).await,
        "the server still runs after its Contemplant has ended"
    );
    Ok(())
}

async fn client_of(network: &LocalNetwork) -> Result<Client> {
    let client = Client::connect(&network.rpc_url(), NetworkMode::Reserved).await?;
    client.register().await?;
    Ok(client)
}

/// Seconds of a verified proof.
async fn prove(network: &LocalNetwork, mode: SP1ProofMode) -> Result<f64> {
    let client = client_of(network).await?;
    let expected = client.execute(N).await?;
    let start = Instant::now();
    let id = client.request(N, mode, PROOF * 2).await?;
    let waited = client.sdk.wait_proof(id, Some(PROOF), None).await;
    let proof = waited.with_context(|| network.log_tails())?;
    let seconds = start.elapsed().as_secs_f64();
    check_proof(&client, &proof, mode, Backend::Cpu, &expected).await?;
    Ok(seconds)
}

/// Requests a proof that is a job of its own, though its public values are the same: the program does not read the rest
/// of its input.
async fn request(client: &Client, number: u32) -> Result<B256> {
    let mut stdin = stdin_of(N);
    stdin.write(&number);
    let builder = client.sdk.prove(&client.keys, stdin).mode(SP1ProofMode::Core);
    let builder = builder.skip_simulation(true).cycle_limit(ENOUGH).gas_limit(ENOUGH);
    builder.timeout(PROOF * 2).request().await
}
