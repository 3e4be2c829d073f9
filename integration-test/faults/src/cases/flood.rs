//! Floods of what strangers can send, while an honest client wants its proof.

use std::time::Duration;

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use test_harness::config::{key, merge};
use test_harness::wait;
use test_peers::Client;
use tokio::time::{Instant, sleep};
use toml::Table;

use crate::attackers::Attacker;
use crate::case::{Case, case};
use crate::flood::{Flood, UPLOADS};
use crate::stage::Stage;

/// Longest time for a case.
const LIMIT: Duration = Duration::from_secs(120);

/// Calls that are timed before the flood.
const QUIET_CALLS: usize = 300;

/// For how long calls are timed during it, at least.
const FLOODED: Duration = Duration::from_secs(10);

/// Maximum time of an honest call, as a multiple of the time before the flood.
const TIMES: u32 = 10;

/// What counts as the time of a quiet call at least, for half of the calls and for all but one in a hundred: a
/// tenth of a millisecond on an idle machine says nothing about a busy one.
const LEAST: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(30));

/// Most resident memory in MiB at any time.
const MOST_MEMORY: u64 = 512;

/// Maximum growth of resident memory in MiB after the flood, and the time until it must be that low.
const MOST_LEFT: u64 = 64;
const AFTER: Duration = Duration::from_secs(30);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!("flood", "flood-of-connections", "10,000 silent connections: the proof arrives, calls stay fast, memory is released", connections),
        case!("flood", "flood-of-slow-uploads", "1,000 uploads at a byte a second: cut; the proof arrives, calls stay fast, memory is released", uploads),
        case!("flood", "flood-of-calls", "100,000 unsigned requests: refused; the proof arrives, calls stay fast, memory is released", calls),
        case!("flood", "flood-of-unread-answers", "40,000 requests over HTTP/2 whose answers are not read: cut; the proof arrives, calls stay fast, memory is released", unread),
        case!("flood", "flood-of-known-uploads", "200 endless uploads to a program's id: refused; the proof arrives, calls stay fast, memory is released", known),
        case!("flood", "flood-of-everything", "all five at once; the proof arrives, calls stay fast, memory is released", everything),
    ];
    cases.into_iter().map(|case| case.within(LIMIT).keys(keys())).collect()
}

/// Slow uploads are cut after seconds instead of a minute, so that a case can wait for it. Lists, whose answers no one
/// reads, are answered.
fn keys() -> Table {
    let mut keys = key("limits.upload_window", "5s");
    merge(&mut keys, &key("limits.min_upload_rate", 16 * 1024));
    merge(&mut keys, &key("calls.lists", "open"));
    keys
}

async fn connections(stage: &mut Stage) {
    flooded(stage, &[Flood::Connections]).await;
}

async fn uploads(stage: &mut Stage) {
    flooded(stage, &[Flood::Uploads]).await;
}

async fn calls(stage: &mut Stage) {
    flooded(stage, &[Flood::Calls]).await;
}

async fn unread(stage: &mut Stage) {
    flooded(stage, &[Flood::Unread]).await;
}

async fn known(stage: &mut Stage) {
    flooded(stage, &[Flood::Known]).await;
}

async fn everything(stage: &mut Stage) {
    let all = [Flood::Connections, Flood::Uploads, Flood::Calls, Flood::Unread, Flood::Known];
    flooded(stage, &all).await;
}

