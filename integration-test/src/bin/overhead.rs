//! What the network adds to a real proof: the same Core proofs by `sp1-sdk`'s own prover in this process and
//! through a Hierophant and a Contemplant, in turns, with both provers warm. Both provers stay in memory, some
//! 10 GiB each.
//!
//! A program of its own, behind the feature `overhead`, because compiling SP1's prover into it takes minutes.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use integration_test::client::{Client, stdin_of};
use integration_test::network::{ContemplantSettings, LocalNetwork, mock_mode};
use integration_test::options::{Backend, Mode};
use integration_test::overhead::{Options, Report, Round};
use integration_test::progress::Progress;
use integration_test::status::StatusClient;
use integration_test::verify::check_proof;
use network_lib::{logging, signal};
use sp1_sdk::network::NetworkMode;
use sp1_sdk::{CpuProver, ProveRequest, Prover, ProverClient, SP1ProofMode, SP1ProvingKey};
use test_harness::binaries::Binaries;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Longest wait until the Contemplant's prover is warm.
const WARM_UP: Duration = Duration::from_secs(900);

/// Longest wait for one proof.
const PROOF_LIMIT: Duration = Duration::from_secs(1800);

fn main() -> ExitCode {
    let options = Options::parse();
    logging::init(logging::LogFormat::Human, "warn");
    match start(&options) {
        Ok(report) => {
            println!("{report}");
            if report.holds() || !options.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<Report> {
    let runtime = Runtime::new().context("cannot start a runtime")?;
    let outcome = runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("cannot listen for signals")?;
        run(options, shutdown).await
    });
    // The prover may still compute after an interruption.
    runtime.shutdown_background();
    outcome
}

/// Measures. Every proof is verified; one that is wrong, or a program that does not stop well, is an error.
async fn run(options: &Options, shutdown: CancellationToken) -> Result<Report> {
    let binaries = Binaries::locate()?;
    let mut progress = Progress::start();
    progress.show("starting a network", "");
    let mut network = LocalNetwork::start(&binaries, &mock_mode(false)).await?;
    let measured = tokio::select! {
        measured = measure(options, &mut network, &mut progress) => measured,
        () = shutdown.cancelled() => Err(anyhow!("interrupted")),
    };
    progress.finish();
    let tails = network.log_tails();
    let stopped = network.stop().await;
    let report = measured.map_err(|error| anyhow!("{error:#}\n{tails}"))?;
    stopped.context("the programs did not stop well")?;
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report)
}

async fn measure(
    options: &Options,
    network: &mut LocalNetwork,
    progress: &mut Progress,
) -> Result<Report> {
    // One prover after the other: each takes all cores to warm up.
    progress.show("warming up the Contemplant", "");
    network.add_contemplant(&ContemplantSettings::cpu("overhead", Mode::Core))?;
    network.wait_for_mode(Mode::Core, WARM_UP).await?;
    progress.show("warming up sp1-sdk's prover", "");
    let client = Client::connect(&network.rpc_url(), NetworkMode::Reserved).await?;
    client.register().await.context("the program cannot be registered")?;
    let prover = ProverClient::builder().cpu().build().await;
    let keys = prover.setup(sp1_sdk::ProvingKey::elf(&client.keys).clone()).await?;
    let status = network.status()?;

    // The first proof of each sets up the program and finds its memory, and does not count.
    progress.show("first proofs, which do not count", "");
    direct(&prover, &keys, &client, options.n).await?;
    through_network(&client, &status, options.n).await?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds.get() {
        progress.show("round", &format!("{number} of {}", options.rounds));
        let n = options.n.saturating_add(number);
        // The second one may find the machine warmer, so they take turns.
        let (direct, (network, contemplant)) = if number % 2 == 1 {
            let direct = direct(&prover, &keys, &client, n).await?;
            (direct, through_network(&client, &status, n).await?)
        } else {
            let network = through_network(&client, &status, n).await?;
            (direct(&prover, &keys, &client, n).await?, network)
        };
        let round = Round { direct, network, contemplant };
        progress.note(&format!("round {number}: {direct:.2} s direct, {network:.2} s in all"));
        rounds.push(round);
    }
    Ok(Report { rounds })
}

/// Seconds of a proof in this process.
async fn direct(prover: &CpuProver, keys: &SP1ProvingKey, client: &Client, n: u32) -> Result<f64> {
    let expected = client.execute(n).await?;
    let began = Instant::now();
    let proof = prover.prove(keys, stdin_of(n)).mode(SP1ProofMode::Core).await;
    let seconds = began.elapsed().as_secs_f64();
    let proof = proof.map_err(|error| anyhow!("sp1-sdk cannot prove: {error}"))?;
    check_proof(client, &proof, SP1ProofMode::Core, Backend::Cpu, &expected).await?;
    Ok(seconds)
}

/// Seconds of a proof through the network, and of the Contemplant's part.
async fn through_network(client: &Client, status: &StatusClient, n: u32) -> Result<(f64, f64)> {
    let expected = client.execute(n).await?;
    let began = Instant::now();
    let request = client.request_unsimulated(n, SP1ProofMode::Core).await?;
    let waiting = client.sdk.wait_proof(request, None, None);
    let proof = tokio::time::timeout(PROOF_LIMIT, waiting).await.context("no proof in time")??;
    let seconds = began.elapsed().as_secs_f64();
    check_proof(client, &proof, SP1ProofMode::Core, Backend::Cpu, &expected).await?;
    expected.check_details(&client.details(request).await?)?;
    let entry = status.history_of(request.as_slice()).await?.context("not in /proof-history")?;
    let contemplant = entry.proof_seconds.context("/proof-history gives no time")?;
    ensure!(contemplant < seconds, "{contemplant} s of work in {seconds} s");
    Ok((seconds, contemplant))
}
