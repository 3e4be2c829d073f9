//! Public values that Mainnet clients state in advance.

use hierophant_proto::network as pb;
use pb::{FulfillmentStatus, ProofRequestError};
use sha2::{Digest, Sha256};
use tonic::Code;

use crate::support::{
    Ask, Client, Network, PUBLIC_VALUES, Worker, assert_code, core_proof, core_proof_with,
    execution_with, hello,
};

/// A request that states the digest of these public values.
async fn stating(client: &mut Client, values: &[u8]) -> Ask {
    let ask = client.ready_to_ask(b"input").await;
    let public_values_hash = Some(Sha256::digest(values).to_vec());
    Ask { public_values_hash, mainnet: true, ..ask }
}

#[tokio::test]
async fn a_proof_of_other_public_values_than_stated_reaches_no_client() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = stating(&mut client, PUBLIC_VALUES).await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut liar = Worker::join(&network, hello()).await;
    let mut honest = Worker::join(&network, hello()).await;
    liar.prove_next_of(&core_proof_with(b"others"), execution_with(b"others")).await;
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Assigned as i32);
    honest.prove_next(&core_proof()).await;
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    let answer = client.http.get(status.proof_uri.expect("URI")).send().await.expect("sends");
    assert_eq!(answer.bytes().await.expect("bytes"), core_proof());
}

#[tokio::test]
async fn a_statement_that_two_workers_contradict_fails_with_its_own_error() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = stating(&mut client, b"a mistake").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut first = Worker::join(&network, hello()).await;
    let mut second = Worker::join(&network, hello()).await;
    first.prove_next(&core_proof()).await;
    second.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Unfulfillable).await;
    let details = client.details(&id).await.expect("known");
    assert_eq!(details.error, ProofRequestError::PublicValuesMismatch as i32);
    assert_eq!(details.execution_status, pb::ExecutionStatus::Executed as i32);
    let trace = String::from_utf8(details.error_trace.expect("says why")).expect("text");
    assert!(trace.contains("the request states"), "{trace}");
    let plain = Ask { public_values_hash: None, ..ask };
    let other = client.ask(&Ask { deadline: plain.deadline + 1, ..plain }).await.expect("accepted");
    let proof = core_proof();
    tokio::select! {
        _ = first.prove_next(&proof) => {}
        _ = second.prove_next(&proof) => {}
    }
    client.until(&other, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_digest_of_another_length_is_invalid() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = stating(&mut client, PUBLIC_VALUES).await;
    for length in [0, 31, 33] {
        let wrong = Ask { public_values_hash: Some(vec![7; length]), ..ask.clone() };
        let answer = client.ask(&wrong).await;
        assert_code(answer, Code::InvalidArgument, "public_values_hash");
    }
}
