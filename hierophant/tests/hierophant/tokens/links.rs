//! Links to the bytes of an attempt: whom they open to, and for how long.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream;
use hierophant_proto::network::FulfillmentStatus;
use network_lib::handshake::Hello;
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::{FromWorker, program_path, proof_path, stdin_path};
use reqwest::{Method, StatusCode};

use crate::support::{Client, Network, Worker, blob, core_proof, eventually, execution, hello};

/// A Contemplant and the client whose request it works on.
struct Working {
    client: Client,
    request: Vec<u8>,
    hello: Hello,
    worker: Worker,
    lease: LeaseId,
}

async fn working(network: &Network, input: &[u8]) -> Working {
    let mut client = Client::connect(network).await;
    let ask = client.ready_to_ask(input).await;
    let request = client.ask(&ask).await.expect("accepted");
    let hello = hello();
    let mut worker = Worker::join(network, hello.clone()).await;
    let (lease, _) = worker.leased().await;
    Working { client, request, hello, worker, lease }
}

/// All that can be asked for under a lease, with code and words of the answer.
async fn all_links(worker: &Worker, lease: &str) -> Vec<(StatusCode, String)> {
    let mut answers = Vec::new();
    for (method, what) in [(Method::GET, "program"), (Method::GET, "stdin"), (Method::PUT, "proof")]
    {
        let call = worker.call(method, &format!("/leases/{lease}/{what}"));
        let answer = call.body("").send().await.expect("answers");
        answers.push((answer.status(), answer.text().await.expect("text")));
    }
    answers
}

#[track_caller]
fn all_are(answers: &[(StatusCode, String)], code: u16) {
    assert!(answers.iter().all(|(found, _)| found.as_u16() == code), "{answers:?}");
}

