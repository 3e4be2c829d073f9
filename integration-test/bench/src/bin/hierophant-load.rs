//! `hierophant-load`: puts a load on a running network and says how it bore it. The proofs are real or mock,
//! as the network's Contemplants make them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bench_suite::measure::Latencies;
use bench_suite::program::Program;
use bench_suite::report::short;
use bench_suite::requester::{End, Numbers, Requester};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use network_lib::job::ProofMode;
use network_lib::task;
use test_peers::Addresses;
use tokio::net::lookup_host;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Puts a load on a running network: requests at a fixed rate, for a fixed time, each awaited until it ends.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where clients reach Hierophant, as in NETWORK_RPC_URL.
    #[arg(long, env = "NETWORK_RPC_URL", default_value = "http://127.0.0.1:9000")]
    url: String,
    /// Requests a second. Each takes some ten calls: above the network's `calls.per_ip_per_second` they are refused.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// For how long requests are made.
    #[arg(long, default_value = "1m")]
    duration: humantime::Duration,
    /// How long an answer is awaited after the last request.
    #[arg(long, default_value = "10m")]
    patience: humantime::Duration,
    /// Clients, each with a key and a connection of its own.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Kinds of proof and how often each is asked for.
    #[arg(long, value_delimiter = ',', default_value = "core=1")]
    modes: Vec<Share>,
    /// Inputs of the example program, in turn: the larger, the longer it runs.
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    sizes: Vec<u32>,
    /// Pause between two polls of a request; the SDK takes two seconds.
    #[arg(long, default_value = "2s")]
    poll: humantime::Duration,
    /// Another program than the example: its ELF. Needs --vk and --stdin.
    #[arg(long, requires = "vk", requires = "stdin")]
    elf: Option<PathBuf>,
    /// Its verifying key, as bincode of SP1's `SP1VerifyingKey`.
    #[arg(long, requires = "elf")]
    vk: Option<PathBuf>,
    /// Its input, as bincode of SP1's `SP1Stdin`; the same for all requests.
    #[arg(long, requires = "elf")]
    stdin: Option<PathBuf>,
    /// The program's id, 64 hexadecimal digits (`vk.bytes32()` of the SDK is another; this is `hash_bytes`).
    #[arg(long, requires = "elf")]
    vk_hash: Option<String>,
}

/// A kind of proof and its share.
#[derive(Debug, Clone, Copy)]
struct Share {
    mode: ProofMode,
    times: u32,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, times) = text.split_once('=').unwrap_or((text, "1"));
        let mode = ProofMode::ALL.into_iter().find(|mode| mode.to_string() == word);
        let mode = mode.ok_or_else(|| format!("no kind of proof is called {word:?}"))?;
        let times =
            times.parse().map_err(|_| format!("invalid weight {times:?}: expected a number"))?;
        Ok(Self { mode, times })
    }
}

/// How many requests ended in which way.
#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    fulfilled: AtomicU64,
    unfulfilled: AtomicU64,
    errors: AtomicU64,
}

