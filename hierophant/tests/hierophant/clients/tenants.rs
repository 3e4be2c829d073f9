//! One client against another: uploads, requests, lists, cancellations and quotas, in each mode of authentication.

use hierophant::config::{AuthMode, Config, ListAccess};
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use network_lib::ids::ArtifactId;
use pb::FulfillmentStatus;
use prost::Message as _;
use tonic::{Code, Status};

use super::{bound_token, configured, tenant};
use crate::support::{Ask, Client, Network, assert_code, program_upload};

/// Two clients of a network that requires tokens, each with a token bound to it and a key of its own.
async fn tenants() -> (Network, Client, Client) {
    let network = Network::start_with(|config| {
        config.auth = AuthMode::Token;
        config.clients = vec![configured(7, "rollup"), configured(8, "rival")];
    })
    .await;
    let rollup = tenant(&network, 7, &bound_token(&network, "rollup-1", "rollup").await).await;
    let rival = tenant(&network, 8, &bound_token(&network, "rival-1", "rival").await).await;
    (network, rollup, rival)
}

fn with_mode(auth: AuthMode) -> impl FnOnce(&mut Config) {
    move |config: &mut Config| {
        config.auth = auth;
        config.calls.lists = ListAccess::Open;
        config.clients = vec![configured(7, "rollup"), configured(8, "rival")];
    }
}

/// The error about an artifact, without its URI.
fn error_about(answer: Result<impl std::fmt::Debug, Status>, uri: &str) -> (Code, String) {
    let status = answer.expect_err("refused");
    assert!(status.message().contains(uri), "{status:?}");
    (status.code(), status.message().replace(uri, "URI"))
}

async fn register(client: &mut Client, vk_hash: [u8; 32], uri: &str) -> Result<(), Status> {
    let program_uri = uri.to_owned();
    let (vk_hash, vk) = (vk_hash.to_vec(), vec![1; 130]);
    let body = pb::CreateProgramBody { nonce: 0, vk_hash, vk, program_uri }.encode_to_vec();
    let call = client.call(client.envelope(body));
    client.network.create_program(call).await.map(|_| ())
}

/// Requests of the caller's list.
async fn listed(client: &mut Client) -> Vec<pb::ProofRequest> {
    let call = client.call(pb::GetFilteredProofRequestsRequest::default());
    let answer = client.network.get_filtered_proof_requests(call).await.expect("lists");
    answer.into_inner().requests
}

#[tokio::test]
async fn another_clients_upload_is_answered_like_an_unknown_one() {
    for auth in [AuthMode::Verify, AuthMode::Allowlist] {
        let network = Network::start_with(with_mode(auth)).await;
        let mut rollup = Client::with_key(&network, 7).await;
        let mut rival = Client::with_key(&network, 8).await;
        check_uploads(&network, &mut rollup, &mut rival).await;
    }
    let (network, mut rollup, mut rival) = tenants().await;
    check_uploads(&network, &mut rollup, &mut rival).await;
}

async fn check_uploads(network: &Network, rollup: &mut Client, rival: &mut Client) {
    let unknown = network.url(&format!("/artifacts/{}", ArtifactId::random()));
    let echo = rival.ready_to_ask(b"own input").await;
    for kind in [ArtifactType::Stdin, ArtifactType::PrivateStdin] {
        let secret = rollup.upload(kind, b"a secret").await;
        let stolen = rival.ask(&Ask { stdin_uri: secret.clone(), ..echo.clone() }).await;
        let guessed = rival.ask(&Ask { stdin_uri: unknown.clone(), ..echo.clone() }).await;
        let error = error_about(stolen, &secret);
        assert_eq!(error, error_about(guessed, &unknown));
        assert_eq!(error.0, Code::FailedPrecondition);
        rollup.ask(&Ask { stdin_uri: secret, ..echo.clone() }).await.expect("its own");
    }
    let program = rollup.upload(ArtifactType::Program, &program_upload()).await;
    let stolen = register(rival, [5; 32], &program).await;
    let guessed = register(rival, [5; 32], &unknown).await;
    assert_eq!(error_about(stolen, &program), error_about(guessed, &unknown));
    register(rollup, [5; 32], &program).await.expect("its own");
}

#[tokio::test]
async fn without_authentication_there_are_no_owners() {
    let network = Network::start_with(with_mode(AuthMode::None)).await;
    let ask = Client::with_key(&network, 7).await.ready_to_ask(b"input").await;
    Client::with_key(&network, 8).await.ask(&ask).await.expect("accepted");
}

