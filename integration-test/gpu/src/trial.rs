//! A trial of a prover server on a real GPU: one command of at most ten minutes, from the start of the server to a queue of
//! jobs through a whole network.
//!
//! Each step has a limit of its own, and none stops another that does not need it. The figures are written after each.

mod figures;
mod network;
mod relay;
mod server;
mod steps;
mod watch;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use integration_test::client::Client;
use integration_test::options::Backend;
use integration_test::verify::check_proof;
use network_lib::task;
use sp1_prover_types::network_base_types::ProofMode;
use sp1_sdk::SP1ProofMode;
use sp1_sdk::network::NetworkMode;
use tokio::task::JoinHandle;

use self::figures::Figures;
use self::network::{Relayed, supervised};
use self::server::{Server, obtain};
use self::steps::{Report, Steps};
use self::watch::Watch;
use crate::server::{Shared, Which, protocol, prove_with};

/// Input of the example program: some twenty thousand cycles.
const N: u32 = 1000;

/// Proofs of each kind over the shared connection.
const PROOFS: u32 = 3;

/// An address that no network has: the client derives keys and verifies, and asks nothing of it.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The steps that need a running server, beside those of the protocol.
const DIRECT: [&str; 4] = ["start", "client", "core-direct", "compressed-direct"];

/// The steps that need the network.
const NETWORK: [&str; 3] = ["core-network", "compressed-network", "queue"];

/// A trial on a real GPU.
#[derive(Debug, Clone, Args)]
#[command(group(clap::ArgGroup::new("source").required(true)))]
pub(crate) struct Options {
    /// The prover server's program
    #[arg(long, value_name = "FILE", group = "source")]
    server: Option<PathBuf>,
    /// Fetch SP1's released program, whose archive has this SHA-256
    #[arg(long, value_name = "SHA256", group = "source")]
    fetch: Option<String>,
    /// Try the trial itself, without a GPU, with the stand-in for the server
    #[arg(long, group = "source")]
    stand_in: bool,
    /// Number of the GPU
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    gpu: u32,
    /// Most seconds for all steps
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit: u64,
    /// Folder for figures.json, figures.md and the server's log
    #[arg(long, value_name = "FOLDER", default_value = "gpu-trial")]
    out: PathBuf,
}

/// Puts the figures of a trial into a page of the documentation.
#[derive(Debug, Clone, Args)]
pub(crate) struct Page {
    /// The file figures.json of the trial
    figures: PathBuf,
    /// The page
    #[arg(long, default_value = "docs/gpu.md")]
    page: PathBuf,
}

/// Writes the page.
///
/// # Errors
///
/// When the figures are not of a real GPU, or a file cannot be read or written.
pub(crate) fn publish(page: &Page) -> Result<()> {
    Figures::read(&page.figures)?.publish(&page.page)
}

/// Runs the trial.
///
/// # Errors
///
/// When a step has failed or was left out, or the figures cannot be written.
pub(crate) async fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create {}", options.out.display()))?;
    let figures = Figures {
        date: today()?,
        stand_in: options.stand_in,
        processor: watch::processor(),
        threads: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        memory_bytes: watch::main_memory_bytes(),
        limit_seconds: options.limit,
        ..Figures::default()
    };
    let limit = Duration::from_secs(options.limit);
    let mut steps = Steps::new(limit, options.out.join("figures.json"), figures);
    play(options, &mut steps).await?;
    let figures = steps.figures;
    let file = options.out.join("figures.md");
    std::fs::write(&file, figures.tables())
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("{:.0} s of {} s; figures in {}", figures.seconds, limit.as_secs(), file.display());
    ensure!(figures.hold(), "a step fell short or was left out");
    Ok(())
}

async fn play(options: &Options, steps: &mut Steps) -> Result<()> {
    // Deriving the program's keys takes the processor a while, which the server's start does not need.
    let client = task::spawn("client", Client::connect(NOWHERE, NetworkMode::Reserved));
    machine(options, steps).await?;
    let obtained = steps.run("server", seconds(120), async |report: &mut Report| {
        let obtained = obtain(options).await?;
        report.note(&obtained.description);
        Ok(obtained)
    });
    let Some(obtained) = obtained.await? else {
        let all = DIRECT.into_iter().chain(protocol().into_iter().map(|case| case.name));
        for name in all.chain(["network"]).chain(NETWORK).chain(["memory", "supervised"]) {
            steps.leave_out(name, "server")?;
        }
        return Ok(());
    };
    steps.figures.server.clone_from(&obtained.description);
    let watch = Watch::start(options.gpu).ok();
    let mut server = Server::new(&obtained, options.gpu, &options.out);
    let is_up = direct(steps, &mut server, client).await?;
    through_the_network(steps, &mut server, watch.as_ref(), is_up).await?;
    memory(steps, &server, watch.as_ref(), options.stand_in).await?;
    steps
        .run("supervised", seconds(180), async |report: &mut Report| {
            supervised(&obtained, &mut server, options, report).await
        })
        .await?;
    server.stop().await;
    Ok(())
}