async fn flooded(stage: &mut Stage, floods: &[Flood]) {
    let mut client = stage.client(7).await;
    let _prover = stage.prover("joel", Duration::from_millis(200));
    let first = stage.request(&mut client, 20).await;
    stage.arrives(&first).await;
    let tickets = tickets(stage, floods).await;
    // Of a program that was registered for the first request: a stranger learns it without a signature.
    let known = known_program(stage, &mut client, &first.id).await;
    let mut quiet = Times::default();
    while quiet.0.len() < QUIET_CALLS {
        quiet.call(stage, &mut client).await;
    }
    let before = memory_mib(stage, "VmRSS");

    stage.fault_begins();
    let mut attackers = Vec::new();
    for flood in floods {
        let attacker = Attacker::start(*flood, &stage.hierophant, &tickets, &known).await;
        attackers.push((*flood, attacker.expect("a flood")));
    }
    let mut loud = Times::default();
    let started = Instant::now();
    let second = stage.request(&mut client, 21).await;
    while started.elapsed() < FLOODED || !stage.observer(&second).has_arrived() {
        loud.call(stage, &mut client).await;
    }
    for (flood, attacker) in &mut attackers {
        if *flood == Flood::Calls {
            let figures = loop {
                tokio::select! {
                    figures = attacker.done() => break figures.expect("figures"),
                    () = loud.call(stage, &mut client) => {}
                }
            };
            stage.note(figures);
        }
    }
    let open = open_files(stage);
    drop(attackers);
    let peak = memory_mib(stage, "VmHWM");
    let started = Instant::now();
    let mut after = memory_mib(stage, "VmRSS");
    // The allocator returns memory while it works.
    let mut later = Times::default();
    while after > before + MOST_LEFT && started.elapsed() < AFTER {
        later.call(stage, &mut client).await;
        after = memory_mib(stage, "VmRSS");
    }
    let (quiet_times, loud_times) = (quiet.percentiles(), loud.percentiles());
    stage.note(format!(
        "{} calls: half within {:.1?}, 99 of 100 within {:.1?}; before {:.1?} and {:.1?}; {open} files open; \
         memory {before}, {peak}, {after} MiB",
        loud.0.len(), loud_times.0, loud_times.1, quiet_times.0, quiet_times.1
    ));
    assert!(loud_times.0 <= quiet_times.0.max(LEAST.0) * TIMES, "slow: {:?}", stage.notes);
    assert!(loud_times.1 <= quiet_times.1.max(LEAST.1) * TIMES, "slow: {:?}", stage.notes);
    assert!(peak <= MOST_MEMORY, "too much memory: {:?}", stage.notes);
    assert!(after <= before + MOST_LEFT, "memory does not come back: {:?}", stage.notes);
    wait::eventually("no half-written upload", AFTER, async || {
        let folder = stage.hierophant.data().join("artifacts/tmp");
        (folder.read_dir().expect("readable").count() == 0).then_some(())
    })
    .await;
}

/// Tickets for as many uploads as the floods need, of several clients.
async fn tickets(stage: &Stage, floods: &[Flood]) -> Vec<String> {
    let mut tickets = Vec::new();
    if floods.contains(&Flood::Uploads) {
        for seed in 100..120 {
            let mut client = Client::with_key(&stage.hierophant, seed).await;
            for _ in 0..UPLOADS / 20 {
                tickets.push(client.ticket(ArtifactType::Stdin).await.artifact_presigned_url);
            }
        }
    }
    tickets
}

/// URL of the program of a request, and its id.
pub(super) async fn known_program(stage: &Stage, client: &mut Client, request: &[u8]) -> String {
    let details = client.details(request).await.expect("a request");
    let vk_hash = hex::encode(&details.vk_hash);
    let ask = pb::GetProgramRequest { vk_hash: details.vk_hash };
    let program = client.network.get_program(ask).await.expect("a program").into_inner().program;
    let uri = program.expect("a program").program_uri;
    let path = &uri[uri.rfind("/artifacts").expect("a path")..];
    format!("http://{}{path} {vk_hash}", stage.hierophant.http())
}

/// A figure of Hierophant's memory in MiB, such as `VmRSS`, as Linux counts it.
fn memory_mib(stage: &Stage, figure: &str) -> u64 {
    let status = std::fs::read_to_string(proc_file(stage, "status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(figure)).expect("a figure");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") / 1024
}

/// Number of files and connections that Hierophant has open.
fn open_files(stage: &Stage) -> usize {
    std::fs::read_dir(proc_file(stage, "fd")).expect("it runs").count()
}

fn proc_file(stage: &Stage, name: &str) -> String {
    format!("/proc/{}/{name}", stage.hierophant.process.id().expect("it runs"))
}

/// How long an honest client's calls took.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// A call over a connection that is open already, and one over a new one.
    async fn call(&mut self, stage: &Stage, client: &mut Client) {
        let started = Instant::now();
        let request = pb::GetNonceRequest { address: client.address().to_vec() };
        client.network.get_nonce(request).await.expect("a nonce");
        self.0.push(started.elapsed());
        let started = Instant::now();
        let url = format!("http://{}/ready", stage.hierophant.http());
        let answer = reqwest::Client::new().get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        self.0.push(started.elapsed());
        sleep(Duration::from_millis(5)).await;
    }

    /// The longest of the faster half, and of all but the slowest hundredth.
    fn percentiles(&self) -> (Duration, Duration) {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        (at(50), at(99))
    }
}
