//! How long a GPU is idle between the jobs of a queue, without and with jobs that are leased ahead: the real programs, an
//! unmodified SDK client, and the stand-in for SP1's GPU server, which notes when each of its proofs begins and ends.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use gpu_stand_in::times::{self, Proof};
use gpu_stand_in::{BEHAVIOUR_VARIABLE, Behaviour};
use integration_test::client::{Client, stdin_of};
use integration_test::network::{ContemplantSettings, LocalNetwork};
use integration_test::options::Mode;
use integration_test::progress::Progress;
use network_lib::{logging, signal};
use sp1_sdk::network::NetworkMode;
use sp1_sdk::{ProveRequest, Prover, SP1ProofMode};
use test_harness::binaries::{Binaries, Program};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use toml::{Table, Value};

/// Idle fraction of a GPU that is wanted with jobs leased ahead.
const WANTED: f64 = 0.02;

/// Longest wait for the worker, and for the first proof.
const STEP: Duration = Duration::from_secs(120);

/// Input of the proof that the stand-in has recorded: a real one, since a GPU's mock proof is not accepted.
const RECORDED: u32 = 1000;

/// Limit of cycles and gas, far above the need.
const ENOUGH: u64 = 1_000_000_000_000;

/// Name of the worker, which has the same data in both runs.
const NAME: &str = "ezekiel";

/// Measures the idle time of a GPU between the jobs of a queue, first without and then with jobs leased ahead. Takes about
/// four minutes.
#[derive(Debug, Clone, Parser)]
#[command(name = "gpu-idle", version)]
struct Options {
    /// Jobs of a queue.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=100))]
    jobs: u32,

    /// How long the stand-in takes for a proof, before it executes the program itself.
    #[arg(long, default_value_t = 12)]
    proof_seconds: u64,

    /// Size of each input, which decides how long a job is prepared: download, check, decoding and execution.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(0..=2048))]
    input_mib: u64,

    /// End with an error if the target is missed, too.
    #[arg(long)]
    strict: bool,
}

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
    runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("cannot listen for signals")?;
        run(options, shutdown).await
    })
}

async fn run(options: &Options, shutdown: CancellationToken) -> Result<Report> {
    let stand_in = Program::GpuStandIn.locate()?;
    let mut progress = Progress::start();
    progress.show("starting a network", "");
    let mut network = LocalNetwork::start(&Binaries::locate()?, &Table::new()).await?;
    let measured = tokio::select! {
        measured = measure(options, &stand_in, &mut network, &mut progress) => measured,
        () = shutdown.cancelled() => Err(anyhow!("interrupted")),
    };
    progress.finish();
    let tails = network.log_tails();
    let stopped = network.stop().await;
    let report = measured.map_err(|error| anyhow!("{error:#}\n{tails}"))?;
    stopped.context("the programs did not stop well")?;
    Ok(report)
}

async fn measure(
    options: &Options,
    stand_in: &Path,
    network: &mut LocalNetwork,
    progress: &mut Progress,
) -> Result<Report> {
    progress.show("preparing the client and the worker", "");
    let behaviour_file = network.folder().join("stand-in.behaviour");
    network.add_contemplant(&contemplant(stand_in, &behaviour_file, false)?)?;
    let client = Client::connect(&network.rpc_url(), NetworkMode::Reserved).await?;
    client.register().await.context("the program cannot be registered")?;
    network.wait_for_mode(Mode::Core, STEP).await?;
    // The worker derives the program's verifying key with its first job, and keeps it.
    prove(&client, 1, 0, STEP).await?;

    let mut runs = Vec::new();
    for (number, prefetch) in [false, true].into_iter().enumerate() {
        let what = format!("prefetch = {prefetch}");
        progress.show(&what, "starting the worker");
        network.contemplants()[0].stop().await?;
        network.replace_contemplant(0, &contemplant(stand_in, &behaviour_file, prefetch)?)?;
        network.wait_for_mode(Mode::Core, STEP).await?;
        let proof_time = Duration::from_secs(options.proof_seconds);
        let times = network.folder().join(format!("times-{number}"));
        let noted = Some(times.clone());
        let behaviour = Behaviour { proof_time, times: noted, ..Behaviour::default() };
        behaviour.write(&behaviour_file).context("cannot write the server's behaviour")?;
        progress.show(&what, "proving");
        let limit = STEP + 3 * options.jobs * proof_time;
        prove(&client, options.jobs, options.input_mib << 20, limit).await?;
        let proofs = times::read(&times)?;
        let (made, jobs) = (proofs.len(), options.jobs);
        ensure!(made == jobs as usize, "{made} proofs were made for {jobs} jobs");
        runs.push(Run { prefetch, proofs });
    }
    Ok(Report { runs })
}

