//! Webhooks against a receiver in this process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hierophant::config::{Config, Ending, WebhookConfig};
use hierophant_proto::network as pb;
use network_lib::job::{Failure, FailureClass};
use network_lib::secret::Secret;
use network_lib::wire::FromWorker;
use pb::FulfillmentStatus;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver has heard: headers and bodies, and what it is to answer next.
#[derive(Default)]
struct Heard {
    calls: Vec<(HeaderMap, Bytes)>,
    answers: Vec<Response>,
    /// Words in the bodies that are never accepted.
    refused: Option<String>,
    /// Number of calls that are answered together.
    together: Option<Arc<Barrier>>,
}

type Shared = Arc<Mutex<Heard>>;

async fn hear(State(heard): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let together = heard.lock().expect("not poisoned").together.clone();
    if let Some(together) = together {
        together.wait().await;
    }
    let mut heard = heard.lock().expect("not poisoned");
    let text = String::from_utf8_lossy(&body);
    if heard.refused.as_ref().is_some_and(|words| text.contains(words)) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    heard.calls.push((headers, body));
    if heard.answers.is_empty() { StatusCode::OK.into_response() } else { heard.answers.remove(0) }
}

struct Receiver {
    address: SocketAddr,
    heard: Shared,
    serving: JoinHandle<()>,
}

impl Receiver {
    async fn start(address: &str, answers: Vec<Response>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let heard = Shared::new(Mutex::new(Heard { answers, ..Heard::default() }));
        let router = Router::new().route("/hook", post(hear)).with_state(Arc::clone(&heard));
        let serving = network_lib::task::spawn("receiver", async move {
            axum::serve(listener, router).await.expect("serves");
        });
        Self { address, heard, serving }
    }

    fn calls(&self) -> Vec<(HeaderMap, Bytes)> {
        self.heard.lock().expect("not poisoned").calls.clone()
    }

    /// The calls, once there are `count`.
    async fn heard(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        eventually("the receiver has heard it", async || self.calls().len() >= count).await;
        self.calls()
    }
}

fn tell(address: SocketAddr, on: &[Ending]) -> impl FnOnce(&mut Config) {
    let webhook = WebhookConfig {
        clients: vec![],
        url: format!("http://{address}/hook"),
        secret: Secret::from(SECRET),
        on: on.to_vec(),
    };
    move |config| config.webhooks.push(webhook)
}

/// The body of a call whose signature is right, and its id.
fn verified((headers, body): &(HeaderMap, Bytes)) -> (String, Value) {
    Webhook::new(SECRET).expect("a key").verify(body, headers).expect("signed");
    let wrong = Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").expect("a key");
    wrong.verify(body, headers).expect_err("signed with another key");
    let id = headers["webhook-id"].to_str().expect("text").to_owned();
    (id, serde_json::from_slice(body).expect("JSON"))
}

async fn nothing_is_left(network: &Network) {
    eventually("nothing is left to tell", async || {
        network.json("/api/v1/overview").await["webhooks"][0]["undelivered"] == 0
    })
    .await;
}

#[tokio::test]
async fn ends_are_told_signed_and_only_those_that_were_asked_for() {
    let all = Receiver::start("127.0.0.1:0", vec![]).await;
    let failures = Receiver::start("127.0.0.1:0", vec![]).await;
    let network = Network::start_with(|config| {
        tell(all.address, &Ending::ALL)(config);
        tell(failures.address, &[Ending::Unexecutable])(config);
    })
    .await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let (_, told) = verified(&all.heard(1).await[0]);
    assert_eq!(told["type"], "request.fulfilled");
    assert_eq!(told["request"]["id"], hex::encode(&request[..8]));
    assert_eq!(
        (&told["request"]["state"], &told["job"]["state"]),
        (&"fulfilled".into(), &"proved".into())
    );
    assert_eq!(told["at"], told["request"]["fulfilled_at"]);

    let ask = client.ready_to_ask(b"bad input").await;
    client.ask(&ask).await.expect("accepted");
    let (lease_id, _) = worker.leased().await;
    let failure = Failure::new(FailureClass::Guest, "it panics");
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    let (_, told) = verified(&failures.heard(1).await[0]);
    assert_eq!(told["type"], "request.unexecutable");
    assert!(told["job"]["failure"].as_str().expect("words").contains("it panics"), "{told}");

    let ask = client.ready_to_ask(b"unwanted").await;
    let request = client.ask(&ask).await.expect("accepted");
    client.cancel(&request).await.expect("cancels");
    let calls = all.heard(3).await;
    let kinds: Vec<Value> = calls.iter().map(|call| verified(call).1["type"].clone()).collect();
    assert_eq!(kinds, ["request.fulfilled", "request.unexecutable", "request.cancelled"]);
    nothing_is_left(&network).await;
    assert_eq!(failures.calls().len(), 1);
}

