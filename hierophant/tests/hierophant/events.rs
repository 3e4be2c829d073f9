//! `/api/v1/events`: what listeners hear.

use std::time::{Duration, Instant};

use eventsource_stream::{Event, Eventsource};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use hierophant_proto::network as pb;
use network_lib::job::{Phase, Progress};
use network_lib::wire::FromWorker;
use pb::FulfillmentStatus;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{Client, LIMIT, Network, Worker, core_proof, eventually, hello};

struct Listener(BoxStream<'static, Event>);

impl Listener {
    async fn call(network: &Network) -> Response {
        reqwest::get(network.url("/api/v1/events")).await.expect("answers")
    }

    /// Listens; the first event is a reset.
    async fn new(network: &Network) -> Self {
        let answer = Self::call(network).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let events = answer.bytes_stream().eventsource();
        let mut listener = Self(events.map(|event| event.expect("an event")).boxed());
        let (name, data) = listener.next().await;
        assert!(name == "reset" && data["at"].is_i64(), "{name} {data}");
        listener
    }

    async fn next(&mut self) -> (String, Value) {
        let event = tokio::time::timeout(LIMIT, self.0.next()).await.expect("in time");
        let event = event.expect("one more");
        (event.event, serde_json::from_str(&event.data).expect("JSON"))
    }

    /// The first event for which `wanted` returns a value.
    async fn until<T>(&mut self, wanted: impl Fn(&Value) -> Option<T>) -> T {
        loop {
            let (name, data) = self.next().await;
            assert_eq!(name, "changes");
            if let Some(found) = wanted(&data) {
                return found;
            }
        }
    }
}

/// The entry of a list with this value under this key.
fn entry(list: &Value, key: &str, value: &str) -> Option<Value> {
    list.as_array().expect("a list").iter().find(|entry| entry[key] == value).cloned()
}

#[tokio::test]
async fn a_proof_is_heard_of_from_the_queue_to_its_end() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut listener = Listener::new(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let shown = hex::encode(&request[..8]);
    let (open, job) = listener
        .until(|data| Some((entry(&data["requests"], "id", &shown)?, data["jobs"][0].clone())))
        .await;
    assert_eq!((&open["state"], &job["state"]), (&json!("open"), &json!("queued")));
    assert_eq!(job["requests"][0], open);
    let soon = listener.0.next().now_or_never();
    assert!(soon.is_none(), "at most one event a second");

    let greeting = hello();
    let id = greeting.worker_id.to_string();
    let mut worker = Worker::join(&network, greeting).await;
    let (lease_id, _) = worker.leased().await;
    let progress = Progress {
        phase: Phase::Proving,
        fraction: Some(0.5),
        cycles_done: None,
        cycles_total: None,
        eta_seconds: None,
        estimated: false,
        memory_bytes: None,
        steps_done: None,
    };
    worker.say(FromWorker::Progress { lease_id, progress }).await;
    let running = listener
        .until(|data| {
            let worker = entry(&data["workers"], "id", &id)?;
            worker["running"].get(0).filter(|proof| proof["fraction"] == 0.5).cloned()
        })
        .await;
    assert_eq!((&running["job"], &running["phase"]), (&job["id"], &json!("proving")));

    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    let (execution, proof) = (crate::support::execution(), crate::support::blob(&core_proof()));
    worker.say(FromWorker::Completed { lease_id, execution, proof }).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
    let told = listener
        .until(|data| {
            let proved = entry(&data["jobs"], "state", "proved")?;
            assert_eq!(entry(&data["requests"], "id", &shown)?["state"], "fulfilled");
            Some((proved, data["overview"].clone()))
        })
        .await;
    // An event equals the state that is read.
    assert_eq!(told.0, network.json("/api/v1/jobs").await[0]);
    assert_eq!(told.1["unfinished"], 0);
}

#[tokio::test]
async fn who_leaves_is_heard_of_and_silence_is_not() {
    let network = Network::start_with(crate::support::impatient).await;
    let greeting = hello();
    let id = greeting.worker_id.to_string();
    let worker = Worker::join(&network, greeting).await;
    let mut listener = Listener::new(&network).await;
    let (_, data) = listener.next().await;
    assert_eq!(
        data["overview"]["workers"],
        json!({"ready": 1}),
        "a new listener receives the state at once"
    );
    drop(worker);
    listener.until(|data| (data["workers_gone"] == json!([id])).then_some(())).await;
    // Its departure may arrive in two frames, a second apart; then there are no more changes.
    let mut told = Vec::new();
    while let Ok(more) = tokio::time::timeout(Duration::from_secs(3), listener.0.next()).await {
        told.push(more);
        assert!(told.len() < 3, "nothing has changed: {told:?}");
    }
}

#[tokio::test]
async fn too_many_listeners_are_turned_away_and_a_stop_ends_the_streams() {
    let network = Network::start_with(|config| {
        config.limits.max_event_streams = 64.try_into().expect("not zero");
    })
    .await;
    let mut listeners = Vec::new();
    for _ in 0..64 {
        listeners.push(Listener::new(&network).await);
    }
    let refused = Listener::call(&network).await;
    assert_eq!(refused.status(), 503);
    let words: Value = refused.json().await.expect("JSON");
    assert!(
        words["error"].as_str().expect("words").contains("too many listeners (at most 64)"),
        "{words}"
    );
    let mut last = listeners.pop().expect("some");
    drop(listeners);
    eventually("there is room again", async || Listener::call(&network).await.status() == 200)
        .await;
    let started = Instant::now();
    network.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "listeners do not hold up a stop");
    while last.0.next().await.is_some() {}
}
