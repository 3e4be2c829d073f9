//! Tokens: how operators make and revoke them, and what they open.

mod admin;
mod expiry;
mod links;
mod local;
mod words;
mod workers;

use network_lib::handshake::{Hello, Refusal};
use network_lib::wire::{FromWorker, ToWorker};
use serde_json::{Value, json};

use crate::support::{Network, Worker, hello};

/// Asks the API; returns code and JSON.
async fn call(network: &Network, method: &str, path: &str, body: Value) -> (u16, Value) {
    let url = network.url(&format!("/api/v1{path}"));
    let method = method.parse().expect("a method");
    let call = reqwest::Client::new().request(method, url).json(&body);
    let answer = call.send().await.expect("answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// Makes a token; returns its secret.
async fn made(network: &Network, name: &str, role: &str) -> String {
    let (code, made) = call(network, "POST", "/tokens", json!({"name": name, "role": role})).await;
    assert_eq!(code, 201, "{made}");
    made["secret"].as_str().expect("a secret").to_owned()
}

async fn revoke(network: &Network, name: &str) {
    let (code, revoked) = call(network, "DELETE", &format!("/tokens/{name}"), Value::Null).await;
    assert_eq!(code, 200, "{revoked}");
}

/// What a Contemplant with this token says first.
fn bearer(secret: &str) -> Hello {
    Hello { token: Some(secret.into()), ..hello() }
}

/// A Contemplant that is turned away; why.
async fn turned_away(network: &Network, hello: Hello) -> Refusal {
    let mut worker = Worker::dial(network).await;
    worker.say(FromWorker::Hello(hello)).await;
    let refusal = match worker.hear().await {
        Some(ToWorker::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(worker.hear().await, None, "nothing comes after it");
    refusal
}
