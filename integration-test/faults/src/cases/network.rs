//! Links that break or crawl, and peers that misbehave.

use std::time::Duration;

use futures_util::SinkExt;
use network_lib::handshake::Hello;
use network_lib::job::ProofMode;
use network_lib::wire::FromWorker;
use network_lib::{codec, task};
use test_harness::config::key;
use test_harness::{Process, wait};
use test_peers::{Addresses, Client, hello, unix_now};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

use super::steps::{leased, proves};
use crate::case::{Case, case, short_silence};
use crate::contemplant::Settings;
use crate::observer::Expected;
use crate::program;
use crate::prover::Prover;
use crate::proxy::Proxy;
use crate::stage::{Request, STEP, Stage};
use test_peers::relay::{Direction, Relay};

/// Longer than the silence that the cases here allow.
const LONG_HOLE: Duration = Duration::from_secs(4);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("network", "worker-link-cut", "a Contemplant's link is cut while it proves: it continues and hands in later, one attempt", worker_link_cut).with_contemplants(),
        case!("network", "partition-worker-to-hierophant", "no message from a Contemplant arrives: retried on another worker; it reconnects after the partition", partition_to_hierophant).with_contemplants().keys(short_silence()),
        case!("network", "partition-hierophant-to-worker", "no message to a Contemplant arrives: retried on another worker; it reconnects after the partition", partition_to_worker).with_contemplants().keys(short_silence()),
        case!("network", "slow-link-worker-to-hierophant", "1 kB/s from the worker: late, but one attempt", slow_to_hierophant),
        case!("network", "slow-link-hierophant-to-worker", "8 kB/s to the Contemplant: late, but one attempt", slow_to_worker).with_contemplants(),
        case!("network", "partition-client-to-hierophant", "the client's calls are lost: it sees silence, then its proof", client_questions_lost),
        case!("network", "partition-hierophant-to-client", "the responses are lost: the client sees silence, then its proof", client_answers_lost),
        case!("network", "client-link-cut", "the client's connection breaks repeatedly: it receives its proof", client_link_cut),
        case!("network", "client-link-slow", "a client on a slow link: it receives its proof", client_link_slow),
        case!("network", "answer-lost-asked-again", "the response to a request is lost and the call retried: one request, one attempt", answer_lost),
        case!("network", "worker-sends-garbage", "garbage after a valid handshake: disconnected, the job retried on another worker", garbage),
        case!("network", "worker-sends-huge-frames", "a frame of 4 MB: disconnected, the job retried on another worker", huge_frames),
        case!("network", "worker-floods", "a flood of frames: disconnected, clients are served throughout", floods),
        case!("network", "worker-never-answers", "a worker takes a job and falls silent: retried on another worker", never_answers).keys(short_silence()),
        case!("network", "worker-never-reads", "a worker sends heartbeats but does not work: retried on another worker after the time limit", never_reads).keys(key("proofs.attempt_limit", "3s")),
        case!("network", "worker-makes-no-progress", "a worker reports the same progress repeatedly: retried on another worker", no_progress).with_contemplants().keys(key("worker_registry.worker_required_progress_interval_mins", 1)),
        case!("network", "proxy-refuses-proofs", "a proxy answers 413, 502 and 403 to a finished proof: the proof is kept, one attempt, handed in when the proxy is corrected", proxy_refuses).with_contemplants().within(Duration::from_secs(300)),
        case!("network", "clock-skew", "clients whose clocks are hours off: valid deadlines are served, past deadlines are refused at once", clock_skew),
    ]
}

/// A real Contemplant behind a relay that proves for `proof_time`, and the request that it works on.
async fn behind_relay(stage: &mut Stage, proof_time: Duration) -> (Relay, Process, Request) {
    let relay = Relay::to(stage.hierophant.http()).await.expect("relays");
    let settings = Settings::new("amos", proof_time).with("http_timeout", "2s");
    let worker = stage.contemplant_at(relay.address, &settings);
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    (relay, worker, request)
}

