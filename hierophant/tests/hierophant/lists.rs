//! `GetFilteredProofRequests`: every filter is honoured, pages do not overlap.

use hierophant_proto::network as pb;
use network_lib::job::{ExecutionFailureCause, Failure, FailureClass};
use network_lib::wire::FromWorker;
use pb::{FulfillmentStatus, GetFilteredProofRequestsRequest as Filter};
use prost::Message as _;
use tonic::Code;

use hierophant::config::{Config, ListAccess};

use crate::support::{Client, Network, Worker, core_proof, hello, unix_now};

/// Lists are open, and show whole ids.
fn open(config: &mut Config) {
    config.calls.lists = ListAccess::Open;
    config.calls.list_ids = true;
}

async fn list(client: &mut Client, filter: Filter) -> Vec<Vec<u8>> {
    let answer = client.network.get_filtered_proof_requests(filter).await.expect("lists");
    answer.into_inner().requests.into_iter().map(|request| request.request_id).collect()
}

#[tokio::test]
async fn every_filter_is_honoured() {
    let network = Network::start_with(open).await;
    let mut alice = Client::with_key(&network, 7).await;
    let mut bob = Client::with_key(&network, 8).await;
    let mut worker = Worker::join(&network, hello()).await;
    let start = unix_now();

    let proved_ask = alice.ready_to_ask(b"proved").await;
    let proved = alice.ask(&proved_ask).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
    alice.until(&proved, FulfillmentStatus::Fulfilled).await;

    let failing = alice.ready_to_ask(b"failing").await;
    let failing = alice.ask(&failing).await.expect("accepted");
    let (lease_id, _) = worker.leased().await;
    let cause = Some(ExecutionFailureCause::InvalidMemoryAccess);
    let failure = Failure { cause, ..Failure::new(FailureClass::Guest, "bad access") };
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    alice.until(&failing, FulfillmentStatus::Unfulfillable).await;

    let mut open_ask = bob.ready_to_ask(b"open").await;
    bob.register([2; 32]).await;
    open_ask.vk_hash = vec![2; 32];
    open_ask.version = "sp1-v6.0.0".into();
    open_ask.mode = pb::ProofMode::Compressed as i32;
    open_ask.deadline = unix_now() + 9000;
    let open = bob.ask(&open_ask).await.expect("accepted");

    let all = || Filter::default();
    let cases: Vec<(&str, Filter, Vec<&Vec<u8>>)> = vec![
        ("none", all(), vec![&open, &failing, &proved]),
        ("version", Filter { version: Some("sp1-v6.0.0".into()), ..all() }, vec![&open]),
        ("assigned", Filter { fulfillment_status: Some(2), ..all() }, vec![&open]),
        ("fulfilled", Filter { fulfillment_status: Some(3), ..all() }, vec![&proved]),
        ("unfulfillable", Filter { fulfillment_status: Some(4), ..all() }, vec![&failing]),
        ("requested", Filter { fulfillment_status: Some(1), ..all() }, vec![]),
        ("unexecuted", Filter { execution_status: Some(1), ..all() }, vec![&open]),
        ("executed", Filter { execution_status: Some(2), ..all() }, vec![&proved]),
        ("unexecutable", Filter { execution_status: Some(3), ..all() }, vec![&failing]),
        ("deadline", Filter { minimum_deadline: Some(start + 8000), ..all() }, vec![&open]),
        ("program", Filter { vk_hash: Some(vec![1; 32]), ..all() }, vec![&failing, &proved]),
        ("requester", Filter { requester: Some(bob.address().to_vec()), ..all() }, vec![&open]),
        ("fulfiller", Filter { fulfiller: Some(vec![1; 20]), ..all() }, vec![]),
        ("from", Filter { from: Some(unix_now() + 100), ..all() }, vec![]),
        ("from start", Filter { from: Some(start), ..all() }, vec![&open, &failing, &proved]),
        ("to", Filter { to: Some(start - 100), ..all() }, vec![]),
        ("to now", Filter { to: Some(unix_now()), ..all() }, vec![&open, &failing, &proved]),
        ("mode", Filter { mode: Some(2), ..all() }, vec![&open]),
        ("bids", Filter { not_bid_by: Some(vec![1; 20]), ..all() }, vec![&open, &failing, &proved]),
        ("cause", Filter { execute_fail_cause: Some(2), ..all() }, vec![&failing]),
        ("other cause", Filter { execute_fail_cause: Some(1), ..all() }, vec![]),
        (
            "unsettled",
            Filter { settlement_status: Some(1), ..all() },
            vec![&open, &failing, &proved],
        ),
        ("settled", Filter { settlement_status: Some(2), ..all() }, vec![]),
        ("error", Filter { error: Some(1), ..all() }, vec![&failing]),
        ("other error", Filter { error: Some(6), ..all() }, vec![]),
        (
            "together",
            Filter { fulfillment_status: Some(4), execution_status: Some(2), ..all() },
            vec![],
        ),
        (
            "status and error",
            Filter { fulfillment_status: Some(4), error: Some(1), ..all() },
            vec![&failing],
        ),
    ];
    for (name, filter, expected) in cases {
        let mut found = list(&mut alice, filter).await;
        let mut expected: Vec<Vec<u8>> = expected.into_iter().cloned().collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_overlap() {
    let network = Network::start_with(open).await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    let mut made = Vec::new();
    for _ in 0..25 {
        ask.deadline += 1;
        made.push(client.ask(&ask).await.expect("accepted"));
    }
    assert_eq!(list(&mut client, Filter::default()).await.len(), 10, "the default page");
    let mut listed = Vec::new();
    for page in 1..=4 {
        let filter = Filter { limit: Some(8), page: Some(page), ..Default::default() };
        let ids = list(&mut client, filter).await;
        assert_eq!(ids.len(), if page < 4 { 8 } else { 1 });
        listed.extend(ids);
    }
    listed.sort();
    made.sort();
    assert_eq!(listed, made);
}

#[tokio::test]
async fn operators_page_requests_by_the_last_one_and_skip_a_bounded_number() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    for _ in 0..25 {
        ask.deadline += 1;
        client.ask(&ask).await.expect("accepted");
    }
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let page = network.json(&format!("/api/v1/requests?limit=8{before}")).await;
        let ids = page.as_array().expect("a list").iter().map(|it| it["id"].to_string());
        let ids: Vec<String> = ids.collect();
        let Some(last) = ids.last() else { break };
        before = format!("&before={}", last.trim_matches('"'));
        seen.extend(ids);
    }
    assert_eq!(seen.len(), 25);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25, "no request is on two pages");
    for (path, code, text) in [
        ("/api/v1/requests?offset=10001", 400, "invalid `offset` 10001: expected at most 10000"),
        ("/api/v1/artifacts?offset=10001", 400, "invalid `offset` 10001: expected at most 10000"),
        ("/api/v1/requests?offset=10000", 200, "[]"),
        ("/api/v1/requests?before=00000000000000ff", 404, "no such request"),
    ] {
        let answer = reqwest::get(network.url(path)).await.expect("answers");
        assert_eq!(answer.status(), code, "{path}");
        let body = answer.text().await.expect("text");
        assert!(body.contains(text), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_list_that_no_client_could_receive_is_refused_with_a_limit_that_fits() {
    let network = Network::start_with(open).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let body = pb::RequestProofBody::decode(client.body(&ask).as_slice()).expect("a body");
    for number in 0..1000 {
        let mut body = body.clone();
        // As long as is accepted.
        body.whitelist = vec![vec![1; 20]; 64];
        let id = ask.stdin_uri.rsplit('/').next().expect("an id");
        body.stdin_uri = format!("http://{}/artifacts/{id}", "x".repeat(1990));
        body.deadline += number;
        let envelope = client.envelope(body.encode_to_vec());
        client.network.request_proof(envelope).await.expect("accepted");
    }
    let all = Filter { limit: Some(1000), ..Filter::default() };
    let refused = client.network.get_filtered_proof_requests(all).await.expect_err("too large");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    let limit = refused.message().rsplit(' ').next().expect("a number");
    let fits = Filter { limit: Some(limit.parse().expect("a number")), ..Filter::default() };
    assert!(list(&mut client, fits).await.len() > 500);
}
