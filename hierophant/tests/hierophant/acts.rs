//! `/api/v1`: what operators do, and what clients and Contemplants see of it.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hierophant_proto::network as pb;
use network_lib::ids::WorkerId;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::{FromWorker, ToWorker};
use parking_lot::Mutex;
use pb::{ExecutionStatus, FulfillmentStatus};
use serde_json::{Value, json};

use crate::support::{Ask, Client, Network, Worker, core_proof, eventually, hello, impatient};

/// Sends JSON to the API; returns code and JSON.
async fn send(network: &Network, path: &str, body: Value) -> (u16, Value) {
    let url = network.url(&format!("/api/v1{path}"));
    let answer = reqwest::Client::new().post(url).json(&body).send().await.expect("answers");
    let code = answer.status().as_u16();
    (code, answer.json().await.expect("JSON"))
}

/// Has something done that can be done.
async fn act(network: &Network, path: &str, body: Value) -> Value {
    let (code, answer) = send(network, path, body).await;
    assert_eq!(code, 200, "{path}: {answer}");
    answer
}

/// An action that is refused; returns why.
async fn refused(network: &Network, path: &str, body: Value, wanted: u16) -> String {
    let (code, answer) = send(network, path, body).await;
    assert_eq!(code, wanted, "{path}: {answer}");
    answer["error"].as_str().expect("words").to_owned()
}

async fn get(network: &Network, path: &str) -> Value {
    network.json(&format!("/api/v1{path}")).await
}

/// A client that asks for one proof; the answer is the request's id.
async fn asking(network: &Network) -> (Client, Ask, Vec<u8>) {
    let mut client = Client::connect(network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    (client, ask, id)
}

/// The request's short id and its job's.
async fn ids(network: &Network, request: &[u8]) -> (String, String) {
    let short = hex::encode(&request[..8]);
    let whole = get(network, &format!("/requests/{short}")).await;
    (short, whole["id"].as_str().expect("id").to_owned())
}

async fn why(network: &Network, job: &str) -> String {
    let why = get(network, &format!("/jobs/{job}/why")).await;
    why["why"].as_str().expect("words").to_owned()
}

#[tokio::test]
async fn a_cancelled_request_is_gone_from_its_worker_within_two_seconds() {
    let network = Network::start().await;
    let (mut client, _, request) = asking(&network).await;
    let (short, job) = ids(&network, &request).await;
    let mut worker = Worker::join(&network, hello()).await;
    let (lease, _) = worker.leased().await;
    let began = Instant::now();
    let done = act(&network, &format!("/requests/{short}/cancel"), json!({})).await;
    assert_eq!(
        done,
        json!({"changed": true, "now": "the request and its job are cancelled", "job": null})
    );
    match worker.hear().await {
        Some(ToWorker::Cancel { lease_id, .. }) => assert_eq!(lease_id, lease),
        other => panic!("not cancelled: {other:?}"),
    }
    let took = began.elapsed();
    println!("cancelled on the worker after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");

    let status = client.status(&request).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Unfulfillable as i32);
    assert_ne!(status.execution_status, ExecutionStatus::Unexecutable as i32);
    let details = client.details(&request).await.expect("known");
    assert!(details.is_canceled);
    assert_eq!(why(&network, &job).await, "it is cancelled");
    let again = act(&network, &format!("/requests/{short}/cancel"), json!({})).await;
    assert_eq!(again["changed"], false);
    let again = act(&network, &format!("/jobs/{job}/cancel"), json!({"reason": "twice"})).await;
    assert_eq!(again["now"], "the job is already cancelled");
    client.cancel(&request).await.expect("for the client too");
}

#[tokio::test]
async fn a_requeued_job_goes_to_another_worker_and_nobody_has_a_strike() {
    let network = Network::start().await;
    let (mut client, _, request) = asking(&network).await;
    let (_, job) = ids(&network, &request).await;
    let mut first = Worker::join(&network, hello()).await;
    let (lease, _) = first.leased().await;
    let mut second = Worker::join(&network, hello()).await;
    let done = act(&network, &format!("/jobs/{job}/requeue"), json!({})).await;
    assert_eq!(done["now"], "it was taken from its worker and is queued again");
    let cancelled = first.hear().await;
    assert!(matches!(cancelled, Some(ToWorker::Cancel { lease_id, .. }) if lease_id == lease));
    second.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let whole = get(&network, &format!("/jobs/{job}")).await;
    assert_eq!(whole["history"][0]["outcome"], "cancelled");
    assert_eq!(whole["history"][0]["message"], "requeued by the operator");
    let workers = get(&network, "/workers").await;
    assert!(workers.as_array().expect("a list").iter().all(|worker| worker["strikes"] == 0));
    for action in ["requeue", "cancel"] {
        let words = refused(&network, &format!("/jobs/{job}/{action}"), json!({}), 409).await;
        assert!(words.starts_with("the job is proved"), "{words}");
    }
    let priority = format!("/jobs/{job}/priority");
    let words = refused(&network, &priority, json!({"class": "low"}), 409).await;
    assert!(words.starts_with("the job is proved"), "{words}");
}

