//! Origins of calls: other machines, proxies, pages of other sites, guessers of tokens.

use super::{code, made, refusal, revoke, send, stranger};
use crate::support::Network;

#[tokio::test]
async fn strangers_learn_nothing_but_whether_it_runs() {
    let network = Network::start_with_strangers(|_| {}).await;
    let http = stranger(9);
    for (path, told) in [
        ("/health", "{\n  \"status\": \"ok\",\n  \"storage\": \"ok\"\n}\n"),
        ("/ready", "{\n  \"status\": \"ready\"\n}\n"),
    ] {
        let answer = send(http.get(network.url(path))).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.text().await.expect("text"), told);
    }
}

#[tokio::test]
async fn prometheus_reads_the_metrics_with_a_token() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "prometheus", "read").await;
    let answer = send(stranger(9).get(network.url("/metrics")).bearer_auth(token)).await;
    assert!(answer.text().await.expect("text").contains("hierophant_jobs_unfinished 0"));
}

#[tokio::test]
async fn a_proxied_call_or_one_by_a_foreign_name_needs_a_token_also_on_this_machine() {
    let network = Network::start().await;
    let token = made(&network, "anna", "act").await;
    let http = stranger(1);
    for (header, value) in [
        ("x-forwarded-for", "10.0.0.9"),
        ("x-real-ip", "10.0.0.9"),
        ("forwarded", "for=10.0.0.9"),
        ("host", "evil.example"),
    ] {
        for method in [reqwest::Method::GET, reqwest::Method::POST] {
            let path = if method == "GET" { "/api/v1/jobs" } else { "/api/v1/dispatch/resume" };
            let call = || http.request(method.clone(), network.url(path)).header(header, value);
            let (code, words) = refusal(send(call()).await).await;
            assert!(code == 401 && words.contains("token required"), "{header}: {words}");
            assert_eq!(send(call().bearer_auth(&token)).await.status(), 200, "{header}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_site_can_have_nothing_done_by_a_browser_on_this_machine() {
    let network = Network::start().await;
    let http = stranger(1);
    for (header, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for path in ["/api/v1/dispatch/pause", "/contemplants/0/drain", "/api/v1/session"] {
            let call = http.post(network.url(path)).header(header, value);
            let (code, words) = refusal(send(call).await).await;
            assert!(code == 403 && words.contains("another site"), "{path}: {code} {words}");
        }
        let call = http.get(network.url("/api/v1/jobs")).header(header, value);
        assert_eq!(code(call).await, 403, "{value}");
    }
    assert!(network.json("/api/v1/overview").await["paused"].is_null());
}

#[tokio::test]
async fn where_a_token_is_required_programs_on_this_machine_need_one_too() {
    let network = Network::start().await;
    let token = made(&network, "anna", "act").await;
    let (folder, mut config) = network.stop().await;
    config.operators.require_token = true;
    let network = Network::start_in(folder, config).await;
    let http = stranger(1);
    for path in ["/api/v1/overview", "/contemplants", "/metrics"] {
        let (code, words) = refusal(send(http.get(network.url(path))).await).await;
        assert!(code == 401 && words.contains("operators.require_token"), "{path}: {words}");
        let call = http.get(network.url(path)).bearer_auth(&token);
        assert_eq!(send(call).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn guessing_tokens_is_slowed_for_each_address_and_locks_out_no_valid_one() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let overview = network.url("/api/v1/overview");
    let guess = |number: u8, token: &str| stranger(number).get(&overview).bearer_auth(token);
    let sign_in = |number: u8, token: &str| {
        let call = stranger(number).post(network.url("/api/v1/session"));
        call.json(&serde_json::json!({ "token": token }))
    };
    // By both ways together.
    for _ in 0..5 {
        assert_eq!(code(guess(9, "hpt_act_guessed")).await, 401);
        assert_eq!(code(sign_in(9, "hpt_act_guessed")).await, 401);
    }
    let answer = send(guess(9, "hpt_act_guessed")).await;
    let wait = answer.headers()["retry-after"].to_str().expect("text").parse::<u64>();
    assert!(wait.is_ok_and(|seconds| (1..=7).contains(&seconds)));
    let (refused, words) = refusal(answer).await;
    assert!(refused == 429 && words.contains("too many invalid tokens"), "{refused} {words}");
    assert_eq!(code(sign_in(9, "hpt_act_guessed")).await, 429);
    // A valid one is not affected: behind a proxy all callers have one address.
    assert_eq!(code(guess(9, &token)).await, 200);
    assert_eq!(code(sign_in(9, &token)).await, 200);
    // Other callers are not affected.
    assert_eq!(code(guess(8, &token)).await, 200);
    assert_eq!(code(stranger(1).get(&overview)).await, 200);
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing_from_then_on() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let call = || stranger(9).get(network.url("/api/v1/overview")).bearer_auth(&token);
    assert_eq!(code(call()).await, 200);
    revoke(&network, "anna").await;
    assert_eq!(code(call()).await, 401);
}
