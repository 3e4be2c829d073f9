//! Words of workers that would mislead or exhaust the coordinator, from the socket to what operators see.

use std::time::Duration;

use futures_util::SinkExt;
use hierophant_proto::network::FulfillmentStatus;
use network_lib::codec;
use network_lib::ids::LeaseId;
use network_lib::job::{Execution, Failure, FailureClass, Memory, OutOfMemory, Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::cli::told;
use crate::support::{
    Client, Network, Worker, blob, core_proof, eventually, execution, hello, impatient,
};

fn made_up(count: usize, round: usize) -> Vec<LeaseId> {
    (0..count).map(|n| LeaseId((((round as u128) << 64) | n as u128).to_be_bytes())).collect()
}

#[tokio::test]
async fn a_worker_that_lists_more_attempts_than_it_can_hold_is_cut_off() {
    let network = Network::start().await;
    let mut worker = Worker::join(&network, hello()).await;
    worker.heartbeat(made_up(68, 0)).await.expect("sends");
    worker.heartbeat(made_up(7000, 0)).await.expect("sends");
    let words = worker.closing_words().await;
    assert_eq!(words, "a heartbeat lists 7000 attempts: expected at most 68");
    let mut stranger = Worker::dial(&network).await;
    let mut hello = hello();
    hello.held = made_up(7000, 0);
    stranger.say(FromWorker::Hello(hello)).await;
    match stranger.hear().await {
        Some(ToWorker::Refused(refusal)) => {
            let words =
                "the handshake lists 7000 attempts: expected at most 68 of a worker with 1 slot(s)";
            assert_eq!(refusal.message, words);
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn long_frames_without_end_are_cut_off_also_below_the_rate_of_frames() {
    let network = Network::start().await;
    let mut worker = Worker::join(&network, hello()).await;
    let reason = "x".repeat(200_000);
    let frame = codec::encode(&FromWorker::Draining { reason });
    for _ in 0..20 {
        if worker.socket.send(Message::text(frame.clone())).await.is_err() {
            break;
        }
    }
    eventually("the worker is gone", async || {
        network.json("/contemplants").await.as_array().is_some_and(Vec::is_empty)
    })
    .await;
    let dead = network.json("/dead-contemplants").await;
    assert!(dead[0]["reason"].as_str().expect("text").contains("bytes per second"), "{dead}");
}

/// What one admitted worker could end the program with, before its numbers were bounded.
#[tokio::test]
async fn the_largest_numbers_that_a_worker_can_send_end_nothing_and_strand_no_job() {
    let network = Network::start_with(impatient).await;
    let mut client = Client::connect(&network).await;
    let mut vast = hello();
    vast.capabilities.slots = 3;
    vast.capabilities.memory_bytes = u64::MAX;
    let mut liar = Worker::join(&network, vast).await;
    let most = Some(u64::MAX);
    let mut ids = Vec::new();
    for input in [b"1", b"2", b"3", b"4"] {
        let ask = client.ready_to_ask(input).await;
        ids.push(client.ask(&ask).await.expect("accepted"));
    }
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(liar.leased().await.0);
    }
    let progress = Progress {
        cycles_done: most,
        cycles_total: most,
        eta_seconds: most,
        memory_bytes: most,
        ..Progress::steps(Phase::Proving, u64::MAX)
    };
    for lease_id in leases.iter().copied() {
        liar.say(FromWorker::Progress { lease_id, progress }).await;
    }
    let [first, second, third] = leases[..] else { panic!("{leases:?}") };
    // It takes all memory there is, as it says, and is accepted.
    assert_eq!(liar.hand_in(first, &core_proof()).await, 200);
    let (found, proof) = (execution(), blob(&core_proof()));
    liar.say(FromWorker::Completed { lease_id: first, execution: found, proof }).await;
    let execution = Execution { cycles: u64::MAX, gas: most, ..execution() };
    liar.say(FromWorker::Executed { lease_id: second, execution }).await;
    let out_of_memory = Some(OutOfMemory { memory: Memory::Main, bytes: most });
    let failure = Failure { out_of_memory, ..Failure::new(FailureClass::Worker, "it broke") };
    liar.say(FromWorker::Failed { lease_id: third, failure }).await;
    eventually("the numbers have been read", async || {
        let jobs = network.json("/proof-history").await;
        let workers = network.json("/contemplants").await;
        jobs.as_array().is_some_and(|jobs| jobs.len() == 1) && workers[0]["strikes"] == 2
    })
    .await;
    drop(liar);
    eventually("it is gone", async || {
        network.json("/contemplants").await.as_array().is_some_and(Vec::is_empty)
    })
    .await;
    let waiting = network.json("/api/v1/jobs?state=queued").await;
    for job in waiting.as_array().expect("a list") {
        let url = network.url(&format!("/api/v1/jobs/{}/requeue", job["id"].as_str().expect("id")));
        let answer = reqwest::Client::new().post(url).json(&serde_json::json!({})).send().await;
        assert_eq!(answer.expect("answers").status(), 200);
    }
    let mut honest = Worker::join(&network, hello()).await;
    for _ in 0..3 {
        honest.prove_next(&core_proof()).await;
    }
    for id in &ids {
        client.until(id, FulfillmentStatus::Fulfilled).await;
    }
}

#[tokio::test]
async fn a_worker_whose_infrastructure_keeps_failing_rests_and_shows_why() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let full = || Failure::new(FailureClass::Infrastructure, "no space left on device");
    let start = Instant::now();
    for _ in 0..3 {
        let (lease_id, _) = worker.leased().await;
        worker.say(FromWorker::Failed { lease_id, failure: full() }).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(3), "it has rested for 1 s and for 2 s");
    let obstacle =
        "rests for 4s after 3 infrastructure failures in a row; last: no space left on device";
    eventually("the obstacle is shown", async || {
        network.json("/contemplants").await[0]["obstacle"] == obstacle
    })
    .await;
    assert_eq!(network.json("/api/v1/workers").await[0]["obstacle"], obstacle);
    let shown = told(&url, "workers").await;
    assert!(shown.contains("no space left on device"), "{shown}");
    // The only one is tried again, and a success ends it.
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    assert!(network.json("/contemplants").await[0]["obstacle"].is_null());
}
