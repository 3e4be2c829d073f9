//! Who operates, and how much: tokens and their roles, sessions, the audit log.

mod audit;
mod command;
mod interrupted;
mod listeners;
mod places;
mod problems;
mod routes;
mod sessions;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use hierophant::api::http::v1;
use reqwest::{Client as Http, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::Network;

/// A client that Hierophant sees at 10.0.0.`number`.
fn stranger(number: u8) -> Http {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, number));
    Http::builder().local_address(address).build().expect("a client")
}

/// Makes a token on Hierophant's machine; returns its secret.
async fn made(network: &Network, name: &str, role: &str) -> String {
    let call = Http::new().post(network.url("/api/v1/tokens"));
    let answer = call.json(&json!({"name": name, "role": role})).send().await.expect("answers");
    assert_eq!(answer.status(), 201, "{name}");
    let made: Value = answer.json().await.expect("JSON");
    made["secret"].as_str().expect("a secret").to_owned()
}

async fn revoke(network: &Network, name: &str) {
    let call = Http::new().delete(network.url(&format!("/api/v1/tokens/{name}")));
    assert_eq!(call.send().await.expect("answers").status(), 200);
}

/// Code and words of an answer; a refusal is JSON.
async fn refusal(answer: Response) -> (u16, String) {
    let code = answer.status().as_u16();
    let body: Value = answer.json().await.expect("JSON");
    (code, body["error"].as_str().expect("words").to_owned())
}

async fn send(call: RequestBuilder) -> Response {
    call.send().await.expect("answers")
}

async fn code(call: RequestBuilder) -> u16 {
    send(call).await.status().as_u16()
}

/// Every method and path of the API, as its description names them, with ids of nothing.
fn routes() -> Vec<(Method, String)> {
    let described: Value = serde_json::from_str(&v1::openapi()).expect("JSON");
    let paths: BTreeMap<String, Value> =
        serde_json::from_value(described["paths"].clone()).expect("paths");
    let mut routes = Vec::new();
    for (path, methods) in paths {
        let path = path.replace("{id}", &"0".repeat(32)).replace("{name}", "missing");
        assert!(!path.contains('{'), "{path}: a kind of id that this test does not know");
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            routes.push((method, path.clone()));
        }
    }
    assert!(routes.len() > 30, "{routes:?}");
    routes
}

/// Whether this is the sign-in call, which presents the token in its body.
fn signs_in(method: &Method, path: &str) -> bool {
    *method == Method::POST && path == "/api/v1/session"
}

/// Signs in; returns what the browser sends along from then on.
async fn signed_in(network: &Network, http: &Http, secret: &str) -> String {
    let call = http.post(network.url("/api/v1/session")).json(&json!({"token": secret}));
    let answer = send(call).await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().expect("text");
    cookie.split(';').next().expect("a pair").to_owned()
}
