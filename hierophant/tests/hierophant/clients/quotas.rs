//! Requests: how many in a minute, how many open, how many cycles in a day.

use futures_util::future::join_all;
use hierophant::config::AuthMode;
use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use pb::FulfillmentStatus;
use prost::Message as _;
use tonic::Code;

use super::configured;
use crate::support::{Client, Network, Worker, assert_code, core_proof, eventually, hello};

#[tokio::test]
async fn requests_over_a_minutes_quota_are_told_to_come_again_and_replays_are_not_counted() {
    let network = Network::start_with(|config| config.quotas.requests_per_minute = 2).await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    let first = client.ask(&ask).await.expect("accepted");
    for nonce in 1..10 {
        ask.nonce = nonce;
        assert_eq!(client.ask(&ask).await.expect("joins"), first);
    }
    ask.deadline += 1;
    client.ask(&ask).await.expect("the second of the minute");
    ask.deadline += 1;
    assert_code(
        client.ask(&ask).await,
        Code::Unavailable,
        "quota exhausted: 2 requests per minute",
    );
    ask.deadline -= 1;
    client.ask(&ask).await.expect("what was accepted is still joined");

    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    ask.deadline += 1;
    assert_code(client.ask(&ask).await, Code::Unavailable, "requests per minute");
    let mut other = Client::with_key(&network, 8).await;
    let theirs = other.ready_to_ask(b"input").await;
    other.ask(&theirs).await.expect("another address has its own quota");
    let metrics = reqwest::get(network.url("/metrics")).await.expect("answers");
    let metrics = metrics.text().await.expect("text");
    let counted = "hierophant_over_quota_total{client=\"other\",quota=\"requests_per_minute\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn open_requests_over_the_quota_are_told_to_come_again_until_one_has_ended() {
    let network = Network::start_with(|config| config.quotas.open_requests = 2).await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    let first = client.ask(&ask).await.expect("accepted");
    ask.deadline += 1;
    client.ask(&ask).await.expect("accepted");
    ask.deadline += 1;
    assert_code(client.ask(&ask).await, Code::Unavailable, "quota exhausted: 2 open requests");
    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    assert_code(client.ask(&ask).await, Code::Unavailable, "open requests");
    client.cancel(&first).await.expect("cancels");
    let third = client.ask(&ask).await.expect("there is room again");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&third, FulfillmentStatus::Fulfilled).await;
    ask.deadline += 1;
    client.ask(&ask).await.expect("what is proved is not open");
}

#[tokio::test]
async fn calls_at_once_cannot_both_take_the_last_place() {
    for change in [
        (|quotas| quotas.open_requests = 1) as fn(&mut hierophant::config::QuotasConfig),
        |quotas| quotas.requests_per_minute = 1,
    ] {
        let network = Network::start_with(|config| change(&mut config.quotas)).await;
        let mut client = Client::connect(&network).await;
        let ask = client.ready_to_ask(b"input").await;
        let calls = (0..16).map(|number| {
            let (mut client, mut ask) = (client.clone(), ask.clone());
            ask.deadline += number;
            async move { client.ask(&ask).await }
        });
        let answers = join_all(calls).await;
        let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(accepted, 1, "{answers:?}");
        for refused in answers.into_iter().filter_map(Result::err) {
            assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        }
    }
}

#[tokio::test]
async fn cycles_over_a_days_quota_are_refused_for_good_and_a_restart_forgives_nobody() {
    let network = Network::start_with(|config| {
        config.quotas.cycles_per_day = 1;
        let rich =
            hierophant::config::ClientConfig { cycles_per_day: Some(0), ..configured(9, "rich") };
        config.clients = vec![rich];
    })
    .await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("nothing is spent yet");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    // Joining a proved job costs the other client nothing.
    ask.deadline += 1;
    let mut other = Client::with_key(&network, 8).await;
    let mut theirs = other.ready_to_ask(b"input").await;
    other.ask(&theirs).await.expect("joins");
    theirs.deadline += 1;
    other.ask(&theirs).await.expect("joins again");

    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    assert_code(client.ask(&ask).await, Code::FailedPrecondition, "within 24 hours");
    let mut rich = Client::with_key(&network, 9).await;
    let theirs = rich.ready_to_ask(b"input").await;
    rich.ask(&theirs).await.expect("a client may have another quota");
}