async fn worker_link_cut(stage: &mut Stage) {
    let (relay, _worker, request) = behind_relay(stage, Duration::from_secs(4)).await;
    stage.fault_begins();
    relay.cut();
    // The proof is finished while the link is down.
    sleep(Duration::from_secs(6)).await;
    relay.heal();
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn made_elsewhere(stage: &mut Stage, break_link: impl FnOnce(&Relay)) {
    let (relay, mut worker, request) = behind_relay(stage, Duration::from_secs(600)).await;
    let _other = stage.prover("joel", Duration::ZERO);
    stage.joined("joel").await;
    stage.fault_begins();
    break_link(&relay);
    stage.arrives(&request).await;
    assert!(worker.is_alive());
    relay.heal();
    wait::eventually("the Contemplant is back and idle", STEP, async || {
        let page = stage.contemplant_page("amos").await?;
        let idle = page["current_proofs"].as_array()?.is_empty();
        (page["state"] == "ready" && idle).then_some(())
    })
    .await;
    assert_eq!(stage.attempts(&request).await.len(), 2);
}

async fn partition_to_hierophant(stage: &mut Stage) {
    made_elsewhere(stage, |relay| relay.to_server(Direction::BLACK_HOLE)).await;
}

async fn partition_to_worker(stage: &mut Stage) {
    made_elsewhere(stage, |relay| relay.to_client(Direction::BLACK_HOLE)).await;
}

async fn slow_to_hierophant(stage: &mut Stage) {
    let relay = Relay::to(stage.hierophant.http()).await.expect("relays");
    let proofs = &stage.kit.proofs;
    let proof_time = Duration::from_millis(300);
    let _prover = Prover::start(relay.address, "amos", proofs, proof_time, |_| {});
    stage.joined("amos").await;
    stage.fault_begins();
    relay.to_server(Direction::slow(Duration::from_millis(300), 1000));
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn slow_to_worker(stage: &mut Stage) {
    let relay = Relay::to(stage.hierophant.http()).await.expect("relays");
    let _worker = stage.contemplant_at(relay.address, &Settings::new("amos", Duration::ZERO));
    stage.joined("amos").await;
    stage.fault_begins();
    relay.to_client(Direction::slow(Duration::from_millis(200), 8000));
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.all_arrive(Duration::from_secs(150)).await;
    stage.assert_one_attempt(&request).await;
}

/// A request that is watched through a relay, before a worker gets it.
async fn client_behind_relay(stage: &mut Stage) -> (Relay, Request) {
    let relay = Relay::to(stage.hierophant.grpc()).await.expect("relays");
    let reach = Addresses { grpc: relay.address, http: stage.hierophant.http() };
    let mut client = Client::connect(&reach).await;
    program::register(&mut client).await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let id = client.ask(&ask).await.expect("accepted");
    let request = stage.watch(id, Expected::Proof(20, ProofMode::Core), &reach);
    wait::eventually("a first answer", STEP, async || {
        (stage.observer(&request).answers() > 0).then_some(())
    })
    .await;
    (relay, request)
}

async fn finished_in_the_dark(stage: &mut Stage, break_link: impl FnOnce(&Relay)) {
    let (relay, request) = client_behind_relay(stage).await;
    stage.fault_begins();
    break_link(&relay);
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.job_becomes(&request, "proved").await;
    sleep(LONG_HOLE).await;
    assert!(stage.observer(&request).ended().is_none(), "the client cannot know yet");
    relay.heal();
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn client_questions_lost(stage: &mut Stage) {
    finished_in_the_dark(stage, |relay| relay.to_server(Direction::BLACK_HOLE)).await;
}

async fn client_answers_lost(stage: &mut Stage) {
    finished_in_the_dark(stage, |relay| relay.to_client(Direction::BLACK_HOLE)).await;
}

async fn client_link_cut(stage: &mut Stage) {
    let (relay, request) = client_behind_relay(stage).await;
    stage.fault_begins();
    for _ in 0..5 {
        relay.cut();
        sleep(Duration::from_millis(200)).await;
        relay.heal();
        sleep(Duration::from_millis(200)).await;
    }
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
}

async fn client_link_slow(stage: &mut Stage) {
    let (relay, request) = client_behind_relay(stage).await;
    stage.fault_begins();
    relay.to_server(Direction::slow(Duration::from_millis(100), 4000));
    relay.to_client(Direction::slow(Duration::from_millis(100), 4000));
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
}

async fn answer_lost(stage: &mut Stage) {
    let relay = Relay::to(stage.hierophant.grpc()).await.expect("relays");
    let reach = Addresses { grpc: relay.address, http: stage.hierophant.http() };
    let mut client = Client::connect(&reach).await;
    program::register(&mut client).await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    stage.fault_begins();
    relay.to_client(Direction::BLACK_HOLE);
    let lost = timeout(Duration::from_secs(1), client.ask(&ask)).await;
    assert!(lost.is_err(), "the answer cannot have come: {lost:?}");
    relay.cut();
    relay.heal();
    // The SDK repeats the call with the same content, by a new connection.
    let mut client = Client::connect(&reach).await;
    let id = client.ask(&ask).await.expect("accepted");
    let again = client.ask(&ask).await.expect("accepted");
    assert_eq!(id, again, "one call, one request");
    let request = stage.watch(id, Expected::Proof(20, ProofMode::Core), &reach);
    let mut store = stage.store().await;
    assert_eq!(store.count("SELECT count(*) FROM requests").await.expect("counted"), 1);
    store.close().await.expect("closed");
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

/// A worker holds the job, does `evil`, and another worker must get the job then.
async fn evil(
    stage: &mut Stage,
    evil: impl AsyncFnOnce(&mut test_peers::Worker),
    shown_the_door: bool,
) {
    let mut client = stage.client(7).await;
    let mut worker = stage.worker("gehazi").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    proves(&mut worker, lease).await;
    stage.fault_begins();
    evil(&mut worker).await;
    if shown_the_door {
        timeout(STEP, async { while worker.hear().await.is_some() {} }).await.expect("closed");
    }
    let _other = stage.prover("joel", Duration::ZERO);
    stage.all_arrive(Duration::from_secs(50)).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts.last(), Some(&("joel".into(), "completed".into())), "{attempts:?}");
    let (_, earlier) = attempts.split_last().expect("there is one");
    assert!(earlier.iter().all(|attempt| *attempt == ("gehazi".into(), "lost".into())));
}

async fn garbage(stage: &mut Stage) {
    let play = async |worker: &mut test_peers::Worker| {
        worker.say_text("{\"type\": \"completed\", \"lease_id\": 7}".into()).await;
        // The socket may be closed before the second one is sent.
        let random = network_lib::ids::random_bytes::<512>().to_vec();
        let _ = worker.socket.send(Message::binary(random)).await;
    };
    evil(stage, play, true).await;
}

async fn huge_frames(stage: &mut Stage) {
    let play = async |worker: &mut test_peers::Worker| {
        let text = format!("{{\"type\":\"{}\"}}", "x".repeat(4 << 20));
        let _ = worker.socket.send(Message::text(text)).await;
    };
    evil(stage, play, true).await;
}

async fn floods(stage: &mut Stage) {
    let play = async |worker: &mut test_peers::Worker| {
        let heartbeat = codec::encode(&FromWorker::Heartbeat { held: vec![], gpus: vec![] });
        for _ in 0..20_000 {
            if worker.socket.send(Message::text(heartbeat.clone())).await.is_err() {
                return;
            }
        }
    };
    let http = stage.hierophant.url("/health");
    let watching = task::spawn("answers", async move {
        let client = reqwest::Client::new();
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let start = tokio::time::Instant::now();
            client.get(&http).send().await.expect("answers");
            slowest = slowest.max(start.elapsed());
            sleep(Duration::from_millis(20)).await;
        }
        slowest
    });
    evil(stage, play, true).await;
    let slowest = watching.await.expect("answered all the while");
    assert!(slowest < Duration::from_secs(2), "others were kept waiting for {slowest:?}");
}

async fn never_answers(stage: &mut Stage) {
    evil(stage, async |_| {}, false).await;
}

/// Signs of life by a task of its own; nothing is ever read.
async fn never_reads(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut worker = stage.worker("gehazi").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    stage.fault_begins();
    let living = task::spawn("living", async move {
        let heartbeat = codec::encode(&FromWorker::Heartbeat { held: vec![lease], gpus: vec![] });
        while worker.socket.send(Message::text(heartbeat.clone())).await.is_ok() {
            sleep(Duration::from_millis(300)).await;
        }
    });
    let _other = stage.prover("joel", Duration::ZERO);
    stage.arrives(&request).await;
    living.abort();
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts[1].0, "joel", "{attempts:?}");
}

async fn no_progress(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let me = Hello { name: "gehazi".into(), ..hello() };
    let mut worker = stage.worker_with(me).await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    stage.fault_begins();
    let living = task::spawn("living", async move {
        loop {
            proves(&mut worker, lease).await;
            sleep(Duration::from_secs(1)).await;
        }
    });
    let _other = stage.prover("joel", Duration::ZERO);
    let observer = stage.observer(&request);
    let limit = Duration::from_secs(100);
    wait::eventually("the end", limit, async || observer.ended().map(drop)).await;
    living.abort();
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts[1].0, "joel", "{attempts:?}");
}