#[tokio::test]
async fn a_job_that_was_set_aside_is_made_anew_for_those_who_still_wait() {
    let network =
        Network::start_with(|config| config.proofs.max_attempts = NonZero::<u32>::MIN).await;
    let (mut client, _, request) = asking(&network).await;
    let (_, job) = ids(&network, &request).await;
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let failure = Failure::new(FailureClass::Worker, "no");
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    client.until(&request, FulfillmentStatus::Unfulfillable).await;
    let done = act(&network, &format!("/jobs/{job}/requeue"), json!({})).await;
    let anew = done["job"].as_str().expect("another job");
    assert!(done["now"].as_str().expect("words").ends_with("for 1 request"), "{done}");
    client.until(&request, FulfillmentStatus::Assigned).await;
    worker.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    assert_eq!(get(&network, &format!("/jobs/{anew}")).await["attempts"], 1);
    let words = refused(&network, &format!("/jobs/{job}/requeue"), json!({}), 409).await;
    assert!(words.contains("all its requests are past"), "{words}");
}

#[tokio::test]
async fn a_program_that_fails_is_not_queued_again() {
    let network = Network::start().await;
    let (mut client, _, request) = asking(&network).await;
    let (_, job) = ids(&network, &request).await;
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let failure = Failure::new(FailureClass::Guest, "panic");
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    client.until(&request, FulfillmentStatus::Unfulfillable).await;
    let words = refused(&network, &format!("/jobs/{job}/requeue"), json!({}), 409).await;
    assert!(words.starts_with("the job is unexecutable") && words.contains("panic"), "{words}");
}

#[tokio::test]
async fn a_priority_and_a_pause_outlive_a_restart() {
    let network = Network::start().await;
    let (_, _, request) = asking(&network).await;
    let (_, job) = ids(&network, &request).await;
    let class = json!({"class": "urgent"});
    let done = act(&network, &format!("/jobs/{job}/priority"), class.clone()).await;
    assert_eq!(done, json!({"changed": true, "now": "its priority is urgent", "job": null}));
    let done = act(&network, "/dispatch/pause", json!({"reason": "new\ndisks "})).await;
    assert_eq!(done["changed"], true);
    let network = network.restart().await;
    let mut worker = Worker::join(&network, hello()).await;
    let mut client = Client::connect(&network).await;
    let other = client.ready_to_ask(b"other").await;
    let other = client.ask(&other).await.expect("requests are accepted");
    for waiting in [&request, &other] {
        let status = client.status(waiting).await;
        assert_eq!(status.fulfillment_status, FulfillmentStatus::Assigned as i32);
    }
    let overview = get(&network, "/overview").await;
    assert_eq!(overview["paused"]["reason"], "new disks");
    assert_eq!((&overview["running"], &overview["waiting"]), (&json!(0), &json!({"core": 2})));
    let words = "dispatch is paused: new disks; an operator has set its priority to urgent";
    assert_eq!(why(&network, &job).await, words);
    assert_eq!(get(&network, &format!("/jobs/{job}")).await["priority"], "urgent");
    assert!(paused_by_metrics(&network).await);

    assert_eq!(act(&network, "/dispatch/resume", json!({})).await["now"], "dispatch is resumed");
    worker.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    assert_eq!(get(&network, "/overview").await["paused"], Value::Null);
    assert!(!paused_by_metrics(&network).await);
    let again = act(&network, "/dispatch/resume", json!({})).await;
    assert_eq!(again["changed"], false);
}

async fn paused_by_metrics(network: &Network) -> bool {
    let answer = reqwest::get(network.url("/metrics")).await.expect("answers");
    let text = answer.text().await.expect("text");
    text.lines().any(|line| line == "hierophant_dispatch_paused 1")
}

