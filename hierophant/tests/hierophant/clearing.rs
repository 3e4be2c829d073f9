//! Clearing a long queue: how long it takes, and how long others wait meanwhile.

use std::time::{Duration, Instant};

use hierophant_model::records::{Change, UnfinishedJob};
use hierophant_proto::network::FulfillmentStatus;
use hierophant_store::{JobStore, sqlite};
use network_lib::ids::{JobId, RequestId, Sha256Digest, random_bytes};
use serde_json::{Value, json};

use crate::support::{Client, Network};

const MANY: u64 = 10_000;

/// Unoptimised code takes several times as long.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 });

/// Maximum time of other calls.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 1 });

/// Stores the same job again and again, each time with other content and another request.
async fn multiply(store: &dyn JobStore, one: &UnfinishedJob, times: u64) {
    let mut changes = Vec::new();
    for number in 1..=times {
        let mut job = one.job.clone();
        job.id = JobId(random_bytes());
        job.key = Sha256Digest(random_bytes());
        job.spec.cycle_limit += number;
        let mut request = one.requests[0].clone();
        (request.id, request.job) = (RequestId(random_bytes()), job.id);
        request.deadline += number;
        changes.push(Change::Request(request, job.spec.clone()));
        changes.push(Change::Job(job));
    }
    for part in changes.chunks(2000) {
        store.commit(part).await.expect("commits");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_jobs_are_cleared_while_others_are_answered() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let (folder, config) = network.stop().await;
    let store = sqlite::open(&config.data_dir.join("hierophant.db"), ()).await.expect("opens");
    let one = store.unfinished_jobs().await.expect("reads").remove(0);
    multiply(&*store, &one, MANY - 1).await;
    store.close().await;
    let network = Network::start_in(folder, config).await;
    assert_eq!(network.json("/api/v1/overview").await["waiting"], json!({"core": MANY}));

    let url = network.url("/api/v1/queue/clear");
    let clearing = network_lib::task::spawn("clear", async move {
        let began = Instant::now();
        let answer = reqwest::Client::new().post(url).json(&json!({"all": true})).send().await;
        let answer: Value = answer.expect("answers").json().await.expect("JSON");
        (answer, began.elapsed())
    });
    let mut client = Client::connect(&network).await;
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while !clearing.is_finished() {
        let began = Instant::now();
        client.status(&request).await;
        network.json("/api/v1/overview").await;
        (asked, longest) = (asked + 1, longest.max(began.elapsed()));
    }
    let (answer, took) = clearing.await.expect("does not panic");
    println!("{MANY} jobs cleared in {took:?}; {asked} other calls, the longest {longest:?}");
    assert_eq!((&answer["jobs"], &answer["requests"]), (&json!(MANY), &json!(MANY)));
    assert_eq!(answer["listed"].as_array().map(Vec::len), Some(100));
    client.until(&request, FulfillmentStatus::Unfulfillable).await;
    assert_eq!(network.json("/api/v1/overview").await["unfinished"], 0);
    assert!(took < LIMIT, "took {took:?}");
    assert!(longest < PATIENCE, "a call waited for {longest:?}");
}
