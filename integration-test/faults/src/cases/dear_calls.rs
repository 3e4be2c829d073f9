//! Floods of cheap calls with dear answers, on a store with a million requests.

use std::time::Duration;

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use test_harness::config::{key, merge};
use test_peers::{Client, unix_now};
use tokio::time::{Instant, sleep};
use toml::Table;

use super::flood::known_program;
use crate::attackers::Attacker;
use crate::case::{Case, case};
use crate::flood::Flood;
use crate::stage::{STEP, Stage};

/// Longest time for the case.
const LIMIT: Duration = Duration::from_secs(300);

/// Requests in the store.
const STORED: u32 = 1_000_000;

/// The floods, each alone and then all together.
const FLOODS: [Flood; 5] = [Flood::Lists, Flood::Ready, Flood::Heads, Flood::Resets, Flood::Unread];

/// Size of the artifact whose heads and unread bodies are asked for.
const ARTIFACT: usize = 4 << 20;

/// For how long calls are timed without a flood, during each, and during all.
const QUIET: Duration = Duration::from_secs(3);
const ALONE: Duration = Duration::from_secs(6);
const TOGETHER: Duration = Duration::from_secs(12);

/// Maximum time of 99 of 100 status calls. Without optimisations only what is answered counts.
const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 2000 } else { 20 });

/// Maximum time as a multiple of that without a flood, and what counts as the latter at least.
const TIMES: u32 = 10;
const LEAST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 200 } else { 1 });

/// Maximum growth of resident memory in MiB.
const MOST_MEMORY: u64 = 256;

/// The case, in the group of the floods.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!("flood", "flood-of-lists", "a million requests stored; lists, `/ready`, `HEAD`s, resets and unread answers, each alone and together: polls stay fast, memory stays low", lists),
    ];
    cases.into_iter().map(|case| case.within(LIMIT).keys(keys())).collect()
}

/// Lists are open to all. Calls have their default rate, which the suite lifts elsewhere.
fn keys() -> Table {
    let mut keys = key("calls.lists", "open");
    merge(&mut keys, &key("calls.per_ip_per_second", 200));
    keys
}

async fn lists(stage: &mut Stage) {
    let status = stage.hierophant.process.terminate(STEP).await.expect("stops");
    assert!(status.success(), "{status}");
    let mut store = stage.store().await;
    store.fill(STORED, unix_now() * 1000).await.expect("fills the store");
    store.close().await.expect("closes");
    stage.hierophant.launch().await.expect("starts");

    let mut client = stage.client(7).await;
    let _prover = stage.prover("joel", Duration::from_millis(200));
    let request = stage.request(&mut client, 20).await;
    stage.arrives(&request).await;
    let program = known_program(stage, &mut client, &request.id).await;
    let (_, program) = program.split_once(' ').expect("its artifact and its id");
    let artifact = client.upload(ArtifactType::Stdin, &vec![7; ARTIFACT]).await;
    let known = format!("{artifact} {program}");
    let quiet = poll(&mut client, &request.id, QUIET).await;
    let before = memory_mib(stage, "VmRSS");
    forget_peak(stage);

    stage.fault_begins();
    let mut slow = Vec::new();
    for flood in FLOODS.iter().map(|flood| vec![*flood]).chain([FLOODS.to_vec()]) {
        let mut attackers = Vec::new();
        for kind in &flood {
            let attacker = Attacker::start(*kind, &stage.hierophant, &[], &known).await;
            attackers.push(attacker.expect("a flood"));
        }
        let period = if flood.len() == 1 { ALONE } else { TOGETHER };
        let loud = poll(&mut client, &request.id, period).await;
        drop(attackers);
        let names: Vec<String> = flood.iter().map(ToString::to_string).collect();
        let (name, peak) = (names.join(" + "), memory_mib(stage, "VmHWM"));
        stage.note(format!(
            "{name}: {} polls, half within {:.1?}, 99 of 100 within {:.1?}, memory {} MiB above the start",
            loud.len(), at(&loud, 50), at(&loud, 99), peak.saturating_sub(before)
        ));
        let most = MOST.min(at(&quiet, 99).max(LEAST) * TIMES);
        if at(&loud, 99) > most || peak > before + MOST_MEMORY {
            slow.push(name);
        }
        // Connections that were cut by their end are closed before the next flood.
        sleep(Duration::from_secs(1)).await;
    }
    stage.note(format!(
        "without a flood: half within {:.1?}, 99 of 100 within {:.1?}",
        at(&quiet, 50),
        at(&quiet, 99)
    ));
    assert!(slow.is_empty(), "slow, or too much memory, under {slow:?}: {:?}", stage.notes);
    let second = stage.request(&mut client, 21).await;
    stage.arrives(&second).await;
}

/// Status calls for a while, as an SDK makes them; how long each took, sorted.
async fn poll(client: &mut Client, id: &[u8], period: Duration) -> Vec<Duration> {
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < period {
        let started = Instant::now();
        let call = pb::GetProofRequestStatusRequest { request_id: id.to_vec() };
        let answer = client.network.get_proof_request_status(call).await.expect("an answer");
        let fulfilled = pb::FulfillmentStatus::Fulfilled as i32;
        assert_eq!(answer.into_inner().fulfillment_status, fulfilled);
        times.push(started.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    times.sort();
    times
}

/// The time within which this many of a hundred calls were answered.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// A figure of Hierophant's memory in MiB, such as `VmRSS`, as Linux counts it.
fn memory_mib(stage: &Stage, figure: &str) -> u64 {
    let status = std::fs::read_to_string(proc_file(stage, "status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(figure)).expect("a figure");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") / 1024
}

/// Begins to count the highest memory again.
fn forget_peak(stage: &Stage) {
    std::fs::write(proc_file(stage, "clear_refs"), "5").expect("its own process");
}

fn proc_file(stage: &Stage, name: &str) -> String {
    format!("/proc/{}/{name}", stage.hierophant.process.id().expect("it runs"))
}
