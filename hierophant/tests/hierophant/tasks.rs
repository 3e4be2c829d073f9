//! One proof by several workers, from the client's upload to the verified proof.

use std::time::Duration;

use hierophant_proto::network::FulfillmentStatus;
use test_peers::task_worker::{Done, TaskWorker, Work};

use crate::support::tasks::{always, worker};
use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

const WORK: Work = Work {
    shards: 12,
    record_bytes: 20_000,
    part_bytes: 10_000,
    cut: Duration::from_millis(2),
    prove: Duration::from_millis(30),
};

/// Files of tasks, and all of them.
fn task_files(network: &Network) -> usize {
    fn below(folder: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.map(|path| if path.is_dir() { below(&path) } else { 1 }).sum()
    }
    below(&network.data().join("tasks"))
}

fn total(workers: &[&TaskWorker]) -> Done {
    workers.iter().fold(Done::default(), |sum, worker| {
        let done = worker.done();
        Done {
            executions: sum.executions + done.executions,
            shards: sum.shards + done.shards,
            fetched: sum.fetched + done.fetched,
            provided: sum.provided + done.provided,
            connections: sum.connections + done.connections,
            busy: sum.busy + done.busy,
        }
    })
}

#[tokio::test]
async fn two_workers_make_one_proof_and_nothing_is_left() {
    let network = Network::start_with(always).await;
    let (one, two) = (worker(&network, "one", WORK), worker(&network, "two", WORK));
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let done = total(&[&one, &two]);
    assert_eq!((done.executions, done.shards), (1, 12));
    assert!(one.done().shards > 2 && two.done().shards > 2, "{done:?}");
    assert_eq!(done.fetched, done.provided);
    assert!(done.fetched > 2, "{done:?}");
    eventually("the bytes of tasks are removed", async || task_files(&network) == 0).await;

    // A worker without tasks stays in the fleet, and gets whole proofs.
    drop((one, two));
    let ask = client.ready_to_ask(b"whole").await;
    let request = client.ask(&ask).await.expect("accepted");
    Worker::join(&network, hello()).await.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_restarted_hierophant_goes_on_with_what_is_done() {
    let mut network = Network::start_with(always).await;
    let (one, two) = (worker(&network, "one", WORK), worker(&network, "two", WORK));
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");
    for done in [3, 7] {
        eventually("some shards are done", async || total(&[&one, &two]).shards >= done).await;
        network = network.restart().await;
        one.move_to(network.http);
        two.move_to(network.http);
    }
    let mut client = Client::connect(&network).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let done = total(&[&one, &two]);
    assert_eq!((done.executions, done.shards), (1, 12), "{done:?}");
}

#[tokio::test]
async fn a_worker_that_dies_leaves_its_tasks_to_the_other() {
    let network = Network::start_with(|config| {
        always(config);
        crate::support::impatient(config);
    })
    .await;
    let (one, two) = (worker(&network, "one", WORK), worker(&network, "two", WORK));
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");
    eventually("both have done something", async || {
        one.done().shards >= 2 && two.done().shards >= 2
    })
    .await;
    // Whichever executes: the other continues, with an execution of its own if needed.
    let dead = one.done();
    drop(one);
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let all = dead.shards + two.done().shards;
    assert!((12..=14).contains(&all), "what was done was done again: {dead:?} {:?}", two.done());
}

#[tokio::test]
async fn a_cancelled_request_frees_workers_and_bytes() {
    let network = Network::start_with(always).await;
    let slow = Work { prove: Duration::from_secs(60), ..WORK };
    let (one, two) = (worker(&network, "one", slow), worker(&network, "two", slow));
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");
    eventually("tasks have begun", async || total(&[&one, &two]).fetched > 0).await;
    client.cancel(&request).await.expect("cancelled");
    eventually("the bytes of tasks are removed", async || task_files(&network) == 0).await;
    eventually("the workers are idle", async || {
        let contemplants = network.json("/contemplants").await;
        let list = contemplants.as_array().expect("a list");
        list.iter().all(|it| it["current_proofs"].as_array().is_some_and(Vec::is_empty))
    })
    .await;
}
