//! What the network adds to a real proof: the same Core proofs by `sp1-sdk`'s own prover in this process and
//! through a Hierophant and a Contemplant, in turns, with both provers warm.
//!
//! Both provers stay in memory, some 10 GiB each.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde::Serialize;
use sp1_sdk::network::NetworkMode;
use sp1_sdk::{CpuProver, ProveRequest, Prover, ProverClient, SP1ProofMode, SP1ProvingKey};
use tokio_util::sync::CancellationToken;

use crate::binaries::Binaries;
use crate::client::{Client, stdin_of};
use crate::network::{ContemplantSettings, LocalNetwork, mock_mode};
use crate::options::{Backend, Mode};
use crate::progress::Progress;
use crate::status::StatusClient;
use crate::verify::check_proof;

/// How many times the direct time a proof through the network may take.
const WANTED: f64 = 1.02;

/// Longest wait until the Contemplant's prover is warm.
const WARM_UP: Duration = Duration::from_secs(900);

/// Longest wait for one proof.
const PROOF_LIMIT: Duration = Duration::from_secs(1800);

/// Makes the same real Core proofs with sp1-sdk directly and through a network on this machine, and compares
/// their times. Takes some three minutes for each round and six to warm up, on two cores.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Pairs of proofs.
    #[arg(long, default_value = "3")]
    pub rounds: NonZeroU32,

    /// Input of the Fibonacci program in the first round; each further one takes the next number.
    #[arg(long, default_value_t = 1000)]
    pub n: u32,

    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// End with an error if the target is missed, too.
    #[arg(long)]
    pub strict: bool,
}

/// One pair of proofs of the same input, in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// By the SDK's prover in this process: from the call to the proof.
    pub direct: f64,
    /// Through the network: from the SDK's call, upload included, until it has downloaded the proof. It looks
    /// every two seconds whether there is one.
    pub network: f64,
    /// Of that, the Contemplant's work by Hierophant's clock: fetching, proving, handing in.
    pub contemplant: f64,
}

/// All pairs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    rounds: Vec<Round>,
}

impl Report {
    /// The median of network by direct.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.network / round.direct))
    }

    /// Whether that is as good as wanted.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.ratio() <= WANTED
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "round   direct     network    of it the Contemplant   ratio")?;
        for (number, round) in self.rounds.iter().enumerate() {
            let Round { direct, network, contemplant } = round;
            let ratio = network / direct;
            writeln!(
                f,
                "{:<5} {direct:>7.2} s  {network:>8.2} s  {contemplant:>18.2} s   {ratio:.3}",
                number + 1
            )?;
        }
        let outside = median(self.rounds.iter().map(|round| round.network - round.contemplant));
        writeln!(f, "outside the Contemplant, median: {outside:.2} s")?;
        let (ratio, verdict) = (self.ratio(), if self.holds() { "held" } else { "MISSED" });
        write!(
            f,
            "network against direct, median: {ratio:.3} times (wanted: at most {WANTED}): {verdict}"
        )
    }
}

/// Median of at least one number.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len() % 2) {
        (Some(upper), 0) => f64::midpoint(sorted[sorted.len() / 2 - 1], *upper),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

/// Measures. Every proof is verified; one that is wrong, or a program that does not stop well, is an error.
///
/// # Errors
///
/// What went wrong, with the programs' last words.
pub async fn run(options: &Options, shutdown: CancellationToken) -> Result<Report> {
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
        // Whoever goes second may find the machine warmer, so they take turns at it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_round_decides_nothing() {
        let round = |direct, network| Round { direct, network, contemplant: network - 1.0 };
        let mut report = Report { rounds: vec![round(100.0, 101.0)] };
        assert!(report.holds(), "{report}");
        report.rounds.extend([round(100.0, 150.0), round(100.0, 101.9)]);
        assert!((report.ratio() - 1.019).abs() < 1e-9, "{report}");
        report.rounds.push(round(100.0, 102.9));
        assert!(!report.holds(), "{report}");
        assert!(report.to_string().contains("MISSED"), "{report}");
    }
}
