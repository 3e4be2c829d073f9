//! Log lines carry the ids of the session or job that they belong to.

use std::sync::Arc;

use futures_util::SinkExt;
use hierophant_proto::network::FulfillmentStatus;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

/// JSON lines of one thread, and with it of a test's tasks.
struct Lines {
    file: tempfile::NamedTempFile,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Lines {
    fn capture() -> Self {
        let file = tempfile::NamedTempFile::new().expect("writes");
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(Arc::new(file.reopen().expect("writes")))
            .finish();
        Self { file, _guard: tracing::subscriber::set_default(subscriber) }
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