#[tokio::test]
async fn addresses_of_one_client_share_uploads_and_cancellations() {
    let network = Network::start_with(|config| {
        config.auth = AuthMode::Allowlist;
        let mut rollup = configured(7, "rollup");
        rollup.addresses = vec![super::address(9)];
        config.clients = vec![rollup, configured(8, "rival")];
    })
    .await;
    let ask = Client::with_key(&network, 7).await.ready_to_ask(b"input").await;
    let mut second = Client::with_key(&network, 9).await;
    let id = second.ask(&ask).await.expect("the same client");
    let mut rival = Client::with_key(&network, 8).await;
    assert_code(rival.cancel(&id).await, Code::NotFound, "no such request");
    Client::with_key(&network, 7).await.cancel(&id).await.expect("the same client");
}

#[tokio::test]
async fn another_clients_request_is_unknown_to_the_bearer_of_a_bound_token() {
    let (_network, mut rollup, mut rival) = tenants().await;
    let mut ask = rollup.ready_to_ask(b"input").await;
    ask.stdin_uri = rollup.upload(ArtifactType::PrivateStdin, b"a secret").await;
    let id = rollup.ask(&ask).await.expect("accepted");
    let own = rollup.details(&id).await.expect("its own");
    assert_eq!((own.stdin_uri, own.stdin_public_uri), (ask.stdin_uri, String::new()));
    assert_eq!(rollup.status(&id).await.fulfillment_status, FulfillmentStatus::Assigned as i32);

    let [stolen, unknown] = [rival.status(&id).await, rival.status(&[9; 32]).await];
    assert_eq!(pb::GetProofRequestStatusResponse { deadline: unknown.deadline, ..stolen }, unknown);
    assert_eq!(rival.details(&id).await, None);
    assert_eq!(listed(&mut rival).await, []);
    let own = listed(&mut rollup).await;
    assert_eq!(own.iter().map(|it| &it.request_id).collect::<Vec<_>>(), [&id]);

    let [stolen, unknown] = [rival.cancel(&id).await, rival.cancel(&[9; 32]).await]
        .map(|answer| answer.expect_err("refused"));
    assert_eq!((stolen.code(), stolen.message()), (unknown.code(), unknown.message()));
    rollup.cancel(&id).await.expect("its own");
}

#[tokio::test]
async fn a_token_of_no_client_reads_what_was_requested_with_such_tokens() {
    let (network, mut rollup, _) = tenants().await;
    let of_rollup = rollup.ready_to_ask(b"input").await;
    let bound = rollup.ask(&of_rollup).await.expect("accepted");
    let mut old = Vec::new();
    for (seed, name) in [(9, "old-1"), (10, "old-2")] {
        let secret = super::tokens::create(&network, name, "client").await;
        old.push(tenant(&network, seed, &secret).await);
    }
    let [first, second] = old.as_mut_slice() else { panic!("two") };
    let mut ask = first.ready_to_ask(b"other input").await;
    ask.stdin_uri = first.upload(ArtifactType::PrivateStdin, b"other input").await;
    let id = first.ask(&ask).await.expect("accepted");
    assert_eq!(first.details(&id).await.expect("its own").stdin_uri, ask.stdin_uri);
    let shown = second.details(&id).await.expect("an id opens it");
    assert_eq!(shown.stdin_uri, "", "a private input's URI is its client's");
    let own = listed(first).await;
    assert_eq!(own.iter().map(|it| &it.request_id).collect::<Vec<_>>(), [&id]);
    let others = listed(second).await;
    assert_eq!((others.len(), &others[0].request_id[8..]), (1, &[0; 24][..]));
    for client in [first, second] {
        assert_eq!(client.details(&bound).await, None, "it belongs to a client");
    }
}

#[tokio::test]
async fn a_key_of_another_client_signs_nothing_under_a_bound_token() {
    let (network, rollup, _) = tenants().await;
    let token = rollup.token.clone().expect("has one");
    let mut mixed = tenant(&network, 8, &token).await;
    let signature = mixed.sign(b"create_artifact", 54);
    let call = mixed.call(CreateArtifactRequest { signature, artifact_type: 2 });
    let refused = mixed.artifacts.create_artifact(call).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    for name in ["rollup", "rival"] {
        assert!(!refused.message().contains(name), "{refused:?}");
    }
    tenant(&network, 9, &token).await.ready_to_ask(b"input").await;
}

