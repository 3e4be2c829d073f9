//! One proof by several workers, in the browser.

use std::time::Duration;

use hierophant_proto::network::FulfillmentStatus;
use serde_json::json;
use test_harness::config::key;
use test_harness::wait::eventually;
use test_peers::task_worker::{TaskWorker, Work};
use test_peers::{Client, LIMIT, Reach, hello};

use crate::browser::Browser;
use crate::network::Network;
use crate::{TURN, assert_clean, overflows};

/// Shards that are proved while the browser looks, and long after it.
const LONG: Work = Work {
    shards: 24,
    record_bytes: 40_000,
    part_bytes: 10_000,
    cut: Duration::from_millis(5),
    prove: Duration::from_secs(600),
    spread: 0.0,
};

/// Shards that are soon proved.
const SHORT: Work = Work { prove: Duration::from_millis(100), ..LONG };

fn workers(network: &Network, work: Work) -> [TaskWorker; 3] {
    ["prover-a", "prover-b", "prover-c"].map(|name| {
        let mut hello = hello();
        hello.name = name.into();
        TaskWorker::start(network.http(), hello, (1, 1), work, reqwest::Client::new())
    })
}

/// The latest job, once it is in this state.
async fn job_in(network: &Network, state: &str) -> String {
    let latest = async || {
        let job = network.json("/api/v1/jobs").await[0].take();
        (job["state"] == state).then(|| job["id"].as_str().map(str::to_owned)).flatten()
    };
    eventually(state, LIMIT, latest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_several_workers_shows_who_proves_which_shard_when() {
    let _turn = TURN.lock().await;
    let network = Network::start_with(key("sharding.mode", "always")).await;
    let mut client = Client::connect(&network).await;
    let slow = workers(&network, LONG);
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");
    let job = job_in(&network, "proving").await;

    let mut browser = Browser::start().await;
    browser.open(&network.url("/")).await;
    browser.until_shown("3 workers").await;
    // The execution waits for proofs before it announces all shards.
    browser.until("/tasks 0\\/[0-9]+/.test(document.body.innerText)").await;
    browser.picture("tasks-overview").await;
    browser.open(&network.url("/#/fleet")).await;
    browser.until_shown("2 tasks: prove shard").await;
    browser.open(&network.url(&format!("/#/job/{job}"))).await;
    // Each worker proves one shard and has the next one, and one executes.
    browser.until("document.querySelectorAll('.gantt rect.running').length === 7").await;
    for words in ["shards are done", "a free worker", "of records", "divided into tasks"] {
        browser.until_shown(words).await;
    }
    browser.picture("tasks-running").await;
    client.cancel(&request).await.expect("cancelled");
    drop(slow);

    let _quick = workers(&network, SHORT);
    let ask = client.ready_to_ask(b"short").await;
    let request = client.ask(&ask).await.expect("accepted");
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let job = job_in(&network, "proved").await;
    browser.open(&network.url(&format!("/#/job/{job}"))).await;
    browser.until("document.querySelectorAll('.gantt rect.good').length === 25").await;
    browser.until_shown("25 of 25 done, 0 running, on 3 workers").await;
    browser.until_shown(", the last ").await;
    let names = "[...document.querySelectorAll('.gantt svg > text')].map((it) => it.textContent)";
    let names = browser.eval(&format!("{names}.filter((it) => it !== '')")).await;
    assert_eq!(names, json!(["prover-a", "prover-b", "prover-c"]));
    browser.picture("tasks-done").await;
    browser.click("table[aria-label=Tasks] a", "prover-").await;
    browser.until_shown("task: prove shard").await;
    browser.until_shown("Tasks done").await;

    browser.show_as(390, 844, "dark").await;
    browser.open(&network.url(&format!("/#/job/{job}"))).await;
    browser.until("document.querySelectorAll('.gantt rect').length === 25").await;
    assert_eq!(overflows(&mut browser).await, false, "wider than a phone");
    browser.picture("phone-tasks").await;
    assert_clean(&browser, &network);
}
