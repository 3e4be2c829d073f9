//! Every route of the API, so that a new one cannot be forgotten.

use reqwest::Method;

use super::{made, refusal, routes, send, signs_in, stranger};
use crate::support::Network;

#[tokio::test]
async fn a_stranger_without_a_token_gets_401_on_every_route() {
    let network = Network::start_with_strangers(|_| {}).await;
    let http = stranger(9);
    let described = routes().into_iter().filter(|(method, path)| !signs_in(method, path));
    let pages = [
        (Method::GET, "/api/v1/docs/"),
        (Method::GET, "/api/v1/openapi.json"),
        (Method::GET, "/contemplants"),
        (Method::GET, "/dead-contemplants"),
        (Method::GET, "/proof-history"),
        (Method::GET, "/metrics"),
        (Method::POST, "/contemplants/0/drain"),
    ];
    let pages = pages.map(|(method, path)| (method, path.to_owned()));
    for (method, path) in described.chain(pages) {
        let answer = send(http.request(method.clone(), network.url(&path))).await;
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{method} {path}");
        let (code, words) = refusal(answer).await;
        assert!(code == 401 && words.contains("token required"), "{method} {path}: {words}");
    }
    let answer = send(http.post(network.url("/api/v1/session"))).await;
    assert!(answer.headers().get("set-cookie").is_none());
    assert_eq!(answer.status(), 415);
}

#[tokio::test]
async fn a_wrong_token_gets_401_on_every_route_also_on_this_machine() {
    let network = Network::start_with_strangers(|_| {}).await;
    made(&network, "anna", "act").await;
    for (number, (method, path)) in routes().into_iter().enumerate() {
        if signs_in(&method, &path) {
            continue;
        }
        // From an address of its own each, because one may not guess that often.
        let http = stranger(u8::try_from(number + 2).expect("not that many"));
        let call = http.request(method.clone(), network.url(&path)).bearer_auth("hpt_act_guessed");
        let answer = send(call).await;
        let challenge = answer.headers()["www-authenticate"].to_str().expect("text").to_owned();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
        let (code, words) = refusal(answer).await;
        assert!(code == 401 && words.contains("invalid token"), "{path}: {code} {words}");
    }
    let call = stranger(1).get(network.url("/api/v1/overview")).bearer_auth("hpt_act_guessed");
    assert_eq!(send(call).await.status(), 401);
}

#[tokio::test]
async fn who_may_read_looks_at_every_route_and_acts_on_none() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "rita", "read").await;
    let http = stranger(9);
    for (method, path) in routes() {
        if path == "/api/v1/session" {
            continue;
        }
        let call = http.request(method.clone(), network.url(&path)).bearer_auth(&token);
        let answer = send(call).await;
        let code = answer.status().as_u16();
        if method == Method::GET {
            assert!(![401, 403, 429].contains(&code), "{path}: {code}");
        } else {
            let (code, words) = refusal(answer).await;
            assert!(code == 403 && words.contains("has role read"), "{path}: {code} {words}");
        }
    }
}

#[tokio::test]
async fn who_may_act_is_let_in_on_every_route() {
    let network = Network::start_with_strangers(|_| {}).await;
    let token = made(&network, "anna", "act").await;
    let http = stranger(9);
    for (method, path) in routes() {
        if signs_in(&method, &path) {
            continue;
        }
        let call = http.request(method.clone(), network.url(&path)).bearer_auth(&token);
        let code = send(call).await.status().as_u16();
        assert!(![401, 403, 405, 429].contains(&code), "{method} {path}: {code}");
    }
}

#[tokio::test]
async fn tokens_of_clients_and_contemplants_open_no_route() {
    let network = Network::start_with_strangers(|_| {}).await;
    for role in ["client", "worker"] {
        let token = made(&network, role, role).await;
        for (method, path) in routes() {
            if signs_in(&method, &path) {
                continue;
            }
            // On this machine too: what is presented counts.
            for http in [stranger(9), stranger(1)] {
                let call = http.request(method.clone(), network.url(&path)).bearer_auth(&token);
                let (code, words) = refusal(send(call).await).await;
                assert!(
                    code == 403 && words.contains("expected role read, act or admin"),
                    "{path}: {code} {words}"
                );
            }
        }
        let call = stranger(9).post(network.url("/api/v1/session"));
        let call = call.json(&serde_json::json!({"token": token}));
        let (code, words) = refusal(send(call).await).await;
        assert!(
            code == 403 && words.contains("expected role read, act or admin"),
            "{code} {words}"
        );
    }
}