/// A 403 comes twice: one of Hierophant's own ends an attempt then.
async fn proxy_refuses(stage: &mut Stage) {
    const REFUSALS: [u16; 4] = [403, 403, 413, 502];
    let proxy = Proxy::to(stage.hierophant.http(), &REFUSALS).await.expect("a proxy");
    let _worker = stage.contemplant_at(proxy.address, &Settings::new("amos", Duration::ZERO));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.fault_begins();
    wait::eventually("an obstacle with its remedy", Duration::from_secs(100), async || {
        let page = stage.contemplant_page("amos").await?;
        page["obstacle"].as_str()?.contains("403 Forbidden").then_some(())
    })
    .await;
    // Another worker, which could prove it again.
    let _other = stage.prover("joel", Duration::ZERO);
    // Contemplant's pauses after such answers grow from 15 seconds.
    stage.all_arrive(Duration::from_secs(180)).await;
    assert_eq!(proxy.given(), REFUSALS);
    assert_eq!(stage.attempts(&request).await, [("amos".into(), "completed".into())]);
}

/// The worker protocol carries no times of day, so only clients' clocks can matter.
async fn clock_skew(stage: &mut Stage) {
    const HOUR: u64 = 3600;
    let mut client = stage.client(7).await;
    // Three hours ahead, and three hours behind, of four that the client is ready to wait.
    for (number, deadline) in [unix_now() + 7 * HOUR, unix_now() + HOUR].into_iter().enumerate() {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.deadline = deadline;
        ask.cycle_limit += number as u64;
        stage.submit(&mut client, &ask, Expected::Proof(20, ProofMode::Core)).await;
    }
    // Five hours behind: past already, which the client must hear now and not in four hours.
    let mut ask = program::ask(&mut client, 21, ProofMode::Core).await;
    ask.deadline = unix_now() - HOUR;
    let refused = client.ask(&ask).await.expect_err("past already");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("deadline"), "{refused}");
    stage.note("InvalidArgument for a deadline that has passed");
    // As far ahead as a number goes, and then as far as is taken.
    ask.deadline = u64::MAX;
    let refused = client.ask(&ask).await.expect_err("too far ahead");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    ask.deadline = unix_now() + 29 * 24 * HOUR;
    stage.submit(&mut client, &ask, Expected::Proof(21, ProofMode::Core)).await;
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.all_arrive(STEP).await;
}
