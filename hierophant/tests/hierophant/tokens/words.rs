//! What a hostile Contemplant says: never a path, an address to call or a command, and never long.

use std::net::TcpListener;
use std::time::Duration;

use futures_util::SinkExt;
use hierophant_proto::network::FulfillmentStatus;
use network_lib::codec::MAX_FRAME_BYTES;
use network_lib::handshake::{Gpu, Hello};
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::FromWorker;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

/// All texts of a JSON value.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(values) => values.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// What operators are shown.
async fn shown(network: &Network) -> Vec<String> {
    let mut found = Vec::new();
    for path in ["/api/v1/workers", "/api/v1/jobs", "/contemplants", "/proof-history"] {
        texts(&network.json(path).await, &mut found);
    }
    let jobs = network.json("/api/v1/jobs").await;
    for job in jobs.as_array().into_iter().flatten() {
        let job = job["id"].as_str().expect("id");
        texts(&network.json(&format!("/api/v1/jobs/{job}")).await, &mut found);
    }
    found
}

/// A Contemplant that says this wherever it may say something.
fn saying(words: &str) -> Hello {
    let mut hello = hello();
    hello.name = words.into();
    hello.software_version = words.into();
    hello.capabilities.vm = words.into();
    hello.capabilities.circuit_versions.push(words.into());
    hello.capabilities.unavailable_reason = Some(words.into());
    hello.capabilities.gpus =
        vec![Gpu { model: words.into(), memory_bytes: 1, driver: Some(words.into()) }];
    hello
}

/// Has it fail a job with these words too, so that all that it can say is stored and shown; then another
/// proves the job, so that all is well afterwards.
async fn said(network: &Network, words: &str) -> Vec<String> {
    let mut client = Client::connect(network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(network, saying(words)).await;
    let (lease_id, _) = worker.leased().await;
    let failure = Failure::new(FailureClass::Infrastructure, words);
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    eventually("its words are known", async || {
        let job =
            network.json("/api/v1/jobs").await[0]["id"].as_str().unwrap_or_default().to_owned();
        let whole = network.json(&format!("/api/v1/jobs/{job}")).await;
        whole["history"][0]["message"].is_string()
    })
    .await;
    let found = shown(network).await;
    worker.say(FromWorker::Draining { reason: words.into() }).await;
    drop(worker);
    let mut honest = Worker::join(network, hello()).await;
    honest.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    found
}

#[tokio::test]
async fn paths_and_commands_in_a_contemplants_words_are_only_shown() {
    let network = Network::start().await;
    let target = network.data().join("made-by-a-contemplant");
    let path = target.display();
    let words =
        format!("../../..{path} $(touch {path}) `touch {path}`; touch {path} | touch {path}");
    let found = said(&network, &words).await;
    assert!(found.iter().any(|text| text.contains("$(touch")), "it is shown as it is");
    assert!(!target.exists());
    let names = std::fs::read_dir(network.data()).expect("readable");
    for entry in names {
        let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
        assert!(!name.contains("touch") && !name.contains(".."), "{name}");
    }
}

#[tokio::test]
async fn addresses_in_a_contemplants_words_are_never_called() {
    let network = Network::start().await;
    let trap = TcpListener::bind("127.0.0.1:0").expect("binds");
    trap.set_nonblocking(true).expect("a flag");
    let address = trap.local_addr().expect("bound");
    said(&network, &format!("http://{address}/ ws://{address}/ws {address}")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let called = trap.accept();
    let nobody = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(called.as_ref().is_err_and(nobody), "unexpected call: {called:?}");
}

#[tokio::test]
async fn control_characters_of_a_contemplant_reach_no_terminal() {
    let network = Network::start().await;
    let words = "amos\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{0}ERROR hierophant: all is lost\u{9b}31m";
    let found = said(&network, words).await;
    assert!(found.iter().any(|text| text.contains("all is lost")));
    for text in &found {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[tokio::test]
async fn huge_words_of_a_contemplant_are_cut_short() {
    let network = Network::start().await;
    // Ten of them fit into a frame.
    let found = said(&network, &"ä".repeat(10_000)).await;
    assert!(found.iter().any(|text| text.starts_with("ääää")));
    let longest = found.iter().map(|text| text.chars().count()).max();
    // A sentence, and what is said around it.
    assert!(longest.is_some_and(|longest| longest <= 1100), "{longest:?}");
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_connection_and_nothing_else() {
    let network = Network::start().await;
    let mut worker = Worker::join(&network, hello()).await;
    let huge = format!(r#"{{"type":"draining","reason":"{}"}}"#, "x".repeat(MAX_FRAME_BYTES));
    // It may be cut while it still sends.
    let _ = worker.socket.send(Message::text(huge)).await;
    eventually("it is gone", async || {
        network.json("/api/v1/workers").await.as_array().is_some_and(Vec::is_empty)
    })
    .await;
    Worker::join(&network, hello()).await;
}

#[tokio::test]
async fn a_lease_in_a_url_is_an_id_and_never_a_path() {
    let network = Network::start().await;
    let database = std::fs::read(network.data().join("hierophant.db")).expect("there");
    let worker = Worker::join(&network, hello()).await;
    for lease in [
        "..%2f..%2fhierophant.db",
        "%2e%2e%2f%2e%2e%2fhierophant.db",
        "..%5c..%5chierophant.db",
        "hierophant.db%00",
        "%2fetc%2fpasswd",
        "http:%2f%2f127.0.0.1%2f",
        &"a".repeat(6000),
    ] {
        for what in ["program", "stdin"] {
            let answer = worker.get(&format!("/leases/{lease}/{what}")).await;
            assert_eq!(answer.status(), 403, "{lease}");
            assert_ne!(answer.bytes().await.expect("bytes"), database);
        }
    }
}