/// The GPU.
async fn machine(options: &Options, steps: &mut Steps) -> Result<()> {
    let found = steps.run("machine", seconds(15), async |report: &mut Report| {
        match watch::gpu(options.gpu).await {
            Ok(gpu) => {
                report.note(format!("{}, driver {}", gpu.model, gpu.driver));
                Ok(Some(gpu))
            }
            Err(error) if options.stand_in => {
                report.note(format!("{error:#}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    steps.figures.gpu = found.await?.flatten();
    Ok(())
}

/// The server alone, over two shared connections. Returns whether it could be started.
async fn direct(
    steps: &mut Steps,
    server: &mut Server,
    client: JoinHandle<Result<Client>>,
) -> Result<bool> {
    let started = steps.run("start", seconds(60), async |report: &mut Report| {
        let took = server.start().await?;
        report.figure("server: start to first answer", took, "s");
        Ok(())
    });
    if started.await?.is_none() {
        let cases = protocol().into_iter().map(|case| case.name);
        for name in DIRECT.into_iter().skip(1).chain(cases) {
            steps.leave_out(name, "start")?;
        }
        return Ok(false);
    }
    let mut shared = Shared::new(server.socket());
    // The first request for a program builds the prover: before anything else is measured.
    let (same_key, others): (Vec<_>, Vec<_>) =
        protocol().into_iter().partition(|case| case.name == "same-key");
    for case in same_key {
        steps
            .run(case.name, seconds(180), async |report: &mut Report| {
                report.note((case.play)(&mut shared).await?);
                Ok(())
            })
            .await?;
    }
    let client = steps.run("client", seconds(120), async |report: &mut Report| {
        report.note("its keys are derived on the processor, from the start of the trial on");
        client.await.context("the client panicked")?
    });
    let client = client.await?;
    for (name, mode, sdk_mode) in [
        ("core-direct", ProofMode::Core, SP1ProofMode::Core),
        ("compressed-direct", ProofMode::Compressed, SP1ProofMode::Compressed),
    ] {
        steps
            .run(name, seconds(120), async |report: &mut Report| {
                revive(server, &mut shared).await?;
                let client = client.as_ref().context("needs client")?;
                let expected = client.execute(N).await?;
                let mut first = shared.take(Which::First).await?;
                let mut times = Vec::new();
                for _ in 0..PROOFS {
                    let (proof, took) = prove_with(&mut first, N, mode).await?;
                    check_proof(client, &proof, sdk_mode, Backend::Cpu, &expected).await?;
                    times.push(took);
                }
                shared.keep(Which::First, first);
                report.figure(format!("{sdk_mode:?} proof, direct, first"), times[0], "s");
                let best = times.into_iter().fold(f64::INFINITY, f64::min);
                report.figure(format!("{sdk_mode:?} proof, direct, best of {PROOFS}"), best, "s");
                Ok(())
            })
            .await?;
    }
    for case in others {
        steps
            .run(case.name, seconds(90), async |report: &mut Report| {
                revive(server, &mut shared).await?;
                report.note((case.play)(&mut shared).await?);
                Ok(())
            })
            .await?;
    }
    Ok(true)
}

/// Starts the server again if an earlier step has ended it; its connections are lost then.
async fn revive(server: &mut Server, shared: &mut Shared) -> Result<()> {
    if server.revive().await? {
        *shared = Shared::new(server.socket());
    }
    Ok(())
}

/// The same server behind a Contemplant.
async fn through_the_network(
    steps: &mut Steps,
    server: &mut Server,
    watch: Option<&Watch>,
    is_up: bool,
) -> Result<()> {
    let network = if is_up {
        let started = steps.run("network", seconds(180), async |report: &mut Report| {
            server.revive().await?;
            Relayed::start(server.socket(), report).await
        });
        started.await?
    } else {
        steps.leave_out("network", "start")?;
        None
    };
    let Some(network) = network else {
        return NETWORK.into_iter().try_for_each(|name| steps.leave_out(name, "network"));
    };
    let [core, compressed, queue] = NETWORK;
    for (name, mode) in [(core, SP1ProofMode::Core), (compressed, SP1ProofMode::Compressed)] {
        steps
            .run(name, seconds(120), async |report: &mut Report| network.proof(mode, report).await)
            .await?;
    }
    steps
        .run(queue, seconds(150), async |report: &mut Report| network.queue(watch, report).await)
        .await?;
    steps.run("network-stop", seconds(30), async |_: &mut Report| network.stop().await).await?;
    Ok(())
}

/// The memory that all before has taken.
async fn memory(
    steps: &mut Steps,
    server: &Server,
    watch: Option<&Watch>,
    stand_in: bool,
) -> Result<()> {
    steps
        .run("memory", seconds(10), async |report: &mut Report| {
            match watch.and_then(Watch::memory_peak_mib) {
                Some(mib) => report.figure("GPU memory, peak", as_f64(mib), "MiB"),
                None if stand_in => report.note("the driver reports no memory"),
                None => bail!("the driver reports no memory"),
            }
            let mib = server.memory_peak_mib().context("the server does not run")?;
            report.figure("main memory of the server, peak", as_f64(mib), "MiB");
            report.figure("starts of the server", f64::from(server.starts()), "");
            Ok(())
        })
        .await?;
    Ok(())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn as_f64(mib: u64) -> f64 {
    f64::from(u32::try_from(mib).unwrap_or(u32::MAX))
}

/// The day by this machine's clock.
fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%F"]).output().context("cannot run date")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