impl Counts {
    fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hierophant-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool> {
    ensure!(arguments.rate > 0.0 && arguments.rate.is_finite(), "--rate must be above 0");
    let turns: Vec<ProofMode> = arguments
        .modes
        .iter()
        .flat_map(|share| std::iter::repeat_n(share.mode, share.times as usize))
        .collect();
    ensure!(!turns.is_empty() && !arguments.sizes.is_empty(), "nothing to ask for");
    let network = resolve(&arguments.url).await?;
    let program = Arc::new(program(&arguments)?);
    let http = reqwest::Client::builder().tcp_nodelay(true).build()?;
    let numbers = Numbers::from_now();
    let mut clients = Vec::new();
    for seed in 0..arguments.clients.max(1) {
        let mut client = Requester::connect(&network, &http, seed, &numbers).await?;
        if seed == 0 {
            client.register(&program).await?;
        }
        clients.push(client);
    }

    let counts = Arc::new(Counts::default());
    let calls = Arc::new(Latencies::of("upload and RequestProof"));
    let proofs = Arc::new(Latencies::of("request to proof"));
    let bar = ProgressBar::new(Duration::from(arguments.duration).as_secs());
    bar.set_style(ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}")?);
    let mut clock = interval(Duration::from_secs_f64(1.0 / arguments.rate));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut turn, mut tasks) = (Instant::now(), 0_usize, Vec::new());
    while began.elapsed() < *arguments.duration {
        clock.tick().await;
        let mut client = clients[turn % clients.len()].clone();
        let (mode, size) =
            (turns[turn % turns.len()], arguments.sizes[turn % arguments.sizes.len()]);
        turn += 1;
        counts.made.fetch_add(1, Ordering::Relaxed);
        show(&bar, &counts, &proofs, began);
        let (counts, calls, proofs) =
            (Arc::clone(&counts), Arc::clone(&calls), Arc::clone(&proofs));
        let (program, poll) = (Arc::clone(&program), *arguments.poll);
        tasks.push(task::spawn("request", async move {
            let asked = Instant::now();
            let outcome = async {
                let id = client.ask_for(&program, mode, size).await?;
                calls.note(asked.elapsed());
                match client.until_ended(&id, poll).await? {
                    End::Fulfilled(uri) => {
                        proofs.note(asked.elapsed());
                        let proof = client.download(&uri).await?;
                        ensure!(program.is_of(&proof, size), "the proof is of another input");
                        Ok(true)
                    }
                    End::Otherwise => Ok(false),
                }
            };
            match outcome.await {
                Ok(true) => counts.fulfilled.fetch_add(1, Ordering::Relaxed),
                Ok(false) => counts.unfulfilled.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    eprintln!("{error:#}");
                    counts.errors.fetch_add(1, Ordering::Relaxed)
                }
            };
        }));
    }
    let waiting = async {
        while tasks.iter().any(|task| !task.is_finished()) {
            show(&bar, &counts, &proofs, began);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let all_ended = tokio::select! {
        ended = tokio::time::timeout(*arguments.patience, waiting) => ended.is_ok(),
        _ = tokio::signal::ctrl_c() => false,
    };
    bar.finish_and_clear();
    summarize(&counts, &[calls, proofs], began.elapsed(), all_ended)
}

fn show(bar: &ProgressBar, counts: &Counts, proofs: &Latencies, began: Instant) {
    bar.set_position(began.elapsed().as_secs());
    let (made, done) = (Counts::of(&counts.made), Counts::of(&counts.fulfilled));
    let failed = Counts::of(&counts.unfulfilled) + Counts::of(&counts.errors);
    let going_on = made.saturating_sub(done + failed);
    let p50 = short(proofs.summary().p50 / 1000.0);
    bar.set_message(format!(
        "{made} made, {done} proved, {going_on} going on, {failed} failed; half within {p50} s"
    ));
}

fn summarize(
    counts: &Counts,
    latencies: &[Arc<Latencies>],
    took: Duration,
    all_ended: bool,
) -> Result<bool> {
    let (made, proved) = (Counts::of(&counts.made), Counts::of(&counts.fulfilled));
    let (others, errors) = (Counts::of(&counts.unfulfilled), Counts::of(&counts.errors));
    let rate = short(proved as f64 / took.as_secs_f64());
    println!("{made} requests in {:.1} s", took.as_secs_f64());
    println!("  {proved} proved ({rate} a second)");
    println!("  {others} unfulfillable or unexecutable");
    println!("  {errors} errors");
    println!("  {} without an end", made - proved - others - errors);
    for of in latencies {
        let of = of.summary();
        let [p50, p90, p99, max] = [of.p50, of.p90, of.p99, of.max].map(short);
        println!("{}: p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, max {max} ms", of.name);
    }
    Ok(all_ended && proved == made)
}

fn program(arguments: &Arguments) -> Result<Program> {
    let (Some(elf), Some(vk), Some(stdin)) = (&arguments.elf, &arguments.vk, &arguments.stdin)
    else {
        return Ok(Program::fibonacci());
    };
    let read = |file: &PathBuf| {
        std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
    };
    let hash = arguments.vk_hash.as_deref().context("--vk-hash is missing")?;
    let hash =
        hex::decode(hash.trim_start_matches("0x")).context("--vk-hash is not hexadecimal")?;
    let hash = hash.try_into().map_err(|_| anyhow!("--vk-hash has not 32 bytes"))?;
    Ok(Program::of(hash, read(vk)?, &read(elf)?, read(stdin)?))
}

async fn resolve(url: &str) -> Result<Addresses> {
    let rest = url.strip_prefix("http://").context("--url must begin with http://")?;
    let host = rest.trim_end_matches('/');
    let mut found = lookup_host(host).await.with_context(|| format!("cannot resolve {host}"))?;
    let grpc: SocketAddr = found.next().with_context(|| format!("{host} has no address"))?;
    // Uploads go where the tickets say.
    Ok(Addresses { grpc, http: grpc })
}
