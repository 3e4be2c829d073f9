//! The audit log, as it can be asked for.

use hierophant_proto::network::FulfillmentStatus;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{code, made, revoke, routes, send, signed_in, signs_in, stranger};
use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

async fn entries(network: &Network) -> Vec<Value> {
    let log = network.json("/api/v1/audit?limit=1000").await;
    log.as_array().expect("a list").clone()
}

#[tokio::test]
async fn every_action_is_written_down_with_the_tokens_name_and_no_secret() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let http = stranger(9);
    let cookie = signed_in(&network, &http, &token).await;
    let mut wanted = vec!["POST /api/v1/session".to_owned()];
    let mut secrets = vec![token.clone(), cookie.split_once('=').expect("a pair").1.to_owned()];
    let acting = routes()
        .into_iter()
        .filter(|(method, path)| *method != reqwest::Method::GET && !signs_in(method, path));
    for (method, path) in acting {
        let call = http.request(method.clone(), network.url(&path)).bearer_auth(&token);
        let body = match path.as_str() {
            "/api/v1/tokens" => json!({"name": "rig-7", "role": "worker"}),
            path if path.ends_with("/priority") => json!({"class": "low"}),
            "/api/v1/queue/clear" => json!({"mode": "core"}),
            _ => json!({"reason": format!("because of {path}")}),
        };
        let answer = send(call.json(&body)).await;
        let answer: Value = answer.json().await.expect("JSON");
        secrets.extend(answer["secret"].as_str().map(str::to_owned));
        wanted.push(format!("{method} {path}"));
    }
    assert_eq!(secrets.len(), 3, "the new token has a secret");
    let entries = entries(&network).await;
    let annas: Vec<&Value> = entries.iter().filter(|entry| entry["name"] == "anna").collect();
    let mut found: Vec<&str> =
        annas.iter().map(|entry| entry["action"].as_str().expect("text")).collect();
    found.reverse();
    assert_eq!(found, wanted);
    for entry in &annas {
        assert_eq!(entry["peer"], "10.0.0.9");
        assert!(entry["token"].as_str().is_some_and(|id| id.len() == 32), "{entry}");
        assert!(entry["code"].as_u64().is_some_and(|code| code >= 200), "{entry}");
    }
    let paused = annas.iter().find(|entry| entry["action"] == "POST /api/v1/dispatch/pause");
    let body = paused.expect("there")["body"].as_str().expect("text");
    assert_eq!(body, r#"{"reason":"because of /api/v1/dispatch/pause"}"#);
    let making = annas.iter().find(|entry| entry["action"] == "POST /api/v1/tokens");
    let body = making.expect("there")["body"].as_str().expect("text");
    assert_eq!(body, r#"{"name":"rig-7","role":"worker"}"#);
    let all = json!(entries).to_string();
    assert!(secrets.iter().all(|secret| !all.contains(secret.as_str())), "{all}");
    // The token was made by a program on this machine.
    let last = entries.last().expect("not empty");
    assert_eq!((&last["name"], &last["token"]), (&json!("this machine"), &Value::Null));
    assert_eq!(
        (&last["peer"], &last["action"]),
        (&json!("127.0.0.1"), &json!("POST /api/v1/tokens"))
    );
}

#[tokio::test]
async fn the_log_outlives_a_restart_and_is_read_page_by_page() {
    let network = Network::start().await;
    let http = stranger(1);
    for _ in 0..3 {
        let call = http.post(network.url("/api/v1/dispatch/resume"));
        assert_eq!(code(call.header("user-agent", "a program")).await, 200);
    }
    let network = network.restart().await;
    let all = network.json("/api/v1/audit").await;
    let ids: Vec<&Value> = all.as_array().expect("a list").iter().map(|it| &it["id"]).collect();
    assert_eq!((ids.len(), &all[0]["program"]), (3, &json!("a program")));
    let first = network.json("/api/v1/audit?limit=2").await;
    assert_eq!([&first[0]["id"], &first[1]["id"]], ids[..2]);
    let before = ids[1].as_str().expect("an id");
    let second = network.json(&format!("/api/v1/audit?limit=2&before={before}")).await;
    assert_eq!((second.as_array().map(Vec::len), &second[0]["id"]), (Some(1), ids[2]));
    for (query, wanted) in [("before=7", 400), ("after=7", 400), ("limit=x", 400)] {
        let call = http.get(network.url(&format!("/api/v1/audit?{query}")));
        assert_eq!(code(call).await, wanted, "{query}");
    }
    let unknown = network.url(&format!("/api/v1/audit?before={}", "0".repeat(32)));
    assert_eq!(code(http.get(unknown)).await, 404);
}

#[tokio::test]
async fn neither_strangers_nor_readers_can_fill_the_log() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "rita", "read").await;
    let pause = network.url("/api/v1/dispatch/pause");
    for number in 0..30 {
        let http = stranger(100 + number);
        assert_eq!(code(http.post(&pause)).await, 401);
        assert_eq!(code(http.post(&pause).bearer_auth("hpt_act_guessed")).await, 401);
        assert_eq!(code(http.post(&pause).bearer_auth(&token).body("much")).await, 403);
        let sign_in = http.post(network.url("/api/v1/session"));
        assert_eq!(code(sign_in.json(&json!({"token": "hpt_act_guessed"}))).await, 401);
    }
    let entries = entries(&network).await;
    let guessed = entries.iter().filter(|entry| entry["code"] == 401);
    assert_eq!(guessed.clone().count(), 20, "failed sign-ins, of 30");
    assert!(guessed.clone().all(|entry| entry["name"] == "unknown" && entry["body"] == ""));
    assert!(guessed.clone().all(|entry| entry["action"] == "POST /api/v1/session"));
    assert!(guessed.clone().any(|entry| entry["peer"] == "10.0.0.100"));
    let refused = entries.iter().filter(|entry| entry["code"] == 403);
    assert_eq!(refused.clone().count(), 10);
    assert!(refused.clone().all(|entry| entry["name"] == "rita" && entry["body"] == ""));
    assert_eq!(entries.len(), 31, "and the one by which the token was made");
    let metrics = send(stranger(1).get(network.url("/metrics"))).await;
    let metrics = metrics.text().await.expect("text");
    for (reason, count) in [("no_token", 30), ("wrong_token", 60), ("not_allowed", 30)] {
        let line =
            format!("hierophant_operator_calls_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn reading_a_proof_is_written_down() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "rita", "read").await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let proof = format!("/api/v1/requests/{}/proof", hex::encode(&id));
    let fetch = || stranger(9).get(network.url(&proof)).bearer_auth(&token);
    assert_eq!(code(fetch()).await, 409, "there is none yet");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    assert_eq!(code(fetch()).await, 200);
    let entries = entries(&network).await;
    let read: Vec<&Value> = entries.iter().filter(|entry| entry["name"] == "rita").collect();
    let [read] = read.as_slice() else { panic!("{entries:?}") };
    let action = format!("GET /api/v1/requests/{}/proof", hex::encode(&id[..8]));
    assert_eq!((&read["action"], &read["code"]), (&json!(action), &json!(200)));
}

#[tokio::test]
async fn whoever_passes_a_call_on_is_told_apart_from_who_made_it() {
    let network = Network::start().await;
    let token = made(&network, "anna", "act").await;
    let call = stranger(1).post(network.url("/api/v1/dispatch/resume"));
    let call = call.bearer_auth(&token).header("x-forwarded-for", "192.0.2.7");
    assert_eq!(code(call).await, 200);
    let entry = &entries(&network).await[0];
    assert_eq!((&entry["peer"], &entry["forwarded"]), (&json!("127.0.0.1"), &json!("192.0.2.7")));
}

#[tokio::test]
async fn an_action_is_written_down_also_if_its_caller_has_hung_up() {
    let network = Network::start().await;
    for _ in 0..20 {
        let mut connection = TcpStream::connect(network.http).await.expect("connects");
        let call =
            "POST /api/v1/dispatch/resume HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        connection.write_all(call.as_bytes()).await.expect("writes");
        // The call arrives, and its caller does not wait for the response.
        tokio::task::yield_now().await;
    }
    eventually("all are written down", async || entries(&network).await.len() == 20).await;
}

#[tokio::test]
async fn what_a_revoked_token_did_stays_written_down() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let call = stranger(9).post(network.url("/api/v1/dispatch/resume")).bearer_auth(&token);
    assert_eq!(code(call).await, 200);
    revoke(&network, "anna").await;
    let entries = entries(&network).await;
    let actions: Vec<&str> = entries.iter().filter_map(|entry| entry["action"].as_str()).collect();
    let wanted =
        ["DELETE /api/v1/tokens/anna", "POST /api/v1/dispatch/resume", "POST /api/v1/tokens"];
    assert_eq!(actions, wanted);
    assert_eq!(entries[1]["name"], "anna");
}