#[tokio::test]
async fn a_drained_worker_finishes_leaves_and_may_change_its_mind_until_then() {
    let network = Network::start_with(impatient).await;
    let (mut client, _, request) = asking(&network).await;
    let hello = hello();
    let id = hello.worker_id;
    let mut worker = Worker::join(&network, hello).await;
    let (lease, _) = worker.leased().await;
    let drain = format!("/workers/{id}/drain");
    let done = act(&network, &drain, json!({"reason": "new kernel"})).await;
    assert_eq!(done["now"], "tobit is drained: it finishes its jobs and leaves");
    assert_eq!(act(&network, &drain, json!({"reason": "new kernel"})).await["changed"], false);
    let listed = &get(&network, "/workers").await[0];
    assert_eq!((&listed["state"], &listed["drained"]), (&json!("draining"), &json!("new kernel")));
    let undrain = format!("/workers/{id}/undrain");
    assert_eq!(act(&network, &undrain, json!({})).await["now"], "tobit accepts jobs again");
    assert_eq!(get(&network, "/workers").await[0]["state"], "ready");
    act(&network, &drain, json!({"reason": "new kernel"})).await;
    let next = client.ready_to_ask(b"next").await;
    let next = client.ask(&next).await.expect("accepted");
    let (_, job) = ids(&network, &next).await;
    let words = why(&network, &job).await;
    assert!(words.ends_with("tobit is drained: new kernel"), "{words}");

    let network = network.restart().await;
    drop(worker);
    let mut back = hello_of(id);
    back.held = vec![lease];
    let mut worker = Worker::join(&network, back).await;
    assert_eq!(get(&network, "/workers").await[0]["drained"], "new kernel");
    let mut client = Client::connect(&network).await;
    assert_eq!(worker.hand_in(lease, &core_proof()).await, 200);
    let proof = crate::support::blob(&core_proof());
    let execution = crate::support::execution();
    worker.say(FromWorker::Completed { lease_id: lease, execution, proof }).await;
    loop {
        match worker.hear().await {
            Some(ToWorker::Settled { .. }) => {}
            Some(ToWorker::Drain { reason }) => break assert_eq!(reason, "new kernel"),
            other => panic!("not drained: {other:?}"),
        }
    }
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    worker.say(FromWorker::Draining { reason: "as requested".into() }).await;
    eventually("it says that it leaves", async || {
        send(&network, &undrain, json!({})).await.0 == 409
    })
    .await;
    drop(worker);
    eventually("it has left", async || get(&network, "/workers").await == json!([])).await;
    let mut worker = Worker::join(&network, hello_of(id)).await;
    worker.leased().await;
}

fn hello_of(worker_id: WorkerId) -> network_lib::handshake::Hello {
    network_lib::handshake::Hello { worker_id, ..hello() }
}

#[tokio::test]
async fn a_dropped_worker_gives_back_at_once_and_may_come_again() {
    let network = Network::start().await;
    let (mut client, _, request) = asking(&network).await;
    let hello = hello();
    let id = hello.worker_id;
    let mut dropped = Worker::join(&network, hello).await;
    dropped.leased().await;
    let mut other = Worker::join(&network, hello_of(WorkerId::random())).await;
    let path = format!("/workers/{id}/drop");
    let done = act(&network, &path, json!({"reason": "stuck"})).await;
    assert_eq!(done["now"], "tobit is dropped; its jobs are queued again");
    assert_eq!(dropped.closing_words().await, "dropped by the operator: stuck");
    other.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    refused(&network, &path, json!({}), 404).await;
    let gone = &get(&network, &format!("/workers/{id}")).await["gone"];
    assert_eq!(gone["reason"], "dropped by the operator: stuck");
    Worker::join(&network, hello_of(id)).await;
}

