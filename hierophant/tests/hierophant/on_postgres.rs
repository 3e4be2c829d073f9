//! The whole Hierophant on a Postgres database.

use std::sync::Arc;

use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use network_lib::secret::Secret;
use pb::FulfillmentStatus;
use tonic::Code;

use crate::support::{self, Client, Network, Worker, assert_code, core_proof, eventually, hello};

#[tokio::test]
async fn requests_are_proved_and_survive_restarts_of_both() {
    let server =
        tokio::task::spawn_blocking(support::postgres::Server::start).await.expect("starts");
    let server = Arc::new(server);
    let url = Secret::from(server.url("postgres"));
    let network = Network::start_with(|config| config.database_url = Some(url)).await;
    assert!(!network.data().join("hierophant.db").exists());
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Fulfilled as i32);

    // While the server is unreachable, calls are refused as retryable; then everything is as before.
    let away = Arc::clone(&server);
    tokio::task::spawn_blocking(move || away.stop()).await.expect("stops");
    let signature = client.sign(b"create_artifact", 54);
    let ticket = CreateArtifactRequest { signature, artifact_type: ArtifactType::Stdin as i32 };
    assert_code(client.artifacts.create_artifact(ticket).await, Code::Unavailable, "try again");
    let request = pb::GetProofRequestStatusRequest { request_id: id.clone() };
    let status = client.network.get_proof_request_status(request).await;
    assert_code(status, Code::Unavailable, "try again later");
    let ready = reqwest::get(network.url("/ready")).await.expect("answers");
    assert_eq!(ready.status(), 503);
    let back = Arc::clone(&server);
    tokio::task::spawn_blocking(move || back.start_again()).await.expect("starts");
    eventually("Hierophant is ready again", async || {
        reqwest::get(network.url("/ready")).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Fulfilled as i32);
    client.upload(ArtifactType::Stdin, b"more").await;
}

#[tokio::test]
async fn a_second_hierophant_and_a_wrong_url_are_refused() {
    let database = support::postgres::database().await;
    let url = Secret::from(database.url.clone());
    let network = Network::start_with(|config| config.database_url = Some(url)).await;
    let other = tempfile::tempdir().expect("temp dir");
    let mut config = network.config.clone();
    config.data_dir = other.path().to_owned();
    let refusal = async |config: hierophant::config::Config| {
        let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
        let outcome = hierophant::run(config, listeners, Default::default()).await;
        format!("{:#}", outcome.expect_err("must be refused"))
    };
    let error = refusal(config.clone()).await;
    assert!(error.contains("another Hierophant uses the database test_"), "{error}");
    config.database_url = Some(Secret::from("postgres://kahana:s3cret@127.0.0.1:1/proofs"));
    let error = refusal(config).await;
    assert!(error.contains("cannot open the database proofs on 127.0.0.1:1"), "{error}");
    assert!(!error.contains("s3cret") && !error.contains('\n'), "{error}");
    network.stop().await;
}
