//! What is served at `/`, without a browser.

use crate::network::Network;

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

#[tokio::test]
async fn browsers_get_the_page_and_everybody_else_the_list() {
    let network = Network::start().await;
    let client = reqwest::Client::new();
    let list = client.get(network.url("/")).send().await.expect("answers");
    assert_eq!(list.status(), 200);
    assert!(list.text().await.expect("text").contains("/contemplants"));
    let page = client.get(network.url("/")).header("accept", BROWSER).send().await;
    let page = page.expect("answers");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.expect("text");
    assert!(html.contains("/dashboard/app.js") && !html.contains("<style"), "{html}");
    for (file, kind) in [("app.js", "text/javascript"), ("style.css", "text/css")] {
        let answer = client.get(network.url(&format!("/dashboard/{file}"))).send().await;
        let answer = answer.expect("answers");
        let found = answer.headers()["content-type"].to_str().expect("text");
        assert!(found.starts_with(kind), "{file}: {found}");
    }
    let none = client.get(network.url("/dashboard/../Cargo.toml")).send().await.expect("answers");
    assert_eq!(none.status(), 404);
}

#[tokio::test]
async fn whoever_needs_a_token_gets_the_page_to_sign_in_and_nothing_else() {
    let network = Network::start().await;
    let client = reqwest::Client::new();
    for (name, value, words) in
        [("x-forwarded-for", "10.0.0.9", "through a proxy"), ("host", "evil.example", "not local")]
    {
        for (path, code) in [("/", 200), ("/dashboard/app.js", 200), ("/proof-history", 401)] {
            let ask = client.get(network.url(path)).header("accept", BROWSER).header(name, value);
            assert_eq!(ask.send().await.expect("answers").status(), code, "{path}: {name}");
        }
        let ask = client.get(network.url("/api/v1/session")).header(name, value);
        let answer = ask.send().await.expect("answers");
        assert_eq!(answer.status(), 401, "{name}");
        assert!(answer.text().await.expect("text").contains(words), "{name}");
    }
}
