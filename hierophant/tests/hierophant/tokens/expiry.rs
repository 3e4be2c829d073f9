//! Tokens that expire, tokens that make others, and the last use of each.

use std::time::Duration;

use network_lib::wire::FromWorker;
use serde_json::{Value, json};

use super::{bearer, call, made, turned_away};
use crate::cli::told;
use crate::support::{Network, Worker, eventually};

/// Makes a token that is valid for two seconds; returns its secret.
async fn short(network: &Network, name: &str, role: &str) -> String {
    let wanted = json!({"name": name, "role": role, "expires_in_seconds": 2});
    let (code, made) = call(network, "POST", "/tokens", wanted).await;
    assert_eq!(code, 201, "{made}");
    assert!(made["expires_at"].as_i64() > made["created_at"].as_i64(), "{made}");
    made["secret"].as_str().expect("a secret").to_owned()
}

async fn read_with(network: &Network, secret: &str) -> u16 {
    let call = reqwest::Client::new().get(network.url("/api/v1/overview")).bearer_auth(secret);
    call.send().await.expect("answers").status().as_u16()
}

#[tokio::test]
async fn an_expired_token_admits_nobody_and_its_worker_is_disconnected() {
    let network = Network::start().await;
    let (worker, reader) =
        (short(&network, "rig-7", "worker").await, short(&network, "rita", "read").await);
    let mut connected = Worker::join(&network, bearer(&worker)).await;
    assert_eq!(read_with(&network, &reader).await, 200);
    assert_eq!(connected.closing_words().await, "the token rig-7 has expired");
    eventually("the reader's is over", async || read_with(&network, &reader).await == 401).await;
    let refusal = turned_away(&network, bearer(&worker)).await;
    assert_eq!(refusal.message, "the token rig-7 has expired");
    // Without its only token for workers, Hierophant still requires one.
    let refusal = turned_away(&network, crate::support::hello()).await;
    assert!(refusal.message.contains("token required"), "{}", refusal.message);
    let url = network.url("");
    assert!(told(&url, "token list").await.contains("expired"));
    // Its name is free.
    let again = made(&network, "rig-7", "worker").await;
    let mut worker = Worker::join(&network, bearer(&again)).await;
    worker.say(FromWorker::Draining { reason: "done".into() }).await;
    let network = network.restart().await;
    assert_eq!(read_with(&network, &reader).await, 401, "a restart does not revive it");
}

#[tokio::test]
async fn the_last_use_of_a_token_is_shown_and_survives_a_restart() {
    let network = Network::start().await;
    let (reader, worker) =
        (made(&network, "rita", "read").await, made(&network, "rig-7", "worker").await);
    let client = made(&network, "rollup", "client").await;
    let tokens = network.json("/api/v1/tokens").await;
    assert!(tokens.as_array().expect("a list").iter().all(|token| token["used_at"].is_null()));
    assert_eq!(read_with(&network, &reader).await, 200);
    drop(Worker::join(&network, bearer(&worker)).await);
    let mut calls = crate::support::Client::connect(&network).await;
    let request =
        tonic::Request::new(hierophant_proto::network::GetNonceRequest { address: vec![1; 20] });
    let (mut head, extensions, body) = request.into_parts();
    head.insert("authorization", format!("Bearer {client}").parse().expect("metadata"));
    let request = tonic::Request::from_parts(head, extensions, body);
    calls.network.get_nonce(request).await.expect("answers");
    for network in
        [network.json("/api/v1/tokens").await, network.restart().await.json("/api/v1/tokens").await]
    {
        for token in network.as_array().expect("a list") {
            assert!(token["used_at"].as_i64() >= token["created_at"].as_i64(), "{token}");
            assert_eq!(token["used_from"], "127.0.0.1", "{token}");
        }
    }
}

#[tokio::test]
async fn a_token_of_role_act_makes_none_of_operators_and_one_of_role_admin_does() {
    let network = Network::start().await;
    let (act, admin) = (made(&network, "anna", "act").await, made(&network, "root", "admin").await);
    let create = async |by: &str, name: &str, role: &str| {
        let call = reqwest::Client::new().post(network.url("/api/v1/tokens")).bearer_auth(by);
        let answer = call.json(&json!({"name": name, "role": role})).send().await.expect("answers");
        let code = answer.status().as_u16();
        (code, answer.json::<Value>().await.expect("JSON")["error"].to_string())
    };
    for role in ["act", "admin"] {
        let (code, words) = create(&act, "mallory", role).await;
        assert!(code == 403 && words.contains("expected a token of role admin"), "{code} {words}");
        assert_eq!(create(&admin, &format!("{role}-2"), role).await.0, 201);
    }
    for role in ["read", "client", "worker"] {
        assert_eq!(create(&act, role, role).await.0, 201);
    }
    let revoke = async |by: &str, name: &str| {
        let url = network.url(&format!("/api/v1/tokens/{name}"));
        let call = reqwest::Client::new().delete(url).bearer_auth(by);
        call.send().await.expect("answers").status().as_u16()
    };
    assert_eq!(revoke(&act, "root").await, 403);
    assert_eq!(revoke(&act, "act-2").await, 200, "a stolen one can be revoked without delay");
    assert_eq!(revoke(&admin, "anna").await, 200);
    let pause = reqwest::Client::new().post(network.url("/api/v1/dispatch/pause"));
    let paused = pause.bearer_auth(&admin).timeout(Duration::from_secs(20)).send().await;
    assert_eq!(paused.expect("answers").status(), 200, "admin includes act");
}