#[tokio::test]
async fn who_is_blocked_stays_out_over_a_restart_until_unblocked() {
    let network = Network::start().await;
    let hello = hello();
    let id = hello.worker_id;
    let mut worker = Worker::join(&network, hello.clone()).await;
    let block = format!("/workers/{id}/block");
    let done = act(&network, &block, json!({"reason": "lies"})).await;
    assert_eq!(done["now"], format!("{id} is blocked; connected workers dropped: 1"));
    assert_eq!(worker.closing_words().await, "blocked by the operator: lies");
    assert_eq!(act(&network, &block, json!({"reason": "lies"})).await["changed"], false);
    let (_, _, request) = asking(&network).await;
    let network = network.restart().await;
    let (_, job) = ids(&network, &request).await;
    let words = "no worker is connected; blocked: 1, see `hierophant blocked`";
    assert_eq!(why(&network, &job).await, words);
    let listed = get(&network, "/blocked").await;
    assert_eq!((&listed[0]["subject"], &listed[0]["reason"]), (&json!(id), &json!("lies")));
    assert_eq!(get(&network, &format!("/workers/{id}")).await["blocked"], "lies");
    let mut turned_away = Worker::dial(&network).await;
    turned_away.say(FromWorker::Hello(hello.clone())).await;
    match turned_away.hear().await {
        Some(ToWorker::Refused(refusal)) => {
            assert_eq!(refusal.message, "blocked by the operator: lies");
        }
        other => panic!("not turned away: {other:?}"),
    }
    let unblock = format!("/workers/{id}/unblock");
    assert_eq!(act(&network, &unblock, json!({})).await["changed"], true);
    assert_eq!(act(&network, &unblock, json!({})).await["changed"], false);
    let mut worker = Worker::join(&network, hello).await;
    act(&network, "/workers/127.0.0.1/block", json!({})).await;
    assert_eq!(worker.closing_words().await, "blocked by the operator");
    act(&network, "/workers/127.0.0.1/unblock", json!({})).await;
    assert_eq!(get(&network, "/blocked").await, json!([]));
}

#[tokio::test]
async fn the_queue_is_cleared_of_what_matches() {
    let network = Network::start().await;
    let (mut client, _, running) = asking(&network).await;
    let (_, job) = ids(&network, &running).await;
    let mut worker = Worker::join(&network, hello()).await;
    worker.leased().await;
    let mut waiting = Vec::new();
    for input in [b"one", b"two"] {
        let ask = client.ready_to_ask(input).await;
        waiting.push(client.ask(&ask).await.expect("accepted"));
    }
    let (_, first) = ids(&network, &waiting[0]).await;
    let (_, second) = ids(&network, &waiting[1]).await;
    let dry = act(&network, "/queue/clear", json!({"mode": "core", "dry_run": true})).await;
    assert_eq!(dry, json!({"dry_run": true, "jobs": 2, "requests": 2, "listed": [first, second]}));
    for nothing in [
        json!({"mode": "plonk"}),
        json!({"older_than_seconds": 3600}),
        json!({"requester": format!("0x{}", "11".repeat(20))}),
        json!({"program": "02".repeat(32)}),
    ] {
        assert_eq!(act(&network, "/queue/clear", nothing).await["jobs"], 0);
    }
    let cleared = act(&network, "/queue/clear", json!({"all": true})).await;
    assert_eq!((&cleared["dry_run"], &cleared["jobs"]), (&json!(false), &json!(2)));
    for request in &waiting {
        client.until(request, FulfillmentStatus::Unfulfillable).await;
        assert!(client.details(request).await.expect("known").is_canceled);
    }
    assert_eq!(get(&network, &format!("/jobs/{job}")).await["state"], "leased");
    let cleared = act(&network, "/queue/clear", json!({"all": true, "running": true})).await;
    assert_eq!(cleared["listed"], json!([job]));
    assert!(matches!(worker.hear().await, Some(ToWorker::Cancel { .. })));
}

