//! Signing in, looking without acting, acting by a session, signing out.

use serde_json::{Value, json};
use test_harness::config::key;
use test_peers::{Worker, hello};

use crate::TURN;
use crate::browser::Browser;
use crate::network::Network;

/// A Hierophant that requires a token from every caller, with one of role act and one of role read.
async fn guarded() -> (Network, String, String) {
    let mut network = Network::start().await;
    let mut secrets = Vec::new();
    for (name, role) in [("anna", "act"), ("rita", "read")] {
        let call = reqwest::Client::new().post(network.url("/api/v1/tokens"));
        let answer = call.json(&json!({"name": name, "role": role})).send().await;
        let made: Value = answer.expect("answers").json().await.expect("JSON");
        secrets.push(made["secret"].as_str().expect("a secret").to_owned());
    }
    let [act, read] = secrets.try_into().expect("two");
    network.stop().await;
    network.hierophant.configure(&key("operators.require_token", true)).expect("written");
    network.start_again().await;
    (network, act, read)
}

/// Writes a token into the field, in place of what is there, and sends it.
async fn present(browser: &mut Browser, token: &str) {
    browser.until("document.querySelector('.signin input')").await;
    browser.eval("document.querySelector('.signin input').select()").await;
    browser.write(".signin input", token).await;
    browser.press("Enter", 13).await;
}

/// The words of all buttons.
async fn buttons(browser: &mut Browser) -> String {
    let words = "[...document.querySelectorAll('button')].map((it) => it.innerText).join('|')";
    browser.eval(words).await.as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_needs_a_token_signs_in_sees_what_the_role_allows_and_signs_out() {
    let _turn = TURN.lock().await;
    let (network, act, read) = guarded().await;
    let _worker = Worker::join(&network, hello()).await;
    let mut browser = Browser::start().await;
    browser.open(&network.url("/")).await;
    browser.until_shown("Sign in").await;
    browser.picture("sign-in").await;
    assert!(!browser.text().await.contains("Overview"));
    browser.show_as(390, 844, "dark").await;
    browser.picture("sign-in-phone").await;
    browser.show_as(1280, 900, "light").await;
    present(&mut browser, "hpt_act_guessed").await;
    browser.until_shown("invalid token").await;
    browser.picture("sign-in-refused").await;

    // With role read there are no actions, and an attempt to act is refused with a message.
    present(&mut browser, &read).await;
    browser.until_shown("Proofs in progress").await;
    browser.until_shown("read only").await;
    browser.until("document.querySelector('.link').classList.contains('live')").await;
    browser.picture("read-only").await;
    for view in ["Overview", "Queue", "Workers"] {
        browser.click("nav.views a", view).await;
        browser.until("document.querySelector('main section')").await;
        if view == "Workers" {
            browser.until_shown("tobit").await;
        }
        let shown = buttons(&mut browser).await;
        for word in ["Pause", "Act", "Clear"] {
            assert!(!shown.contains(word), "{view}: {shown}");
        }
    }
    let tried = "fetch('/api/v1/dispatch/pause', { method: 'POST' }).then((it) => it.text())";
    let words = browser.eval(tried).await.to_string();
    assert!(words.contains("token rita has role read"), "{words}");
    // Neither the token nor the session is anywhere that a script can reach.
    let stored = "document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)";
    assert!(!browser.eval(stored).await.as_str().expect("text").contains("hpt_"));
    assert_eq!(browser.eval("document.cookie").await, "");
    browser.click("button", "Sign out").await;
    browser.until_shown("Sign in").await;
    assert!(!browser.text().await.contains("tobit"));
    browser.open(&network.url("/")).await;
    browser.until_shown("Sign in").await;

    // With role act the session acts, and what it does is written down.
    present(&mut browser, &act).await;
    browser.click("button", "Pause").await;
    browser.write("dialog input", "the racks are moved").await;
    browser.click("dialog button", "Pause").await;
    browser.until_shown("the racks are moved").await;
    browser.click("nav.views a", "Audit").await;
    for words in ["anna", "rita", "dispatch/pause", "the racks are moved"] {
        browser.until_shown(words).await;
    }
    browser.picture("audit").await;

    // Who loses the token loses sight of everything.
    let call = reqwest::Client::new().delete(network.url("/api/v1/tokens/anna"));
    assert_eq!(call.bearer_auth(&act).send().await.expect("answers").status(), 200);
    browser.until_shown("Sign in").await;
    assert!(!browser.text().await.contains("the racks are moved"));
    let own = network.url("/");
    assert!(browser.asked_for().iter().all(|url| url.starts_with(&own) || *url == "about:blank"));
    let policy =
        browser.faults().into_iter().find(|fault| fault.contains("Content Security Policy"));
    assert_eq!(policy, None);
}
