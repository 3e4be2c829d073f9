//! Bearer tokens of SDK clients (6.7 and later).

use hierophant::config::{AuthMode, ListAccess};
use hierophant_proto::artifact::CreateArtifactRequest;
use hierophant_proto::network as pb;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::FromWorker;
use prost::Message as _;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::support::{Ask, Client, Network, Worker, assert_code, hello, unix_now};

/// Makes a token; returns its secret.
pub(super) async fn create(network: &Network, name: &str, role: &str) -> String {
    let wanted = json!({"name": name, "role": role});
    let call = reqwest::Client::new().post(network.url("/api/v1/tokens")).json(&wanted);
    let made: serde_json::Value = call.send().await.expect("answers").json().await.expect("JSON");
    made["secret"].as_str().expect("a secret").to_owned()
}

fn with<T>(secret: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(secret) = secret {
        let value: MetadataValue<_> = format!("Bearer {secret}").parse().expect("metadata");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// The answers to one call of each kind, by name.
async fn calls(
    client: &mut Client,
    ask: &Ask,
    secret: Option<&str>,
) -> Vec<(&'static str, Result<(), Status>)> {
    let signature = client.sign(b"create_artifact", 54);
    let ticket = with(secret, CreateArtifactRequest { signature, artifact_type: 2 });
    let vk_hash = pb::GetProgramRequest { vk_hash: ask.vk_hash.clone() };
    let address = client.address().to_vec();
    let request_id = vec![3; 32];
    let status = pb::GetProofRequestStatusRequest { request_id: request_id.clone() };
    let details = pb::GetProofRequestDetailsRequest { request_id };
    let envelope = client.envelope(client.body(ask));
    let list = pb::GetFilteredProofRequestsRequest::default();
    let artifacts = &mut client.artifacts;
    let network = &mut client.network;
    vec![
        ("CreateArtifact", artifacts.create_artifact(ticket).await.map(|_| ())),
        ("GetProgram", network.get_program(with(secret, vk_hash)).await.map(|_| ())),
        (
            "GetNonce",
            network.get_nonce(with(secret, pb::GetNonceRequest { address })).await.map(|_| ()),
        ),
        ("RequestProof", network.request_proof(with(secret, envelope)).await.map(|_| ())),
        (
            "GetProofRequestStatus",
            network.get_proof_request_status(with(secret, status)).await.map(|_| ()),
        ),
        (
            "GetProofRequestDetails",
            network.get_proof_request_details(with(secret, details)).await.map(|_| ()),
        ),
        (
            "GetFilteredProofRequests",
            network.get_filtered_proof_requests(with(secret, list)).await.map(|_| ()),
        ),
        (
            "GetProofRequestParams",
            network
                .get_proof_request_params(with(secret, pb::GetProofRequestParamsRequest::default()))
                .await
                .map(|_| ()),
        ),
    ]
}

/// A network in mode `token` with a program and an input, and what a request for them looks like.
async fn network_with_tokens() -> (Network, Client, Ask) {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let (folder, mut config) = network.stop().await;
    config.auth = AuthMode::Token;
    let network = Network::start_in(folder, config).await;
    let client = Client::connect(&network).await;
    (network, client, ask)
}

#[tokio::test]
async fn without_a_valid_client_token_every_call_is_refused_also_reads() {
    let (network, mut client, ask) = network_with_tokens().await;
    let near = format!("{}x", create(&network, "near", "client").await);
    let worker = create(&network, "rig-7", "worker").await;
    let read = create(&network, "screen", "read").await;
    for (secret, words) in [
        (None, "expected a bearer token"),
        (Some(""), "unknown or revoked client token"),
        (Some("guess"), "unknown or revoked client token"),
        (Some(worker.as_str()), "unknown or revoked client token"),
        (Some(read.as_str()), "unknown or revoked client token"),
        (Some(near.as_str()), "unknown or revoked client token"),
    ] {
        for (call, answer) in calls(&mut client, &ask, secret).await {
            let status = answer.expect_err(call);
            assert_eq!(status.code(), Code::Unauthenticated, "{call} with {secret:?}: {status:?}");
            assert!(status.message().contains(words), "{call}: {status:?}");
        }
    }
}

#[tokio::test]
async fn a_client_token_lets_every_call_in_until_it_is_revoked() {
    let (network, mut client, ask) = network_with_tokens().await;
    let secret = create(&network, "rollup", "client").await;
    for (call, answer) in calls(&mut client, &ask, Some(&secret)).await {
        assert!(answer.is_ok(), "{call}: {answer:?}");
    }
    let url = network.url("/api/v1/tokens/rollup");
    assert_eq!(reqwest::Client::new().delete(url).send().await.expect("answers").status(), 200);
    for (call, answer) in calls(&mut client, &ask, Some(&secret)).await {
        let status = answer.expect_err(call);
        assert_eq!(status.code(), Code::Unauthenticated, "{call}: {status:?}");
        assert!(status.message().contains("revoked"), "{call}: {status:?}");
    }
    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    for (call, answer) in calls(&mut client, &ask, Some(&secret)).await {
        assert_eq!(answer.expect_err(call).code(), Code::Unauthenticated, "{call}");
    }
}

#[tokio::test]
async fn a_token_does_not_stand_in_for_a_signature() {
    let (network, mut client, ask) = network_with_tokens().await;
    let secret = create(&network, "rollup", "client").await;
    let unsigned = pb::SignedRequest { format: 1, signature: vec![], body: client.body(&ask) };
    let answer = client.network.request_proof(with(Some(&secret), unsigned)).await;
    assert_code(answer, Code::Unauthenticated, "not signed");
}

#[tokio::test]
async fn where_no_token_is_needed_a_wrong_one_is_refused_all_the_same() {
    let network = Network::start_with(|config| config.calls.lists = ListAccess::Open).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    for (call, answer) in calls(&mut client, &ask, None).await {
        assert!(answer.is_ok(), "{call}: {answer:?}");
    }
    for (call, answer) in calls(&mut client, &ask, Some("hpt_client_old")).await {
        assert_eq!(answer.expect_err(call).code(), Code::Unauthenticated, "{call}");
    }
    let mut request = Request::new(pb::GetNonceRequest { address: client.address().to_vec() });
    request.metadata_mut().insert("authorization", "Basic eA==".parse().expect("metadata"));
    client.network.get_nonce(request).await.expect("another scheme is ignored");
}

#[tokio::test]
async fn a_list_tells_strangers_nothing_about_whose_requests_they_are() {
    let network = Network::start_with(|config| config.calls.lists = ListAccess::Open).await;
    let [own, other] = ["rollup", "other"].map(|name| create(&network, name, "client"));
    let (own, other) = (own.await, other.await);
    let mut client = super::tenant(&network, 7, &own).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let failure = Failure::new(FailureClass::Guest, "a secret panic");
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    client.until(&id, pb::FulfillmentStatus::Unfulfillable).await;
    let list = pb::GetFilteredProofRequestsRequest {
        minimum_deadline: Some(unix_now()),
        ..Default::default()
    };
    let mut stranger = Client::with_key(&network, 8).await;
    for secret in [None, Some(other.as_str())] {
        let call = with(secret, list.clone());
        let answer = stranger.network.get_filtered_proof_requests(call).await.expect("lists");
        let text = hex::encode(answer.get_ref().encode_to_vec());
        let shown = &answer.get_ref().requests[0];
        assert_eq!((&shown.request_id[..8], &shown.request_id[8..]), (&id[..8], &[0; 24][..]));
        assert_eq!(shown.fulfillment_status, pb::FulfillmentStatus::Unfulfillable as i32);
        for (what, bytes) in [
            ("the request's id", &id[..]),
            ("the requester", client.address().as_slice()),
            ("the program", &ask.vk_hash),
            ("a URL", b"/artifacts/"),
            ("the worker's name", hello().name.as_bytes()),
            ("the program's last words", b"a secret panic"),
        ] {
            assert!(!text.contains(&hex::encode(bytes)), "{what} is shown to {secret:?}");
        }
        assert!(stranger.details(&shown.request_id).await.is_none(), "it opens nothing");
        // What an entry leaves out is not found out by a filter either.
        let requester = Some(client.address().to_vec());
        let by_requester = pb::GetFilteredProofRequestsRequest { requester, ..list.clone() };
        let vk_hash = Some(ask.vk_hash.clone());
        let by_program = pb::GetFilteredProofRequestsRequest { vk_hash, ..list.clone() };
        for filter in [by_requester, by_program] {
            let call = with(secret, filter);
            let answer = stranger.network.get_filtered_proof_requests(call).await.expect("lists");
            assert_eq!(answer.get_ref().requests.len(), 0, "for {secret:?}");
        }
    }
    let bearer = with(Some(&own), list);
    let answer = stranger.network.get_filtered_proof_requests(bearer).await.expect("lists");
    assert_eq!(answer.get_ref().requests[0].request_id, id);
    assert_eq!(answer.get_ref().requests[0].stdin_uri, ask.stdin_uri);
    assert_eq!(answer.get_ref().requests[0].error_trace(), b"a secret panic");
}

#[tokio::test]
async fn lists_need_a_client_token_where_no_other_call_does() {
    let network = Network::start().await;
    let secret = create(&network, "rollup", "client").await;
    let mut client = Client::connect(&network).await;
    let list = pb::GetFilteredProofRequestsRequest::default();
    let answer = client.network.get_filtered_proof_requests(list.clone()).await;
    assert_code(answer, Code::Unauthenticated, "lists requests only for callers with a token");
    let answer = client.network.get_filtered_proof_requests(with(Some(&secret), list.clone()));
    answer.await.expect("lists");
    let off = Network::start_with(|config| config.calls.lists = ListAccess::Off).await;
    let secret = create(&off, "rollup", "client").await;
    let mut client = Client::connect(&off).await;
    let answer = client.network.get_filtered_proof_requests(with(Some(&secret), list)).await;
    assert_code(answer, Code::PermissionDenied, "does not list requests");
}
