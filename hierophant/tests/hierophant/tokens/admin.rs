//! How operators make and revoke tokens.

use serde_json::{Value, json};

use super::call;
use crate::cli::{hierophant, text, told};
use crate::support::Network;

#[tokio::test]
async fn a_secret_is_shown_once_and_a_token_is_listed_until_after_its_end() {
    let network = Network::start().await;
    let wanted = json!({"name": "rig-7", "role": "worker"});
    let (code, made) = call(&network, "POST", "/tokens", wanted.clone()).await;
    assert_eq!(code, 201, "{made}");
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert!(secret.starts_with("hpt_worker_"), "{secret}");
    let listed = network.json("/api/v1/tokens").await;
    assert_eq!(listed[0]["name"], "rig-7");
    assert!(!listed.to_string().contains(&secret));
    let (code, taken) = call(&network, "POST", "/tokens", wanted).await;
    assert!(code == 409 && taken["error"].as_str().is_some_and(|it| it.contains("has this name")));

    let network = network.restart().await;
    let (code, revoked) = call(&network, "DELETE", "/tokens/rig-7", Value::Null).await;
    assert!(code == 200 && revoked["revoked_at"].is_i64(), "{revoked}");
    assert_eq!(
        call(&network, "DELETE", "/tokens/rig-7", Value::Null).await,
        (200, revoked.clone())
    );
    assert_eq!(network.json("/api/v1/tokens").await, json!([revoked]));
}

#[tokio::test]
async fn what_cannot_be_made_or_revoked_is_refused_in_words() {
    let network = Network::start().await;
    for (body, code, words) in [
        (json!({"name": "../etc", "role": "worker"}), 400, "expected 1 to 64"),
        (json!({"name": "rig-7", "role": "root"}), 400, "invalid `role`"),
        (json!({"name": "rig-7", "role": ""}), 400, "invalid `role`"),
        (json!({"name": "rig-7", "role": "worker", "secret": "mine"}), 400, "unknown field"),
        (
            json!({"name": "rig-7", "role": "worker", "expires_in_seconds": 0}),
            400,
            "1 second to 10",
        ),
        (
            json!({"name": "rig-7", "role": "worker", "expires_in_seconds": u64::MAX}),
            400,
            "1 second to 10",
        ),
    ] {
        let (found, answer) = call(&network, "POST", "/tokens", body).await;
        let said = answer["error"].as_str().expect("words");
        assert!(found == code && said.contains(words), "{found}: {said}");
    }
    assert_eq!(call(&network, "DELETE", "/tokens/rig-8", Value::Null).await.0, 404);
    assert_eq!(network.json("/api/v1/tokens").await, json!([]));
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_on_the_command_line() {
    let network = Network::start().await;
    let url = format!("http://{}", network.http);
    assert_eq!(told(&url, "token list").await, "no tokens\n");
    let secret = told(&url, "token create --name rig-7").await;
    assert!(secret.starts_with("hpt_worker_") && secret.lines().count() == 1, "{secret}");
    let made = told(&url, "token create --name ops --role act --json").await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("hpt_act_")));
    told(&url, "token create --name short --expires 30d").await;
    let listed = told(&url, "token list").await;
    assert!(listed.contains("rig-7") && listed.contains("valid"), "{listed}");
    assert!(listed.contains("in 29days 23h"), "{listed}");
    assert!(!listed.contains(secret.trim()));
    assert_eq!(told(&url, "token revoke rig-7").await, "rig-7 is revoked\n");
    assert!(told(&url, "token list").await.contains("revoked"));
    for command in ["token revoke rig-8", "token create --name ops"] {
        let output = hierophant(&url, command).await;
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(text(&output.stderr).contains("has this name"), "{command}");
    }
    for wrong in ["token create --name x --role root", "token create --name x --expires soon"] {
        assert_eq!(hierophant(&url, wrong).await.status.code(), Some(2), "{wrong}");
    }
    assert_eq!(hierophant("http://127.0.0.1:1", "token list").await.status.code(), Some(3));
}