#[tokio::test]
async fn programs_over_the_quota_are_refused_and_known_ones_are_not_counted() {
    let network = Network::start_with(|config| config.quotas.programs = 2).await;
    let mut client = Client::connect(&network).await;
    client.register([1; 32]).await;
    client.register([2; 32]).await;
    client.register([2; 32]).await;
    let program_uri = client.upload(ArtifactType::Program, &test_peers::program_upload()).await;
    let calls = (3..11).map(async |number| {
        let mut client = client.clone();
        let (vk_hash, program_uri) = (vec![number; 32], program_uri.clone());
        let body = pb::CreateProgramBody { nonce: 0, vk_hash, vk: vec![1; 130], program_uri };
        client.network.create_program(client.envelope(body.encode_to_vec())).await
    });
    for answer in join_all(calls).await {
        assert_code(answer, Code::FailedPrecondition, "quota exhausted: 2 registered programs");
    }
    Client::with_key(&network, 8).await.register([3; 32]).await;
}

#[tokio::test]
async fn a_configured_client_is_listed_and_named_and_has_its_own_quota() {
    let network = Network::start_with(|config| {
        config.auth = AuthMode::Allowlist;
        config.quotas.open_requests = 1;
        let rollup =
            hierophant::config::ClientConfig { open_requests: Some(2), ..configured(7, "rollup") };
        config.clients = vec![rollup];
    })
    .await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    for _ in 0..2 {
        client.ask(&ask).await.expect("accepted");
        ask.deadline += 1;
    }
    assert_code(client.ask(&ask).await, Code::Unavailable, "open requests");
    let requests = network.json("/api/v1/requests").await;
    assert_eq!(requests[0]["client"], "rollup", "{requests}");
    let jobs = network.json("/api/v1/jobs").await;
    assert_eq!(jobs[0]["requests"][0]["client"], "rollup", "{jobs}");
    let url = format!("http://{}", network.http);
    let shown = crate::cli::told(&url, "requests").await;
    assert!(shown.contains("rollup"), "{shown}");
    let metrics = reqwest::get(network.url("/metrics")).await.expect("answers");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("hierophant_client_requests_total{client=\"rollup\"} 2"), "{metrics}");

    let mut stranger = Client::with_key(&network, 8).await;
    assert_code(stranger.ask(&ask).await, Code::PermissionDenied, "allowlist");
}

#[tokio::test]
async fn a_replayed_body_joins_the_first_request_whoever_sends_it_and_whenever() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let captured = client.envelope(client.body(&ask));
    let id = client.ask(&ask).await.expect("accepted");
    let network = network.restart().await;
    let replay = async |network: &Network| {
        let mut thief = Client::with_key(network, 8).await;
        let answer = thief.network.request_proof(captured.clone()).await.expect("joins");
        answer.into_inner().body.expect("body").request_id
    };
    let answers = join_all((0..8).map(|_| replay(&network))).await;
    assert!(answers.iter().all(|answer| *answer == id));
    let mut client = Client::connect(&network).await;
    client.cancel(&id).await.expect("cancels");
    assert_eq!(replay(&network).await, id);
    eventually("the replay has brought nothing to life", async || {
        network.json("/api/v1/requests").await.as_array().map(Vec::len) == Some(1)
            && network.json("/api/v1/overview").await["unfinished"] == 0
    })
    .await;
}

#[tokio::test]
async fn somebody_elses_signature_cancels_nothing() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut stranger = Client::with_key(&network, 8).await;
    assert_code(stranger.cancel(&id).await, Code::NotFound, "no such request");
    // The requester's signature under another body recovers an unknown address.
    let body = |request_id: &[u8]| {
        let request_id = request_id.to_vec();
        pb::CancelRequestBody { nonce: 0, request_id }.encode_to_vec()
    };
    let mut forged = client.envelope(body(&[9; 32]));
    forged.body = body(&id);
    let answer = stranger.network.cancel_request(forged).await;
    assert_code(answer, Code::NotFound, "no such request");
    let open = client.status(&id).await;
    assert_eq!(open.fulfillment_status, FulfillmentStatus::Assigned as i32);
}
