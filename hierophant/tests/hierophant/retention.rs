//! Artifacts are deleted when their time is over, and clients receive 410.

use std::time::Duration;

use hierophant::config::RetentionConfig;
use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use pb::FulfillmentStatus;
use tonic::Code;

use crate::support::{self, Client, Network, Worker, assert_code, core_proof, eventually, hello};

/// Everything goes after half a second, or never.
fn soon(config: &mut RetentionConfig) {
    *config = RetentionConfig {
        proofs_after_delivery: Duration::from_millis(500),
        proofs_undelivered: Duration::from_secs(3600),
        inputs_after_end: Duration::from_millis(500),
        unused_uploads: Duration::from_millis(500),
        ..RetentionConfig::default()
    };
}

async fn code(client: &Client, url: &str) -> u16 {
    client.http.get(url).send().await.expect("answers").status().as_u16()
}

#[tokio::test]
async fn a_proof_goes_after_it_was_fetched_and_its_input_after_its_end() {
    let network = Network::start_with(|config| soon(&mut config.retention)).await;
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    let mut ask = client.ready_to_ask(b"input").await;
    ask.deadline = support::unix_now() + 3;
    let id = client.ask(&ask).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
    let proof = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("URI");
    eventually("the input is gone", async || code(&client, &ask.stdin_uri).await == 410).await;
    tokio::time::sleep(Duration::from_secs(3)).await;

    // Neither a look at it nor its beginning is a delivery.
    let beginning = client.http.get(&proof).header("range", "bytes=0-3").send().await;
    assert_eq!(beginning.expect("answers").bytes().await.expect("bytes").len(), 4);
    let head = client.http.head(&proof).send().await.expect("answers");
    let length = core_proof().len().to_string();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], length.as_str());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let whole = client.http.get(&proof).send().await.expect("answers");
    assert_eq!(whole.bytes().await.expect("bytes"), core_proof());
    let mut answer = client.http.get(&proof).send().await.expect("answers");
    while answer.status() == 200 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        answer = client.http.get(&proof).send().await.expect("answers");
    }
    assert_eq!(answer.status(), 410);
    let text = answer.text().await.expect("text");
    assert!(text.contains("proof expired after 0 days"), "{text}");
    eventually("the files are gone", async || network.files() == 1).await;

    // The registered program is kept, a deleted upload is not accepted as input, and the same content is proved
    // again: the deleted proof is not promised.
    assert_code(
        client.ask(&support::Ask { deadline: ask.deadline + 9, ..ask.clone() }).await,
        Code::FailedPrecondition,
        "upload it again",
    );
    ask.stdin_uri = client.upload(ArtifactType::Stdin, b"input").await;
    ask.deadline = support::unix_now() + 60;
    let again = client.ask(&ask).await.expect("accepted");
    let (other, values) = (support::core_proof_with(b"other values"), b"other values");
    worker.prove_next_of(&other, support::execution_with(values)).await;
    let proof = client.until(&again, FulfillmentStatus::Fulfilled).await.proof_uri.expect("URI");
    let bytes = client.http.get(proof).send().await.expect("answers").bytes().await;
    assert_eq!(bytes.expect("bytes"), other);
}

#[tokio::test]
async fn unused_uploads_and_tickets_go_and_waiting_work_keeps_its_input() {
    let network = Network::start_with(|config| soon(&mut config.retention)).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let unused = client.upload(ArtifactType::Stdin, b"unused").await;
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    eventually("the upload is gone", async || code(&client, &unused).await == 410).await;
    let late = client.put(&unused, b"unused".to_vec()).await;
    assert_eq!(late.status(), 404, "the same bytes are not there any more");
    eventually("the file is gone", async || network.files() == 2).await;
    let late = client.put(&ticket, b"too late".to_vec()).await;
    assert_eq!(late.status(), 404);
    assert_eq!(code(&client, &ask.stdin_uri).await, 200);
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_range_that_ends_at_the_last_byte_delivers() {
    let network = Network::start_with(|config| soon(&mut config.retention)).await;
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    let mut ask = client.ready_to_ask(b"input").await;
    ask.deadline = support::unix_now() + 3;
    let id = client.ask(&ask).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
    let proof = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("URI");
    let rest = client.http.get(&proof).header("range", "bytes=5-").send().await.expect("answers");
    assert_eq!(rest.bytes().await.expect("bytes"), core_proof()[5..]);
    eventually("the proof is gone", async || {
        client.http.head(&proof).send().await.is_ok_and(|answer| answer.status() == 410)
    })
    .await;
}

#[tokio::test]
async fn bytes_that_no_record_knows_are_cleared_at_the_start() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    client.upload(ArtifactType::Stdin, b"input").await;
    let put = |name: &str, days: u64| {
        let path = network.data().join("artifacts").join(&name[..2]).join(name);
        std::fs::create_dir_all(path.parent().expect("has a folder")).expect("creates");
        let file = std::fs::File::create(&path).expect("creates");
        let time = std::time::UNIX_EPOCH
            + Duration::from_secs(support::unix_now() - days * 24 * 3600 - 60);
        file.set_modified(time).expect("sets the time");
        path
    };
    let (old, new) = (put(&"ab".repeat(16), 1), put(&"cd".repeat(16), 0));
    let network = network.restart().await;
    eventually("the orphan is gone", async || !old.exists()).await;
    assert!(new.exists());
    assert_eq!(network.files(), 2);
}

#[tokio::test]
async fn the_history_comes_in_pages() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    for input in [b"a", b"b", b"c"] {
        let ask = client.ready_to_ask(input).await;
        let id = client.ask(&ask).await.expect("accepted");
        worker.prove_next(&core_proof()).await;
        client.until(&id, FulfillmentStatus::Fulfilled).await;
    }
    let whole = network.json("/proof-history").await;
    assert_eq!(whole.as_array().expect("a list").len(), 3);
    let first = network.json("/proof-history?limit=2").await;
    assert_eq!(first.as_array().expect("a list")[..], whole.as_array().expect("a list")[..2]);
    let last = first[1]["job"].as_str().expect("an id");
    let second = network.json(&format!("/proof-history?limit=2&before={last}")).await;
    assert_eq!(second.as_array().expect("a list")[..], whole.as_array().expect("a list")[2..]);
    for (page, wanted) in [("limit=x", 400), ("before=xyz", 400), ("before=00", 400)] {
        let url = network.url(&format!("/proof-history?{page}"));
        assert_eq!(code(&client, &url).await, wanted, "{page}");
    }
    let unknown = network.url(&format!("/proof-history?before={}", "0".repeat(32)));
    assert_eq!(code(&client, &unknown).await, 404);
}
