//! One proof by several workers, in the browser.

use std::time::Duration;

use hierophant_proto::network::FulfillmentStatus;
use serde_json::Value;
use test_harness::config::key;
use test_harness::wait::eventually;
use test_peers::task_worker::{TaskWorker, Work};
use test_peers::{Client, LIMIT, Reach, hello};

use crate::browser::Browser;
use crate::network::Network;
use crate::{TURN, assert_clean, overflows};

const WORK: Work = Work {
    shards: 40,
    record_bytes: 40_000,
    part_bytes: 10_000,
    cut: Duration::from_millis(50),
    prove: Duration::from_millis(1500),
};

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_several_workers_shows_who_proves_which_shard_when() {
    let _turn = TURN.lock().await;
    let network = Network::start_with(key("sharding.mode", "always")).await;
    let worker = |name: &str| {
        let mut hello = hello();
        hello.name = name.into();
        TaskWorker::start(network.http(), hello, (1, 1), WORK, reqwest::Client::new())
    };
    let _workers = ["prover-a", "prover-b", "prover-c"].map(worker);
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");
    let jobs = || network.json("/api/v1/jobs");
    let running = async || {
        let job = jobs().await[0].take();
        (job["state"] == "proving").then(|| job["id"].as_str().map(str::to_owned)).flatten()
    };
    let job = eventually("the job is divided", LIMIT, running).await;

    let mut browser = Browser::start().await;
    browser.open(&network.url("/")).await;
    browser.until_shown("3 workers").await;
    browser.until("/tasks [0-9]+\\/41/.test(document.body.innerText)").await;
    browser.picture("tasks-overview").await;
    browser.open(&network.url("/#/fleet")).await;
    browser.until_shown("1 task: prove shard").await;
    browser.open(&network.url(&format!("/#/job/{job}"))).await;
    browser.until("document.querySelectorAll('.gantt rect').length >= 8").await;
    browser.until("document.querySelectorAll('.gantt rect.running').length >= 3").await;
    for words in ["shards are done", "a free worker", "of records", "divided into tasks"] {
        browser.until_shown(words).await;
    }
    browser.picture("tasks-running").await;

    client.until(&request, FulfillmentStatus::Fulfilled).await;
    browser.until("document.querySelectorAll('.gantt rect.good').length === 41").await;
    browser.until_shown("41 of 41 done, 0 running, on 3 workers").await;
    browser.until_shown("the last ").await;
    let rows = browser.eval("[...document.querySelectorAll('.gantt svg > text')].map((it) => it.textContent).join()").await;
    let Value::String(rows) = rows else { panic!("{rows}") };
    for name in ["prover-a", "prover-b", "prover-c"] {
        assert!(rows.contains(name), "{rows}");
    }
    browser.picture("tasks-done").await;
    browser.click("table[aria-label=Tasks] a", "prover-").await;
    browser.until_shown("task: prove shard").await;
    browser.until_shown("Tasks done").await;

    browser.show_as(390, 844, "dark").await;
    browser.open(&network.url(&format!("/#/job/{job}"))).await;
    browser.until("document.querySelectorAll('.gantt rect').length === 41").await;
    assert_eq!(overflows(&mut browser).await, false, "wider than a phone");
    browser.picture("phone-tasks").await;
    assert_clean(&browser, &network);
}
