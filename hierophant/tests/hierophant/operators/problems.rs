//! Errors of the API: problem details, also where the framework answers.

use std::collections::BTreeSet;
use std::time::Duration;

use hierophant::api::http::v1;
use reqwest::{Client as Http, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{made, send, stranger};
use crate::support::{LIMIT, Network};

/// Checks an error response; returns the name of its kind and its `Allow` header.
async fn problem(answer: Response) -> (String, Option<String>) {
    let code = answer.status().as_u16();
    let header = |name: &str| {
        answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
    };
    let allow = header("allow");
    assert_eq!(header("content-type").as_deref(), Some("application/problem+json"), "{code}");
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["status"], code, "{body}");
    assert_eq!(body["error"], body["detail"], "{body}");
    for member in ["title", "detail"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
    }
    let kind = body["type"].as_str().expect("a type");
    let name = kind.strip_prefix("urn:hierophant:problem:").expect("a URI of ours").to_owned();
    (name, allow)
}

#[tokio::test]
async fn every_error_is_a_problem_with_a_stable_type() {
    let network = Network::start_with_strangers(|_| {}).await;
    let read = made(&network, "rita", "read").await;
    let here = stranger(1);
    let none = "0".repeat(32);
    let url = |path: &str| network.url(&format!("/api/v1{path}"));
    for (call, wanted) in [
        (here.get(url("/jobs/7")), "invalid-call"),
        (here.get(url("/jobs?limit=x")), "invalid-call"),
        (here.get(url("/jobs/%ff")), "invalid-call"),
        (here.post(url("/dispatch/pause")).body("{"), "invalid-call"),
        (here.get(url(&format!("/jobs/{none}"))), "not-found"),
        (here.get(url("/nothing/here")), "not-found"),
        (here.post(url("/nothing")), "not-found"),
        (here.get(url("")), "not-found"),
        (here.put(url("/jobs")), "method-not-allowed"),
        (here.delete(url("/dispatch/pause")), "method-not-allowed"),
        (here.post(url("/dispatch/pause")).body("x".repeat(20_000)), "body-too-long"),
        (here.post(url("/session")).body("x"), "unsupported-media-type"),
        (here.get(url("/jobs")).header("origin", "http://evil.example"), "foreign-page"),
        (here.get(url("/jobs")).bearer_auth("hpt_act_guessed"), "token-invalid"),
        (here.post(url("/dispatch/pause")).bearer_auth(&read), "role-insufficient"),
        (stranger(9).get(url("/jobs")), "token-required"),
        (stranger(9).get(url("/nothing")), "token-required"),
    ] {
        let built = call.try_clone().expect("a body in memory").build().expect("a call");
        let place = format!("{} {}", built.method(), built.url());
        let (kind, allow) = problem(send(call).await).await;
        assert_eq!(kind, wanted, "{place}");
        assert_eq!(allow.is_some(), kind == "method-not-allowed", "{place}: {allow:?}");
    }
    made(&network, "anna", "act").await;
    let again = here.post(url("/tokens")).json(&json!({"name": "anna", "role": "act"}));
    assert_eq!(problem(send(again).await).await.0, "conflict");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_answered_with_408() {
    let network = Network::start().await;
    let mut connection = TcpStream::connect(network.http).await.expect("connects");
    let head =
        "POST /api/v1/dispatch/pause HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{";
    connection.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(LIMIT + Duration::from_secs(10), connection.read(&mut answer));
    let length = read.await.expect("in time").expect("reads");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("urn:hierophant:problem:body-timeout"), "{answer}");
    assert!(network.json("/api/v1/overview").await["paused"].is_null());
}

#[tokio::test]
async fn a_created_token_is_answered_with_201() {
    let network = Network::start().await;
    let call = Http::new().post(network.url("/api/v1/tokens"));
    let answer = send(call.json(&json!({"name": "rig-7", "role": "worker"}))).await;
    assert_eq!(answer.status(), 201);
}

#[test]
fn the_description_names_every_operation_once_and_every_error_as_a_problem() {
    let described: Value = serde_json::from_str(&v1::openapi()).expect("JSON");
    assert_eq!(described["servers"][0]["url"], "/");
    let mut names = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{method} {path}: {name} is another call's");
            let generic = ["list", "create", "revoke", "events", "caller"];
            assert!(!generic.contains(&name), "{method} {path}: {name}");
            let responses = operation["responses"].as_object().expect("responses");
            for code in ["401", "403", "408", "413", "429", "500", "503", "504"] {
                assert!(responses.contains_key(code), "{method} {path}: {code}");
            }
            for (code, response) in responses.iter().filter(|(code, _)| code.as_str() >= "400") {
                let kinds: Vec<&String> =
                    response["content"].as_object().expect("content").keys().collect();
                assert_eq!(kinds, ["application/problem+json"], "{method} {path}: {code}");
            }
        }
    }
    let schemas = &described["components"]["schemas"];
    for name in ["JobState", "RequestState", "ProofMode", "Role", "ArtifactKind", "WorkerState"] {
        let values = schemas[name]["enum"].as_array().map(Vec::len);
        assert!(values.is_some_and(|count| count > 1), "{name}: {}", schemas[name]);
    }
}
