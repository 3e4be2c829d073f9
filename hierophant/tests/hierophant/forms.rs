//! The form of `/contemplants`, `/dead-contemplants` and `/proof-history`, which scripts rely on.

use hierophant_proto::network::FulfillmentStatus;
use network_lib::job::{Phase, Progress};
use network_lib::wire::FromWorker;
use serde_json::{Value, json};

use crate::support::{Client, Network, Worker, core_proof, eventually, hello, impatient};

/// Names and kinds of values.
fn form(value: &Value) -> Value {
    match value {
        Value::Null => json!("none"),
        Value::Bool(_) => json!("truth"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Array(list) => Value::Array(list.iter().map(form).collect()),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, value)| (name.clone(), form(value))).collect())
        }
    }
}

#[tokio::test]
async fn the_status_pages_keep_their_form() {
    let network = Network::start_with(impatient).await;
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    let ask = client.ready_to_ask(b"first").await;
    let first = client.ask(&ask).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
    client.until(&first, FulfillmentStatus::Fulfilled).await;
    assert_eq!(
        form(&network.json("/proof-history").await),
        json!([{
            "job": "text", "requests": ["text"], "mode": "text", "program": "text",
            "requester": "text", "contemplant": "text", "backend": "text", "state": "text",
            "failure": "none", "attempts": "number", "cycles": "number", "gas": "number",
            "created_at": "number", "started_at": "number", "finished_at": "number",
            "proof_seconds": "number",
        }])
    );

    let ask = client.ready_to_ask(b"second").await;
    client.ask(&ask).await.expect("accepted");
    let (lease_id, _) = worker.leased().await;
    let progress = Progress {
        fraction: Some(0.5),
        cycles_done: Some(1),
        cycles_total: Some(2),
        eta_seconds: Some(3),
        ..Progress::phase(Phase::Proving)
    };
    worker.say(FromWorker::Progress { lease_id, progress }).await;
    eventually("the progress is known", async || {
        network.json("/contemplants").await[0]["current_proofs"][0]["phase"] == "proving"
    })
    .await;
    assert_eq!(
        form(&network.json("/contemplants").await),
        json!([{
            "id": "text", "name": "text", "instance": "none", "ip": "text", "version": "text",
            "backend": "text",
            "modes": ["text", "text", "text", "text"], "slots": "number", "state": "text",
            "time_alive_seconds": "number", "seconds_since_heard": "number", "strikes": "number",
            "proofs_completed": "number", "average_proof_time_seconds": "number",
            "obstacle": "none",
            "current_proofs": [{
                "job": "text", "requests": ["text"], "mode": "text", "program": "text",
                "phase": "text", "fraction": "number", "cycles_done": "number",
                "cycles_total": "number", "eta_seconds": "number", "estimated": "truth",
                "running_seconds": "number", "raced": "truth",
            }],
            "current_tasks": [],
        }])
    );

    drop(worker);
    eventually("the Contemplant is gone", async || {
        network.json("/dead-contemplants").await.as_array().is_some_and(|list| !list.is_empty())
    })
    .await;
    assert_eq!(
        form(&network.json("/dead-contemplants").await),
        json!([{
            "id": "text", "name": "text", "ip": "text", "version": "text", "died_at": "number",
            "time_alive_seconds": "number", "reason": "text",
        }])
    );
}
