//! Sessions of browsers.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{code, made, refusal, revoke, send, signed_in, stranger};
use crate::support::{LIMIT, Network};

#[tokio::test]
async fn signing_in_sets_a_cookie_that_neither_scripts_nor_other_sites_can_use() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let call = || stranger(9).post(network.url("/api/v1/session")).json(&json!({"token": token}));
    let answer = send(call()).await;
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    let (secret, attributes) = cookie.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    assert!(secret.len() > 64 && !secret.contains(&token), "{secret}");
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!((&body["name"], &body["role"]), (&json!("anna"), &json!("act")));
    assert!(!body.to_string().contains(&secret[20..]), "{body}");
    let over_tls = send(call().header("x-forwarded-proto", "https")).await;
    let cookie = over_tls.headers()["set-cookie"].to_str().expect("text");
    assert!(cookie.ends_with("; SameSite=Strict; Secure"), "{cookie}");
}

#[tokio::test]
async fn a_session_acts_only_from_hierophants_own_page() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let http = stranger(9);
    let cookie = signed_in(&network, &http, &token).await;
    let own = format!("http://{}", network.http);
    for (headers, wanted) in [
        (&[][..], 403),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("sec-fetch-site", "none")], 403),
        (&[("origin", own.as_str()), ("sec-fetch-site", "cross-site")], 403),
        (&[("origin", own.as_str())], 200),
        (&[("sec-fetch-site", "same-origin")], 200),
    ] {
        for path in ["/api/v1/dispatch/pause", "/api/v1/dispatch/resume"] {
            let mut call = http.post(network.url(path)).header("cookie", &cookie);
            for (name, value) in headers {
                call = call.header(*name, *value);
            }
            assert_eq!(code(call).await, wanted, "{headers:?}");
        }
        if wanted == 403 {
            let paused = network.json("/api/v1/overview").await;
            assert!(paused["paused"].is_null(), "{headers:?}");
        }
    }
    let look = || http.get(network.url("/api/v1/jobs")).header("cookie", &cookie);
    assert_eq!(code(look()).await, 200);
    assert_eq!(code(look().header("origin", "http://evil.example")).await, 403);
    let leave = http.delete(network.url("/api/v1/session")).header("cookie", &cookie);
    assert_eq!(code(leave).await, 403);
    assert_eq!(code(look()).await, 200, "another caller cannot end the session");
}

#[tokio::test]
async fn a_page_of_another_site_cannot_sign_anybody_in() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "mallory", "act").await;
    let call = || stranger(9).post(network.url("/api/v1/session"));
    let body = json!({"token": token});
    for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let answer = send(call().header(name, value).json(&body)).await;
        assert!(answer.status() == 403 && answer.headers().get("set-cookie").is_none());
    }
    // What a form can send without the browser asking first.
    let text = call().header("content-type", "text/plain").body(body.to_string());
    assert_eq!(refusal(send(text).await).await.0, 415);
    let long = json!({"token": "x".repeat(20_000)});
    assert_eq!(refusal(send(call().json(&long)).await).await.0, 413);
}

#[tokio::test]
async fn who_has_signed_in_to_read_cannot_act() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "rita", "read").await;
    let http = stranger(9);
    let cookie = signed_in(&network, &http, &token).await;
    let own = format!("http://{}", network.http);
    let call = http.post(network.url("/api/v1/dispatch/pause"));
    let call = call.header("cookie", &cookie).header("origin", own);
    let (code, words) = refusal(send(call).await).await;
    assert!(code == 403 && words.contains("token rita has role read"), "{words}");
    let who = http.get(network.url("/api/v1/session")).header("cookie", &cookie);
    let who: serde_json::Value = send(who).await.json().await.expect("JSON");
    assert_eq!((&who["name"], &who["role"]), (&json!("rita"), &json!("read")));
    assert_eq!(who["session"], true);
}

#[tokio::test]
async fn a_revoked_token_loses_its_sessions_at_once_and_what_they_listen_to() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let other = made(&network, "rita", "read").await;
    let http = stranger(9);
    let cookie = signed_in(&network, &http, &token).await;
    let kept = signed_in(&network, &http, &other).await;
    let look = |cookie: &str| http.get(network.url("/api/v1/jobs")).header("cookie", cookie);
    assert_eq!(code(look(&cookie)).await, 200);
    let listen = |cookie: &str| http.get(network.url("/api/v1/events")).header("cookie", cookie);
    let mut by_session = send(listen(&cookie)).await;
    let mut by_token = send(http.get(network.url("/api/v1/events")).bearer_auth(&token)).await;
    let mut others = send(listen(&kept)).await;
    for stream in [&mut by_session, &mut by_token, &mut others] {
        assert!(stream.chunk().await.expect("reads").is_some());
    }
    revoke(&network, "anna").await;
    assert_eq!(code(look(&cookie)).await, 401);
    assert_eq!(code(look(&kept)).await, 200);
    let began = Instant::now();
    for stream in [&mut by_session, &mut by_token] {
        let ended = async { while let Ok(Some(_)) = stream.chunk().await {} };
        tokio::time::timeout(LIMIT, ended).await.expect("the stream ends");
    }
    let took = began.elapsed();
    println!("the event streams of a revoked token ended after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let more = tokio::time::timeout(Duration::from_secs(1), others.chunk()).await;
    assert!(!matches!(more, Ok(Ok(None) | Err(_))), "the other stream goes on");
}

#[tokio::test]
async fn a_session_ends_when_one_signs_out_and_when_hierophant_stops() {
    let network = Network::start().await;
    let token = made(&network, "anna", "act").await;
    let (folder, mut config) = network.stop().await;
    config.operators.require_token = true;
    let network = Network::start_in(folder, config).await;
    let http = stranger(1);
    let cookie = signed_in(&network, &http, &token).await;
    let look = |network: &Network, cookie: &str| {
        http.get(network.url("/api/v1/jobs")).header("cookie", cookie)
    };
    assert_eq!(code(look(&network, &cookie)).await, 200);
    let leave = http.delete(network.url("/api/v1/session")).header("cookie", &cookie);
    let leave = leave.header("origin", format!("http://{}", network.http));
    let answer = send(leave).await;
    assert_eq!(answer.status(), 200);
    let gone = answer.headers()["set-cookie"].to_str().expect("text");
    assert!(gone.starts_with("hierophant_session=; Path=/; Max-Age=0"), "{gone}");
    assert_eq!(code(look(&network, &cookie)).await, 401);

    let cookie = signed_in(&network, &http, &token).await;
    assert_eq!(code(look(&network, &cookie)).await, 200);
    let network = network.restart().await;
    assert_eq!(code(look(&network, &cookie)).await, 401);
}
