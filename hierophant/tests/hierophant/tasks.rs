//! One proof by several workers, from the client's upload to the verified proof.

use std::time::Duration;

use hierophant_proto::network::FulfillmentStatus;
use network_lib::handshake::Hello;
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::{BlobInfo, Failure, FailureClass};
use network_lib::shard::{
    Sharding, TaskFromWorker, TaskInput, TaskKind, TaskToWorker, TaskUsage, blob_path,
};
use network_lib::wire::{FromWorker, ToWorker};
use test_peers::task_worker::{Done, ENGINE, TaskWorker, Work};

use crate::support::tasks::{always, worker};
use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

const WORK: Work = Work {
    shards: 12,
    record_bytes: 20_000,
    part_bytes: 10_000,
    cut: Duration::from_millis(2),
    prove: Duration::from_millis(30),
    spread: 0.0,
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

/// The handshake of a scripted worker that proves shards with this engine.
fn scripted(name: &str, engine: &str) -> Hello {
    let mut hello = hello();
    hello.name = name.into();
    hello.capabilities.sharding = Some(Sharding {
        engine: engine.into(),
        kinds: vec![TaskKind::ProveShard],
        recursion: false,
        prove_slots: 1,
        prefetch: 0,
        max_elements: 1 << 22,
        depot_bytes: 1 << 30,
        depot_port: None,
        depot_fingerprint: None,
    });
    hello
}

/// The next shard that a scripted worker is to prove: its lease and its record.
async fn shard(worker: &mut Worker) -> (LeaseId, BlobInfo) {
    loop {
        match worker.hear().await {
            Some(ToWorker::Task(TaskToWorker::Run { lease_id, input, .. })) => match input {
                TaskInput::ProveShard { record, .. } => return (lease_id, record.info),
                other => panic!("not a shard: {other:?}"),
            },
            Some(_) => {}
            None => panic!("the connection ended"),
        }
    }
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

#[tokio::test]
async fn false_results_are_refused_blamed_and_made_again() {
    let network = Network::start_with(|config| {
        always(config);
        // The one that has lied leaves with a lease. The honest one is never silent for so long.
        config.worker_registry.heartbeat_interval = Duration::from_millis(200);
        config.worker_registry.silence_limit = Duration::from_secs(3);
    })
    .await;
    let slow = Work { prove: Duration::from_millis(150), ..WORK };
    let honest = worker(&network, "honest", slow);
    // Without it the others would be asked for the whole proof.
    eventually("the honest one is connected", async || honest.done().connections > 0).await;
    let mut foreign = Worker::join(&network, scripted("foreign", "pseudo 2")).await;
    let mut liar = Worker::join(&network, scripted("liar", ENGINE)).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"long").await;
    let request = client.ask(&ask).await.expect("accepted");

    let part = test_peers::blob(b"a result");
    let done = |lease_id, output| {
        let used = TaskUsage::default();
        FromWorker::Task(TaskFromWorker::TaskDone { lease_id, output, used })
    };
    // A result that was not handed in.
    let (lease, _) = shard(&mut liar).await;
    liar.say(done(lease, part)).await;
    // Other bytes than those of the digest.
    let (lease, _) = shard(&mut liar).await;
    let call = liar.call(reqwest::Method::PUT, &blob_path(lease, part.sha256));
    let answer = call.body("another result").send().await.expect("sends");
    assert_eq!(answer.status(), 422);
    liar.say(done(lease, part)).await;
    // Another length than that of the bytes.
    let (lease, _) = shard(&mut liar).await;
    let call = liar.call(reqwest::Method::PUT, &blob_path(lease, part.sha256));
    assert_eq!(call.body("a result").send().await.expect("sends").status(), 200);
    liar.say(done(lease, BlobInfo { size: part.size + 1, ..part })).await;
    // An input of another task is lost, which would make its maker do it again.
    let (lease_id, _) = shard(&mut liar).await;
    let failure = Failure::new(FailureClass::Infrastructure, "a false report");
    let lost = vec![Sha256Digest([7; 32])];
    let message = TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect: vec![] };
    liar.say(FromWorker::Task(message)).await;

    eventually("each lie has a strike", async || {
        let page = network.json("/contemplants").await;
        let list = page.as_array().expect("a list");
        list.iter().any(|it| it["name"] == "liar" && it["strikes"] == 4)
    })
    .await;
    drop(liar);
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    assert_eq!((honest.done().executions, honest.done().shards), (1, 12));
    // A worker of another engine got nothing before its connection ended.
    while let Some(message) = foreign.hear().await {
        assert!(!matches!(message, ToWorker::Task(_)), "a task of another engine: {message:?}");
    }
}
