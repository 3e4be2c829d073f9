//! Workers without a token: only those that prove to run on Hierophant's machine are admitted.

use std::os::unix::fs::PermissionsExt;

use hierophant_proto::network::FulfillmentStatus;
use network_lib::handshake::{Hello, Refusal, RefusalCode};
use network_lib::local_secret;
use network_lib::wire::{FromWorker, ToWorker, stdin_path};
use serde_json::json;

use super::{bearer, made};
use crate::support::{Client, Network, Reach, Worker, blob, core_proof, execution, hello};

/// Headers of proxies, and a host name of another machine.
const NOT_LOCAL: [(&str, &str, &str); 8] = [
    ("x-forwarded-for", "203.0.113.9", "through a proxy"),
    ("x-forwarded-proto", "https", "through a proxy"),
    ("x-forwarded-host", "prover.example.org", "through a proxy"),
    ("x-real-ip", "203.0.113.9", "through a proxy"),
    ("forwarded", "for=203.0.113.9", "through a proxy"),
    ("via", "1.1 proxy", "through a proxy"),
    ("host", "prover.example.org", "host name that is not local"),
    ("host", "evil:9010", "host name that is not local"),
];

async fn refused(worker: &mut Worker, hello: Hello) -> Refusal {
    worker.say(FromWorker::Hello(hello)).await;
    match worker.hear().await {
        Some(ToWorker::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn secret_file(network: &Network) -> std::path::PathBuf {
    network.data().join(local_secret::FILE_NAME)
}

#[tokio::test]
async fn a_stranger_that_arrives_from_loopback_needs_the_secret_of_the_data_folder() {
    let network = Network::start().await;
    let mode = std::fs::metadata(secret_file(&network)).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    // What a tunnel such as `socat` or `ssh -R` passes on comes from loopback, without any header of a proxy.
    for presented in [None, Some("".into()), Some("0".repeat(64).as_str().into())] {
        let mut worker = Worker::dial(&network).await;
        assert!(worker.local_secret.is_some(), "the file is named, and this test can read it");
        worker.local_secret = presented;
        let refusal = refused(&mut worker, hello()).await;
        assert_eq!(refusal.code, RefusalCode::Unauthorized);
        for words in [local_secret::FILE_NAME, "token create"] {
            assert!(refusal.message.contains(words), "{}", refusal.message);
        }
    }
    assert!(
        network.figure("hierophant_workers_refused_total{reason=\"unauthorized\"}").await >= 3.0
    );
    Worker::join(&network, hello()).await;
}

#[tokio::test]
async fn the_secret_of_an_earlier_start_is_worth_nothing() {
    let network = Network::start().await;
    let before = local_secret::read(&secret_file(&network)).expect("reads");
    let network = network.restart().await;
    let mut worker = Worker::dial(&network).await;
    assert_ne!(worker.local_secret.as_ref(), Some(&before));
    worker.local_secret = Some(before);
    assert_eq!(refused(&mut worker, hello()).await.code, RefusalCode::Unauthorized);
}

#[tokio::test]
async fn a_worker_behind_a_proxy_needs_a_token_even_if_it_knows_the_secret() {
    let network = Network::start().await;
    let secret = local_secret::read(&secret_file(&network)).expect("reads");
    for (name, value, words) in NOT_LOCAL {
        let headers = [(name, value)];
        let connecting = Worker::connect_with(network.http(), reqwest::Client::new(), &headers);
        let mut worker = connecting.await.expect("upgrades");
        assert_eq!(worker.local_secret, None, "{name}: no file is named to it");
        worker.local_secret = Some(secret.clone());
        let refusal = refused(&mut worker, hello()).await;
        assert!(refusal.message.contains(words), "{name}: {}", refusal.message);
    }
    let token = made(&network, "rig-7", "worker").await;
    let proxied = [("x-forwarded-for", "203.0.113.9"), ("host", "prover.example.org")];
    let connecting = Worker::connect_with(network.http(), reqwest::Client::new(), &proxied);
    connecting.await.expect("upgrades").welcome(bearer(&token)).await;
}

#[tokio::test]
async fn a_web_page_reaches_neither_the_socket_nor_a_lease() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease, _) = worker.leased().await;
    let own = network.url("");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", own.as_str()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        let opening =
            Worker::connect_with(network.http(), reqwest::Client::new(), &[(name, value)]).await;
        assert!(opening.is_err(), "{name}: {value}");
        let call = worker.call(reqwest::Method::GET, &stdin_path(lease)).header(name, value);
        assert_eq!(call.send().await.expect("answers").status(), 403, "{name}: {value}");
    }
    assert!(network.figure("hierophant_workers_refused_total{reason=\"browser\"}").await >= 12.0);
    let proof = core_proof();
    assert_eq!(worker.hand_in(lease, &proof).await, 200, "a worker is served as before");
    let completed =
        FromWorker::Completed { lease_id: lease, execution: execution(), proof: blob(&proof) };
    worker.say(completed).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn the_key_of_a_local_worker_opens_nothing_through_a_proxy() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease, _) = worker.leased().await;
    for (name, value, _) in NOT_LOCAL {
        let call = worker.call(reqwest::Method::GET, &stdin_path(lease)).header(name, value);
        assert_eq!(call.send().await.expect("answers").status(), 401, "{name}");
    }
    assert_eq!(worker.get(&stdin_path(lease)).await.status(), 200);
}

#[tokio::test]
async fn a_token_admits_one_machine_at_a_time_and_no_worker_all_slots() {
    let network = Network::start().await;
    let token = made(&network, "rig-7", "worker").await;
    let mut greedy = bearer(&token);
    greedy.capabilities.slots = 1024;
    let owner = Worker::join(&network, greedy.clone()).await;
    let workers = network.json("/api/v1/workers").await;
    assert_eq!(workers[0]["slots"], json!(64), "{workers}");

    let mut thief = Worker::dial(&network).await;
    let refusal = refused(&mut thief, bearer(&token)).await;
    assert_eq!(refusal.code, RefusalCode::Full, "it may try again");
    for words in ["token rig-7", "tobit at 127.0.0.1", "max_workers_per_token"] {
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    assert!(network.figure("hierophant_workers_refused_total{reason=\"full\"}").await >= 1.0);
    // The owner itself may always return, and another token has a place of its own.
    let _again = Worker::join(&network, greedy).await;
    let other = made(&network, "rig-8", "worker").await;
    Worker::join(&network, bearer(&other)).await;
    drop(owner);
}