#[tokio::test]
async fn fresh_keys_share_the_quotas_of_their_token() {
    let network = Network::start_with(|config| {
        config.auth = AuthMode::Token;
        config.clients = vec![configured(7, "rollup")];
        config.clients[0].open_requests = Some(2);
        config.clients[0].programs = Some(1);
        config.clients[0].open_tickets = Some(1);
    })
    .await;
    let token = bound_token(&network, "rollup-1", "rollup").await;
    for seed in 20..23 {
        let mut fresh = tenant(&network, seed, &token).await;
        let ask = fresh.ready_to_ask(&[seed]).await;
        let answer = fresh.ask(&ask).await;
        match seed {
            22 => assert_code(answer, Code::Unavailable, "2 open requests"),
            _ => drop(answer.expect("accepted")),
        }
    }
    let mut fresh = tenant(&network, 30, &token).await;
    let uri = fresh.upload(ArtifactType::Program, &program_upload()).await;
    let second = register(&mut fresh, [6; 32], &uri).await;
    assert_code(second, Code::FailedPrecondition, "1 registered programs");
    fresh.ticket(ArtifactType::Stdin).await;
    let mut fresh = tenant(&network, 31, &token).await;
    let signature = fresh.sign(b"create_artifact", 54);
    let call = fresh.call(CreateArtifactRequest { signature, artifact_type: 2 });
    assert_code(fresh.artifacts.create_artifact(call).await, Code::Unavailable, "upload tickets");
}

#[tokio::test]
async fn an_operator_sees_who_asked_also_after_a_restart() {
    let (network, mut rollup, _) = tenants().await;
    let token = rollup.token.clone().expect("has one");
    let mut fresh = tenant(&network, 20, &token).await;
    let ask = rollup.ready_to_ask(b"input").await;
    let id = fresh.ask(&ask).await.expect("the same client");
    let network = network.restart().await;
    let request = &network.json("/api/v1/requests").await[0];
    let tokens = network.json("/api/v1/tokens").await;
    assert_eq!((&request["client"], &request["token"]), (&"rollup".into(), &tokens[0]["id"]));
    assert!(tokens[0]["id"].is_string());
    let mut fresh = tenant(&network, 20, &token).await;
    assert!(fresh.details(&id).await.is_some());
    fresh.cancel(&id).await.expect("its own");
}

#[tokio::test]
async fn strangers_see_no_private_input_and_nothing_of_an_execution() {
    let network = Network::start_with(with_mode(AuthMode::Allowlist)).await;
    let mut rollup = Client::with_key(&network, 7).await;
    let mut ask = rollup.ready_to_ask(b"input").await;
    ask.stdin_uri = rollup.upload(ArtifactType::PrivateStdin, b"a secret").await;
    let id = rollup.ask(&ask).await.expect("accepted");
    let mut stranger = Client::with_key(&network, 30).await;
    let shown = stranger.details(&id).await.expect("an id opens it");
    assert_eq!((shown.stdin_uri, shown.stdin_public_uri), (String::new(), String::new()));
    let entry = &listed(&mut stranger).await[0];
    assert_eq!((entry.program_uri.as_str(), entry.program_public_uri.as_str()), ("", ""));
    assert_eq!((&entry.error_trace, &entry.fulfiller_name), (&None, &None));
    assert!(entry.whitelist.is_empty() && entry.public_values_hash.is_none());
}

#[tokio::test]
async fn details_name_the_callers_own_upload_also_of_a_shared_job() {
    let network = Network::start_with(with_mode(AuthMode::Verify)).await;
    let mut rollup = Client::with_key(&network, 7).await;
    let ask = rollup.ready_to_ask(b"the same").await;
    let secret = rollup.upload(ArtifactType::PrivateStdin, b"the same").await;
    rollup.ask(&Ask { stdin_uri: secret.clone(), ..ask.clone() }).await.expect("accepted");
    let mut rival = Client::with_key(&network, 8).await;
    let stdin_uri = rival.upload(ArtifactType::Stdin, b"the same").await;
    let joined = Ask { stdin_uri: stdin_uri.clone(), ..ask };
    let id = rival.ask(&joined).await.expect("joins");
    let shown = rival.details(&id).await.expect("its own");
    assert_eq!(shown.stdin_public_uri, stdin_uri);
    assert_ne!(shown.stdin_public_uri, secret);
}
