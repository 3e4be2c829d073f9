//! Clients and ports with networks: from elsewhere, calls are refused and requests are unknown.

use std::net::{IpAddr, Ipv4Addr};

use hierophant::config::{AuthMode, Network as IpNetwork};
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use tonic::Code;
use tonic::transport::Channel;

use super::configured;
use crate::support::{Client, Network, assert_code};

fn net(text: &str) -> IpNetwork {
    IpNetwork::try_from(text.to_owned()).expect("a network")
}

/// A client with a key of this seed that Hierophant sees at 10.0.0.`number`.
async fn client_at(network: &Network, number: u8, seed: u8) -> Client {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, number));
    let url = format!("http://{}", network.grpc);
    let endpoint = Channel::from_shared(url).expect("URL").local_address(Some(address));
    let http = reqwest::Client::builder().local_address(address).build().expect("a client");
    Client { http, ..Client::over(endpoint.connect().await.expect("connects"), seed) }
}

#[tokio::test]
async fn a_client_with_networks_is_served_from_these_only() {
    let network = Network::start_with_strangers(|config| {
        config.auth = AuthMode::Allowlist;
        config.calls.lists = hierophant::config::ListAccess::Open;
        let mut rollup = configured(7, "rollup");
        rollup.networks = vec![net("10.0.0.2"), net("10.0.0.4/31")];
        config.clients = vec![rollup, configured(8, "rival")];
    })
    .await;
    let mut rollup = client_at(&network, 2, 7).await;
    let ask = rollup.ready_to_ask(b"input").await;
    let id = rollup.ask(&ask).await.expect("accepted");
    assert!(client_at(&network, 5, 30).await.details(&id).await.is_some(), "an id opens it");

    // The same key, stolen, from elsewhere.
    let mut thief = client_at(&network, 3, 7).await;
    let signature = thief.sign(b"create_artifact", 54);
    let call = CreateArtifactRequest { signature, artifact_type: 2 };
    let refused = thief.artifacts.create_artifact(call).await;
    assert_code(refused, Code::PermissionDenied, "not accepted from this network address");
    assert_code(thief.ask(&ask).await, Code::PermissionDenied, "network address");
    assert_code(thief.cancel(&id).await, Code::PermissionDenied, "network address");
    assert_eq!(thief.details(&id).await, None);
    let status = thief.status(&id).await.fulfillment_status;
    assert_eq!(status, pb::FulfillmentStatus::Unfulfillable as i32);
    let list = pb::GetFilteredProofRequestsRequest::default();
    let answer = thief.network.get_filtered_proof_requests(list.clone()).await.expect("lists");
    assert_eq!(answer.into_inner().requests, []);
    let answer = rollup.network.get_filtered_proof_requests(list).await.expect("lists");
    assert_eq!(answer.into_inner().requests.len(), 1);
    let answer = thief.http.get(&ask.stdin_uri).send().await.expect("answers");
    assert_eq!(answer.status(), 404, "its input too");
    let ticket = rollup.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    assert_eq!(thief.put(&ticket, "bytes").await.status(), 404);
    assert_eq!(rollup.put(&ticket, "bytes").await.status(), 200);

    client_at(&network, 3, 8).await.ready_to_ask(b"input").await;
}

#[tokio::test]
async fn a_port_with_networks_answers_others_with_a_refusal() {
    let network = Network::start_with_strangers(|config| {
        config.calls.grpc_networks = vec![net("10.0.0.2/32")];
        config.calls.artifact_networks = vec![net("10.0.0.2"), net("10.0.0.3")];
    })
    .await;
    let mut near = client_at(&network, 2, 7).await;
    let ask = near.ready_to_ask(b"input").await;
    near.ask(&ask).await.expect("accepted");
    let mut far = client_at(&network, 3, 7).await;
    let address = far.address().to_vec();
    let refused = far.network.get_nonce(pb::GetNonceRequest { address }).await;
    assert_code(refused, Code::PermissionDenied, "10.0.0.3 is not in a network");
    assert_eq!(far.http.get(&ask.stdin_uri).send().await.expect("answers").status(), 200);
    let farther = client_at(&network, 4, 7).await;
    let answer = farther.http.get(&ask.stdin_uri).send().await.expect("answers");
    assert_eq!(answer.status(), 403);
    assert!(answer.text().await.expect("text").contains("`calls.artifact_networks`"));
    let answer = farther.put(&ask.stdin_uri, "bytes").await;
    assert_eq!(answer.status(), 403);
}