#[tokio::test]
async fn what_is_asked_wrongly_changes_nothing() {
    let network = Network::start().await;
    let (mut client, _, request) = asking(&network).await;
    let (_, job) = ids(&network, &request).await;
    let none = "0".repeat(32);
    for (path, body, code, words) in [
        ("/jobs/7/cancel".to_owned(), json!({}), 400, "invalid job id"),
        (format!("/jobs/{none}/cancel"), json!({}), 404, "no such job"),
        (format!("/jobs/{none}/requeue"), json!({}), 404, "no such job"),
        (format!("/jobs/{none}/priority"), json!({"class": "low"}), 404, "no such job"),
        (format!("/jobs/{job}/priority"), json!({"class": "high"}), 400, "invalid `class`"),
        (format!("/jobs/{job}/priority"), json!({}), 400, "missing field `class`"),
        (format!("/jobs/{job}/cancel"), json!({"force": 1}), 400, "unknown field `force`"),
        (format!("/jobs/{job}/cancel"), json!(7), 400, "invalid body"),
        ("/requests/00/cancel".to_owned(), json!({}), 400, "16 to 64"),
        ("/requests/0000000000000000/cancel".to_owned(), json!({}), 404, "no such request"),
        ("/workers/amos/drain".to_owned(), json!({}), 400, "invalid worker id"),
        (format!("/workers/{none}/drain"), json!({}), 404, "no such worker"),
        (format!("/workers/{none}/undrain"), json!({}), 404, "no such worker"),
        (format!("/workers/{none}/drop"), json!({}), 404, "no such worker"),
        ("/workers/amos/block".to_owned(), json!({}), 400, "or an IP address"),
        ("/queue/clear".to_owned(), json!({"state": "proved"}), 400, "jobs have not ended"),
        ("/queue/clear".to_owned(), json!({"state": "proving"}), 400, "require `running`"),
        ("/queue/clear".to_owned(), json!({"state": "lost"}), 400, "invalid `state`"),
        ("/queue/clear".to_owned(), json!({"mode": "fast"}), 400, "invalid `mode`"),
        ("/queue/clear".to_owned(), json!({"older_than_seconds": -1}), 400, "invalid body"),
        ("/queue/clear".to_owned(), json!({"stat": "queued"}), 400, "unknown field `stat`"),
        ("/queue/clear".to_owned(), json!({}), 400, "missing filter"),
        ("/queue/clear".to_owned(), json!({"running": true}), 400, "missing filter"),
        ("/queue/clear".to_owned(), json!({"dry_run": true}), 400, "missing filter"),
        (
            "/queue/clear".to_owned(),
            json!({"requester": ""}),
            400,
            "`requester` \"\": expected a value",
        ),
        (
            "/queue/clear".to_owned(),
            json!({"program": ""}),
            400,
            "`program` \"\": expected a value",
        ),
        ("/queue/clear".to_owned(), json!({"mode": ""}), 400, "`mode` \"\": expected a value"),
        ("/queue/clear".to_owned(), json!({"state": ""}), 400, "`state` \"\": expected a value"),
        ("/queue/clear".to_owned(), json!({"state": ","}), 400, "`state` \",\": expected a value"),
        ("/queue/clear".to_owned(), json!({"all": true, "requester": ""}), 400, "expected a value"),
        (
            "/queue/clear".to_owned(),
            json!({"all": true, "mode": "core"}),
            400,
            "without other conditions",
        ),
    ] {
        let found = refused(&network, &path, body, code).await;
        assert!(found.contains(words), "{path}: {found}");
    }
    let url = network.url(&format!("/api/v1/jobs/{job}/cancel"));
    let poster = reqwest::Client::new();
    let foreign = poster.post(&url).header("origin", "http://evil.example").send().await;
    assert_eq!(foreign.expect("answers").status(), 403);
    let long = poster.post(&url).body("x".repeat(20_000)).send().await.expect("answers");
    assert_eq!(long.status(), 413);
    assert_eq!(get(&network, &format!("/jobs/{job}")).await["state"], "queued");
    let status = client.status(&request).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Assigned as i32);
    // Without a body it is done as well.
    assert_eq!(poster.post(&url).send().await.expect("answers").status(), 200);
}

/// What is logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_who_did_what_from_where_and_how_it_went() {
    // With a single subscriber, the first caller of a log line decides whether it is enabled, and that may be another
    // test.
    let _second = tracing::dispatcher::Dispatch::new(tracing_subscriber::fmt().finish());
    let log = Log::default();
    let writer = log.clone();
    let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    // Everything of this test runs on its own thread.
    let _logging = tracing::subscriber::set_default(logging.finish());
    let network = Network::start().await;
    let (_, _, request) = asking(&network).await;
    let whole = hex::encode(&request);
    get(&network, "/overview").await;
    act(&network, &format!("/requests/{whole}/cancel"), json!({"reason": "a \"trial\""})).await;
    refused(&network, "/workers/amos/drain", json!({}), 400).await;
    let text = log.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" operator ")).collect();
    let [cancelled, refused] = lines[..] else { panic!("{lines:?}") };
    let action = format!("action=\"POST /api/v1/requests/{}/cancel\"", &whole[..16]);
    for words in
        ["who=\"this machine\"", "peer=\"127.0.0.1\"", &action, r#"a \\\"trial"#, "code=200"]
    {
        assert!(cancelled.contains(words), "{words}: {cancelled}");
    }
    assert!(refused.contains("/workers/amos/drain") && refused.contains("code=400"), "{refused}");
    assert!(!text.contains(&whole), "the whole id is a credential");
}
