//! A disk that fills up: new work is refused as retryable, everything else continues.

use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use pb::FulfillmentStatus;
use tonic::Code;

use crate::support::{Client, Network, Worker, assert_code, core_proof, hello};

#[tokio::test]
async fn a_low_disk_stops_new_work_and_nothing_else() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    assert_eq!(network.json("/ready").await["status"], "ready");
    let overview = network.json("/api/v1/overview").await;
    assert!(overview["free_bytes"].as_u64().is_some_and(|free| free > 0), "{overview}");

    // More than any disk has.
    let (folder, mut config) = network.stop().await;
    config.storage.min_free_bytes = u64::MAX - 1;
    let network = Network::start_in(folder, config).await;
    let mut client = Client::connect(&network).await;
    let signature = client.sign(b"create_artifact", 54);
    let request = CreateArtifactRequest { signature, artifact_type: ArtifactType::Stdin as i32 };
    let refused = client.artifacts.create_artifact(request).await;
    assert_code(refused, Code::Unavailable, "`min_free_bytes`");
    let mut another = ask.clone();
    another.deadline += 1;
    assert_code(client.ask(&another).await, Code::Unavailable, "try again later");
    let path = ticket.rsplit_once("/artifacts").expect("a path").1;
    let answer = client.put(&network.url(&format!("/artifacts{path}")), "bytes").await;
    assert_eq!(answer.status(), 504);
    assert_eq!(network.files(), 2, "nothing half-written is left");
    assert_eq!(network.json("/health").await["storage"], "low");
    assert_eq!(network.json("/ready").await["status"], "storage_low");

    // What was accepted is proved, stored and served.
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    let proof = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("URI");
    let bytes = client.http.get(proof).send().await.expect("answers").bytes().await;
    assert_eq!(bytes.expect("bytes"), core_proof());
}

#[tokio::test]
async fn the_quota_counts_uploads_and_proofs_over_restarts() {
    let network = Network::start_with(|config| config.storage.max_bytes = Some(1000)).await;
    let mut client = Client::connect(&network).await;
    client.upload(ArtifactType::Stdin, &[1; 600]).await;
    let network = network.restart().await;
    assert_eq!(network.json("/api/v1/overview").await["stored_bytes"], 600);
    let mut client = Client::connect(&network).await;
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    assert_eq!(client.put(&ticket, vec![1; 401]).await.status(), 504);
    assert_eq!(client.put(&ticket, vec![1; 400]).await.status(), 200);
    let signature = client.sign(b"create_artifact", 54);
    let request = CreateArtifactRequest { signature, artifact_type: ArtifactType::Stdin as i32 };
    assert_code(client.artifacts.create_artifact(request).await, Code::Unavailable, "`max_bytes`");
}