#[tokio::test]
async fn a_stolen_link_of_another_attempt_gets_403() {
    let network = Network::start().await;
    let mut one = working(&network, b"one").await;
    let other = working(&network, b"two").await;
    let files = network.files();
    all_are(&all_links(&one.worker, &other.lease.to_string()).await, 403);
    all_are(&all_links(&other.worker, &one.lease.to_string()).await, 403);
    assert_eq!(one.worker.hand_in(other.lease, &core_proof()).await, 403);
    assert_eq!(network.files(), files, "nothing was kept");
    for (owner, input) in [(&one, "one"), (&other, "two")] {
        let stdin = owner.worker.get(&stdin_path(owner.lease)).await;
        assert_eq!(stdin.text().await.expect("text"), input);
        assert_eq!(owner.worker.get(&program_path(owner.lease)).await.status(), 200);
    }
    assert_eq!(one.worker.hand_in(one.lease, &core_proof()).await, 200);
    let (lease_id, proof) = (one.lease, blob(&core_proof()));
    one.worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    one.client.until(&one.request, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_link_without_a_key_or_with_a_made_up_one_gets_401() {
    let network = Network::start().await;
    let mut owner = working(&network, b"input").await;
    let key = owner.worker.key.take().expect("a key");
    let existing = owner.lease.to_string();
    for lease in [&existing, &LeaseId::random().to_string(), "nonsense"] {
        for made_up in [None, Some(""), Some("0"), Some(&key.reveal()[1..]), Some(&existing)] {
            owner.worker.key = made_up.map(Into::into);
            all_are(&all_links(&owner.worker, lease).await, 401);
        }
    }
    let path = network.url(&stdin_path(owner.lease));
    let plain = reqwest::Client::new();
    let bare = plain.get(&path).send().await.expect("answers");
    assert_eq!(bare.headers()["www-authenticate"], "Bearer");
    for wrong in [format!("Basic {}", key.reveal()), key.reveal().to_owned(), "Bearer".to_owned()] {
        let answer = plain.get(&path).header("authorization", wrong).send().await.expect("answers");
        assert_eq!(answer.status(), 401);
    }
    let in_url = plain.get(format!("{path}?key={}", key.reveal())).send().await.expect("answers");
    assert_eq!(in_url.status(), 401, "keys in URLs end in logs");
    owner.worker.key = Some(key);
    assert_eq!(owner.worker.get(&stdin_path(owner.lease)).await.status(), 200);
}

#[tokio::test]
async fn an_expired_link_gets_403_and_looks_like_one_that_never_was() {
    let network = Network::start().await;
    let mut ended = working(&network, b"one").await;
    let never = all_links(&ended.worker, &LeaseId::random().to_string()).await;
    all_are(&never, 403);
    ended.client.cancel(&ended.request).await.expect("cancels");
    assert_eq!(all_links(&ended.worker, &ended.lease.to_string()).await, never, "cancelled");

    let network = Network::start().await;
    let mut failed = working(&network, b"two").await;
    let failure = Failure::new(FailureClass::Guest, "it panics");
    failed.worker.say(FromWorker::Failed { lease_id: failed.lease, failure }).await;
    failed.client.until(&failed.request, FulfillmentStatus::Unfulfillable).await;
    assert_eq!(all_links(&failed.worker, &failed.lease.to_string()).await, never, "failed");

    let network = Network::start().await;
    let mut proved = working(&network, b"three").await;
    assert_eq!(proved.worker.hand_in(proved.lease, &core_proof()).await, 200);
    let (lease_id, proof) = (proved.lease, blob(&core_proof()));
    proved.worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    proved.client.until(&proved.request, FulfillmentStatus::Fulfilled).await;
    assert_eq!(all_links(&proved.worker, &proved.lease.to_string()).await, never, "proved");
}

#[tokio::test]
async fn a_link_expires_by_itself_when_its_attempt_takes_too_long() {
    let network = Network::start_with(|config| {
        config.proofs.attempt_limit = Duration::from_secs(2);
    })
    .await;
    let owner = working(&network, b"input").await;
    assert_eq!(owner.worker.get(&stdin_path(owner.lease)).await.status(), 200);
    eventually("it is over", async || {
        owner.worker.get(&stdin_path(owner.lease)).await.status() == 403
    })
    .await;
}

#[tokio::test]
async fn each_welcome_brings_another_key_and_ends_the_one_before() {
    let network = Network::start().await;
    let Working { hello, mut worker, lease, .. } = working(&network, b"input").await;
    let old = worker.key.clone().expect("a key");
    // Its connection breaks: what it holds goes on, and so does its key.
    worker.socket.close(None).await.expect("closes");
    eventually("it is away", async || network.json("/api/v1/workers").await[0]["state"] == "away")
        .await;
    assert_eq!(worker.get(&stdin_path(lease)).await.status(), 403, "not begun, so given to others");
    let mut again = Worker::join(&network, hello).await;
    let (lease, _) = again.leased().await;
    assert_ne!(again.key, Some(old.clone()));
    assert_eq!(again.get(&stdin_path(lease)).await.status(), 200);
    again.key = Some(old);
    assert_eq!(again.get(&stdin_path(lease)).await.status(), 401);
}

#[tokio::test]
async fn a_key_opens_its_attempt_while_the_connection_is_broken_until_the_worker_is_given_up() {
    let network = Network::start_with(|config| {
        config.worker_registry.heartbeat_interval = Duration::from_millis(500);
        config.worker_registry.silence_limit = Duration::from_secs(4);
    })
    .await;
    let Working { mut worker, lease, .. } = working(&network, b"input").await;
    worker.say(FromWorker::Executed { lease_id: lease, execution: execution() }).await;
    eventually("it has begun", async || {
        network.json("/api/v1/jobs").await[0]["state"] == "proving"
    })
    .await;
    worker.socket.close(None).await.expect("closes");
    assert_eq!(worker.get(&stdin_path(lease)).await.status(), 200);
    eventually("it counts as lost", async || worker.get(&stdin_path(lease)).await.status() == 401)
        .await;
}

#[tokio::test]
async fn an_upload_goes_on_over_a_reconnect() {
    let network = Network::start().await;
    let Working { mut client, request, hello, mut worker, lease } = working(&network, b"one").await;
    worker.say(FromWorker::Executed { lease_id: lease, execution: execution() }).await;
    let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
    let proof = core_proof();
    let half = proof.len() / 2;
    let (first, rest) = (proof[..half].to_vec(), proof[half..].to_vec());
    let pieces =
        stream::unfold((0, Some(wait), first, rest), |(n, wait, first, rest)| async move {
            match n {
                0 => Some((Ok::<_, std::io::Error>(Bytes::from(first)), (1, wait, vec![], rest))),
                1 => {
                    if let Some(wait) = wait {
                        let _ = wait.await;
                    }
                    Some((Ok(Bytes::from(rest)), (2, None, vec![], vec![])))
                }
                _ => None,
            }
        });
    let before = network.files();
    // Its length is not announced, so that it has a file from its first byte on.
    let upload = worker.call(Method::PUT, &proof_path(lease));
    let upload = upload.body(reqwest::Body::wrap_stream(pieces)).send();
    let upload = network_lib::task::spawn("upload", upload);
    eventually("the upload has begun", async || network.files() > before).await;
    let mut worker = Worker::join(&network, Hello { held: vec![lease], ..hello }).await;
    go_on.send(()).expect("waits");
    assert_eq!(upload.await.expect("no panic").expect("answered").status(), 200);
    let proof = blob(&proof);
    worker.say(FromWorker::Completed { lease_id: lease, execution: execution(), proof }).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn after_a_restart_of_hierophant_the_same_proof_is_taken_with_the_new_key() {
    let network = Network::start().await;
    let Working { request, hello, mut worker, lease, .. } = working(&network, b"one").await;
    worker.say(FromWorker::Executed { lease_id: lease, execution: execution() }).await;
    eventually("it has begun", async || {
        network.json("/api/v1/jobs").await[0]["state"] == "proving"
    })
    .await;
    let old = worker.key.clone();
    let network = network.restart().await;
    let mut worker = Worker::dial(&network).await;
    worker.key = old;
    assert_eq!(worker.hand_in(lease, &core_proof()).await, 401, "keys are not kept");
    let mut worker = Worker::join(&network, Hello { held: vec![lease], ..hello }).await;
    assert_eq!(worker.hand_in(lease, &core_proof()).await, 200);
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id: lease, execution: execution(), proof }).await;
    let mut client = Client::connect(&network).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
}