/// A worker with one GPU, whose server is the stand-in.
fn contemplant(stand_in: &Path, behaviour: &Path, prefetch: bool) -> Result<ContemplantSettings> {
    let text = |path: &Path| path.to_str().map(Value::from).context("a path is not UTF-8");
    let mut environment = Table::new();
    environment.insert(BEHAVIOUR_VARIABLE.into(), text(behaviour)?);
    // A number that no real GPU has: it is part of the socket's name.
    let gpu = 2_000_000 + i64::from(std::process::id());
    Ok(ContemplantSettings::cpu(NAME, Mode::Core)
        .with("backend", "cuda")
        .with("gpus", vec![Value::from(gpu)])
        .with("prover_command", vec![text(stand_in)?])
        .with("prover_environment", environment)
        .with("prefetch", prefetch))
}

/// Requests proofs, each with an input that has this many bytes more than the program reads, and waits for them.
async fn prove(client: &Client, jobs: u32, bytes: u64, limit: Duration) -> Result<()> {
    let mut requests = Vec::new();
    for _ in 0..jobs {
        let mut stdin = stdin_of(RECORDED);
        // No two jobs are the same, or they would be one; and no byte can be compressed away.
        let mut rest = Vec::new();
        File::open("/dev/urandom")?.take(bytes.max(16)).read_to_end(&mut rest)?;
        stdin.write_vec(rest);
        let builder = client.sdk.prove(&client.keys, stdin).mode(SP1ProofMode::Core);
        let builder = builder.skip_simulation(true).cycle_limit(ENOUGH).gas_limit(ENOUGH);
        requests.push(builder.request().await?);
    }
    for request in requests {
        client.sdk.wait_proof(request, Some(limit), None).await?;
    }
    Ok(())
}

/// The proofs of one queue.
#[derive(Debug)]
struct Run {
    prefetch: bool,
    /// At least two, in their order.
    proofs: Vec<Proof>,
}

impl Run {
    /// Seconds between each proof and the next.
    fn gaps(&self) -> Vec<f64> {
        self.proofs.windows(2).map(|pair| seconds(pair[0].end, pair[1].begin)).collect()
    }

    /// Seconds from the begin of the first proof to the end of the last.
    fn span(&self) -> f64 {
        match (self.proofs.first(), self.proofs.last()) {
            (Some(first), Some(last)) => seconds(first.begin, last.end),
            _ => 0.0,
        }
    }

    /// Part of that time in which the GPU was idle.
    fn idle(&self) -> f64 {
        self.gaps().iter().sum::<f64>() / self.span()
    }
}

/// Seconds between two times in milliseconds.
fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1000.0
}

/// Both runs.
#[derive(Debug)]
struct Report {
    runs: Vec<Run>,
}

impl Report {
    fn holds(&self) -> bool {
        self.runs.iter().filter(|run| run.prefetch).all(|run| run.idle() < WANTED)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "prefetch   jobs      span   mean gap   longest gap   GPU idle")?;
        for run in &self.runs {
            let gaps = run.gaps();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let longest = gaps.iter().copied().fold(0.0, f64::max);
            writeln!(
                f,
                "{:<8} {:>6} {:>7.1} s {mean:>8.3} s {longest:>11.3} s {:>8.2} %",
                if run.prefetch { "on" } else { "off" },
                run.proofs.len(),
                run.span(),
                100.0 * run.idle()
            )?;
        }
        let verdict = if self.holds() { "held" } else { "MISSED" };
        write!(f, "GPU idle with prefetch (wanted: below {} %): {verdict}", 100.0 * WANTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(prefetch: bool, times: &[(u64, u64)]) -> Run {
        let proof = |(begin, end): &(u64, u64)| Proof { begin: *begin, end: *end };
        Run { prefetch, proofs: times.iter().map(proof).collect() }
    }

    #[test]
    fn the_idle_time_is_that_between_the_first_proof_and_the_last() {
        let off = run(false, &[(10_000, 20_000), (25_000, 35_000), (40_000, 50_000)]);
        assert!((off.idle() - 0.25).abs() < 1e-9, "{}", off.idle());
        let on = run(true, &[(10_000, 20_000), (20_010, 30_000)]);
        assert!(on.idle() < WANTED, "{}", on.idle());
        let report = Report { runs: vec![off, on] };
        assert!(report.holds(), "{report}");
        let late = run(true, &[(10_000, 20_000), (21_000, 30_000)]);
        let report = Report { runs: vec![late] };
        assert!(!report.holds() && report.to_string().ends_with("MISSED"), "{report}");
    }
}
