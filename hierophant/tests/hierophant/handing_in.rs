//! Handing in a proof: again, with other bytes, and too large.

use axum::body::Bytes;
use futures_util::{StreamExt, stream};
use hierophant::config::Config;
use hierophant_proto::network::{FulfillmentStatus, ProofMode};
use network_lib::ids::LeaseId;
use network_lib::wire::{FromWorker, LEASE_ENDED_HEADER, REJECTION_HEADER, proof_path};
use reqwest::{Body, Method, Response};

use crate::support::{
    Client, Network, Worker, blob, core_proof, core_proof_with, eventually, execution, hello,
};

/// A network, a client of it and the id of its request, a worker and its lease.
async fn leased(change: impl FnOnce(&mut Config)) -> (Network, Client, Vec<u8>, Worker, LeaseId) {
    let network = Network::start_with(change).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease, _) = worker.leased().await;
    (network, client, id, worker, lease)
}

async fn put(worker: &Worker, lease: LeaseId, body: impl Into<Body>) -> Response {
    worker.call(Method::PUT, &proof_path(lease)).body(body).send().await.expect("answers")
}

#[tokio::test]
async fn a_proof_that_is_handed_in_again_is_accepted_and_kept_once() {
    let (network, mut client, id, mut worker, lease_id) = leased(|_| {}).await;
    let inputs = network.files();
    for _ in 0..3 {
        assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
        assert_eq!(network.files(), inputs + 1);
    }
    // Other bytes are another proof.
    let other = core_proof_with(b"other public values");
    assert_eq!(worker.hand_in(lease_id, &other).await, 200);
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_proof_above_the_limit_is_rejected_by_name_and_nothing_else_is() {
    let limit = 100_000;
    let (network, _, _, worker, lease) =
        leased(|config| config.max_artifact_bytes = limit as u64).await;
    let inputs = network.files();
    let announced = put(&worker, lease, vec![1; limit + 1]).await;
    let chunks = (0..80).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![1; limit])));
    let unannounced = put(&worker, lease, Body::wrap_stream(stream::iter(chunks))).await;
    for answer in [announced, unannounced] {
        assert_eq!(answer.status(), 413);
        let reason = answer.headers()[REJECTION_HEADER].to_str().expect("text");
        assert!(reason.contains("`max_artifact_bytes`"), "{reason}");
    }
    eventually("no partial file remains", async || network.files() == inputs).await;
    // What may pass is not final.
    let unknown = put(&worker, LeaseId::random(), core_proof()).await;
    assert_eq!((unknown.status().as_u16(), unknown.headers().get(REJECTION_HEADER)), (403, None));
    assert!(unknown.headers().contains_key(LEASE_ENDED_HEADER), "a proxy answers 403 as well");
    let accepted = put(&worker, lease, vec![1; limit]).await;
    assert_eq!((accepted.status().as_u16(), accepted.headers().get(REJECTION_HEADER)), (200, None));
    assert!(!accepted.headers().contains_key(LEASE_ENDED_HEADER));
}

#[tokio::test]
async fn the_size_of_a_proof_is_limited_by_its_kind() {
    let limit = 100_000;
    let of_core = |config: &mut Config| config.proofs.max_core_proof_bytes = limit as u64;
    let (_network, _, _, worker, lease) = leased(of_core).await;
    let refused = put(&worker, lease, vec![1; limit + 1]).await;
    assert_eq!(refused.status(), 413);
    let reason = refused.headers()[REJECTION_HEADER].to_str().expect("text");
    assert_eq!(reason, "larger than `proofs.max_core_proof_bytes` of this network");
    assert_eq!(put(&worker, lease, vec![1; limit]).await.status(), 200);

    let others = |config: &mut Config| config.proofs.max_proof_bytes = limit as u64;
    let (_network, _, _, worker, lease) = leased(others).await;
    assert_eq!(put(&worker, lease, vec![1; limit + 1]).await.status(), 200, "a Core proof");
    let network = Network::start_with(others).await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    ask.mode = ProofMode::Compressed as i32;
    client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease, _) = worker.leased().await;
    let refused = put(&worker, lease, vec![1; limit + 1]).await;
    assert_eq!(refused.status(), 413);
    let reason = refused.headers()[REJECTION_HEADER].to_str().expect("text");
    assert_eq!(reason, "larger than `proofs.max_proof_bytes` of this network");
}

#[tokio::test]
async fn a_replaced_proof_is_removed_at_once() {
    let (network, mut client, id, mut worker, lease_id) = leased(|_| {}).await;
    let inputs = network.files();
    let stored = async || network.json("/api/v1/overview").await["stored_bytes"].clone();
    for size in [1000, 2000, 3000] {
        assert_eq!(put(&worker, lease_id, vec![1; size]).await.status(), 200);
    }
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    eventually("one proof is left", async || network.files() == inputs + 1).await;
    eventually("and is counted alone", async || stored().await.as_u64().expect("a number") < 3000)
        .await;
    let proof = blob(&core_proof());
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_later_upload_of_a_proof_ends_the_earlier_one() {
    let (network, _, _, worker, lease) = leased(|_| {}).await;
    let inputs = network.files();
    // A sender that is lost after its first bytes.
    let chunk = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![1; 200_000]))]);
    let hanging = Body::wrap_stream(chunk.chain(stream::pending()));
    let first = worker.call(Method::PUT, &proof_path(lease)).body(hanging).send();
    let first = network_lib::task::spawn("first upload", first);
    eventually("the first arrives", async || network.files() == inputs + 1).await;
    assert_eq!(worker.hand_in(lease, &core_proof()).await, 200);
    let answer = first.await.expect("ends").expect("is answered");
    assert_eq!((answer.status().as_u16(), answer.headers().get(REJECTION_HEADER)), (504, None));
    eventually("only the later one is left", async || network.files() == inputs + 1).await;
}

#[tokio::test]
async fn a_proof_leaves_space_on_the_disk_for_the_database() {
    let (network, _, _, worker, lease) = leased(|config| {
        config.max_artifact_bytes = u64::MAX;
        config.proofs.max_core_proof_bytes = u64::MAX;
        config.storage.min_free_bytes = 1;
    })
    .await;
    let inputs = network.files();
    // More than any disk has.
    let body = Body::wrap_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let call = worker.call(Method::PUT, &proof_path(lease)).header("content-length", 1_u64 << 60);
    let answer = call.body(body).send().await.expect("answers");
    assert_eq!((answer.status().as_u16(), answer.headers().get(REJECTION_HEADER)), (504, None));
    let text = answer.text().await.expect("text");
    assert!(text.contains("`min_free_bytes`"), "{text}");
    assert_eq!(network.files(), inputs);
    assert_eq!(worker.hand_in(lease, &core_proof()).await, 200);
}
