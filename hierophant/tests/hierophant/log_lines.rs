//! Log lines carry the ids of the session or job that they belong to.

use std::sync::Arc;

use alloy_primitives::Address;
use futures_util::SinkExt;
use hierophant::config::AuthMode;
use hierophant_proto::network::FulfillmentStatus;
use network_lib::secret::Secret;
use network_lib::wire::{FromWorker, ToWorker};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

/// JSON lines of one thread, and with it of a test's tasks.
pub(crate) struct Lines {
    file: tempfile::NamedTempFile,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Lines {
    pub(crate) fn capture() -> Self {
        let file = tempfile::NamedTempFile::new().expect("writes");
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(Arc::new(file.reopen().expect("writes")))
            .finish();
        Self { file, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The fields of the lines with this message.
    pub(crate) fn fields(&self, message: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file.path()).expect("reads");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .map(|line| line["fields"].clone())
            .filter(|fields| fields["message"].as_str().is_some_and(|it| it.starts_with(message)))
            .collect()
    }

    /// The spans named `span` around the lines with this message.
    fn spans(&self, message: &str, span: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file.path()).expect("reads");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|line| line["fields"]["message"] == message)
            .flat_map(|line| line["spans"].as_array().cloned().unwrap_or_default())
            .filter(|found| found["name"] == span)
            .collect()
    }
}

#[tokio::test]
async fn a_line_of_a_session_says_which_worker_and_from_where() {
    let lines = Lines::capture();
    let network = Network::start().await;
    let who = hello();
    let mut worker = Worker::join(&network, who.clone()).await;
    worker.socket.send(Message::binary(vec![0])).await.expect("sent");
    worker.closing_words().await;
    eventually("the session has ended", async || {
        network.json("/contemplants").await.as_array().is_some_and(Vec::is_empty)
    })
    .await;
    let spans = lines.spans("session closed", "session");
    let [span] = spans.as_slice() else { panic!("one line: {spans:?}") };
    assert_eq!(span["worker_id"], who.worker_id.to_string());
    assert_eq!(span["peer"], "127.0.0.1");
    assert!(span["session"].as_str().is_some_and(|number| !number.is_empty()), "{span}");
}

#[tokio::test]
async fn a_line_of_a_proofs_check_says_which_job() {
    let lines = Lines::capture();
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let lease = worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let job = network.json("/api/v1/jobs").await[0]["id"].clone();
    let spans = lines.spans("proof accepted", "job");
    let [span] = spans.as_slice() else { panic!("one line: {spans:?}") };
    assert_eq!(span["job_id"], job);
    assert_eq!(span["lease"], lease.hint());
}

#[tokio::test]
async fn failed_authentication_says_from_where_and_why_at_a_bounded_rate() {
    let lines = Lines::capture();
    let network = Network::start_with(|config| {
        config.worker_token = Some(Secret::from("a token of all workers, long enough"));
        config.auth = AuthMode::Allowlist;
        config.allowlist = vec![Address::repeat_byte(7)];
    })
    .await;
    let request = "0".repeat(64);
    let guess = reqwest::Client::new().get(network.url(&format!("/api/v1/requests/{request}")));
    assert_eq!(guess.bearer_auth("hpt_act_guessed").send().await.expect("answers").status(), 401);
    let sign_in = reqwest::Client::new().post(network.url("/api/v1/session"));
    let sign_in = sign_in.json(&serde_json::json!({"token": "hpt_act_guessed"}));
    assert_eq!(sign_in.send().await.expect("answers").status(), 401);
    let mut client = Client::connect(&network).await;
    client.cancel(&[7; 32]).await.expect_err("is not listed");
    let mut worker = Worker::dial(&network).await;
    worker.say(FromWorker::Hello(hello())).await;
    assert!(matches!(worker.hear().await, Some(ToWorker::Refused(_))));
    let found = lines.fields("authentication failed");
    let facts: Vec<[&str; 2]> = found
        .iter()
        .map(|fields| ["kind", "path"].map(|key| fields[key].as_str().expect("text")))
        .collect();
    assert_eq!(
        facts,
        [
            ["wrong_token", "\"/api/v1/requests/0000000000000000\""],
            ["wrong_token", "\"/api/v1/session\""],
            ["not_allowed", "\"/network.ProverNetwork/CancelRequest\""],
            ["worker", "\"/ws\""],
        ]
    );
    assert!(found.iter().all(|fields| fields["peer"] == "127.0.0.1"), "{found:?}");
    assert!(!format!("{found:?}").contains("hpt_act_guessed"));
    for _ in 0..100 {
        let guess = reqwest::Client::new().get(network.url("/api/v1/jobs"));
        guess.bearer_auth("hpt_act_guessed").send().await.expect("answers");
    }
    assert_eq!(lines.fields("authentication failed").len(), 5, "of one address, in a minute");
}

#[tokio::test]
async fn the_start_says_in_one_line_what_is_open_to_whom() {
    let lines = Lines::capture();
    let network = Network::start().await;
    let found = lines.fields("open: ");
    let [line] = found.as_slice() else { panic!("one line: {found:?}") };
    let line = line["message"].as_str().expect("text");
    for part in [
        format!("gRPC at {} without TLS: every request with a valid signature", network.grpc),
        format!("HTTP at {} without TLS", network.http),
        "workers on this machine".to_owned(),
        format!("admin socket {}", network.data().join("admin.sock").display()),
    ] {
        assert!(line.contains(&part), "{part}: {line}");
    }
}