#[tokio::test]
async fn what_is_not_taken_is_told_again_under_the_same_id() {
    let elsewhere = Receiver::start("127.0.0.1:0", vec![]).await;
    let location = format!("http://{}/hook", elsewhere.address);
    let answers = vec![
        StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response(),
    ];
    let receiver = Receiver::start("127.0.0.1:0", answers).await;
    let network = Network::start_with(tell(receiver.address, &Ending::ALL)).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    client.cancel(&request).await.expect("cancels");
    receiver.heard(1).await;
    eventually("the trouble is seen", async || {
        let webhook = network.json("/api/v1/overview").await["webhooks"][0].clone();
        webhook["failing_since"].is_i64()
            && webhook["failure"].as_str().is_some_and(|why| why.contains("500"))
    })
    .await;
    let calls = receiver.heard(3).await;
    let told: Vec<_> = calls.iter().map(verified).collect();
    assert!(told[0] == told[1] && told[1] == told[2], "{told:?}");
    nothing_is_left(&network).await;
    let webhook = network.json("/api/v1/overview").await["webhooks"][0].clone();
    assert_eq!((&webhook["failing_since"], &webhook["failure"]), (&Value::Null, &Value::Null));
    assert!(elsewhere.calls().is_empty(), "redirects are not followed");
    let metrics = reqwest::get(network.url("/metrics")).await.expect("answers");
    let metrics = metrics.text().await.expect("text");
    for (outcome, count) in [("failed", 2), ("delivered", 1)] {
        let series = format!(
            "hierophant_webhook_notices_total{{receiver=\"{}\",outcome=\"{outcome}\"}} {count}",
            receiver.address
        );
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_hears_of_it_after_a_restart_and_hinders_nobody() {
    let receiver = Receiver::start("127.0.0.1:0", vec![]).await;
    let address = receiver.address;
    receiver.serving.abort();
    let _ = receiver.serving.await;
    let well = Receiver::start("127.0.0.1:0", vec![]).await;
    let network = Network::start_with(|config| {
        tell(address, &Ending::ALL)(config);
        tell(well.address, &Ending::ALL)(config);
    })
    .await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    client.cancel(&request).await.expect("cancels");
    verified(&well.heard(1).await[0]);
    eventually("the dead one is seen", async || {
        let webhook = network.json("/api/v1/overview").await["webhooks"][0].clone();
        webhook["receiver"] == address.to_string() && webhook["failing_since"].is_i64()
    })
    .await;
    let network = network.restart().await;
    let receiver = Receiver::start(&address.to_string(), vec![]).await;
    let (_, told) = verified(&receiver.heard(1).await[0]);
    assert_eq!(told["request"]["id"], hex::encode(&request[..8]));
    nothing_is_left(&network).await;
    assert_eq!(well.calls().len(), 1, "a delivered notification is not sent again");

    // Without receivers nothing is kept for them.
    let (folder, mut config) = network.stop().await;
    config.webhooks.clear();
    let network = Network::start_in(folder, config).await;
    assert_eq!(network.json("/api/v1/overview").await["webhooks"], serde_json::json!([]));
}

/// Requests that end at once, because their client cancels them.
async fn cancelled(client: &mut Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let ask = client.ready_to_ask(format!("input {number}").as_bytes()).await;
        let request = client.ask(&ask).await.expect("accepted");
        client.cancel(&request).await.expect("cancels");
        ids.push(hex::encode(&request[..8]));
    }
    ids
}

#[tokio::test]
async fn a_notification_that_is_never_accepted_delays_no_other() {
    let receiver = Receiver::start("127.0.0.1:0", vec![]).await;
    let network = Network::start_with(tell(receiver.address, &Ending::ALL)).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"refused").await;
    let refused = client.ask(&ask).await.expect("accepted");
    receiver.heard.lock().expect("not poisoned").refused = Some(hex::encode(&refused[..8]));
    client.cancel(&refused).await.expect("cancels");
    let begun = std::time::Instant::now();
    let others = cancelled(&mut client, 20).await;
    let heard: std::collections::BTreeSet<_> = receiver
        .heard(others.len())
        .await
        .iter()
        .map(|call| verified(call).1["request"]["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(heard, others.into_iter().collect());
    // The third try of the refused one comes after six seconds.
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
    eventually("the refused one is left", async || {
        network.json("/api/v1/overview").await["webhooks"][0]["undelivered"] == 1
    })
    .await;
}

#[tokio::test]
async fn a_slow_receiver_gets_several_notifications_at_a_time() {
    let receiver = Receiver::start("127.0.0.1:0", vec![]).await;
    // None is answered before the fourth has arrived, so one at a time would never pass.
    receiver.heard.lock().expect("not poisoned").together = Some(Arc::new(Barrier::new(4)));
    let network = Network::start_with(tell(receiver.address, &Ending::ALL)).await;
    let mut client = Client::connect(&network).await;
    cancelled(&mut client, 8).await;
    receiver.heard(8).await;
    nothing_is_left(&network).await;
}
