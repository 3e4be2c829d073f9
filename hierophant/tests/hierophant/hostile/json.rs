//! JSON that takes long to read or much to hold.

use futures_util::SinkExt;
use network_lib::handshake::RefusalCode;
use network_lib::wire::ToWorker;
use tokio_tungstenite::tungstenite::Message;

use super::Fortress;
use crate::support::{Worker, eventually};

/// Texts that are not messages. Each is within the size of a frame.
fn bombs() -> Vec<(&'static str, String)> {
    let keys: String = (0..20_000).map(|n| format!("\"k{n}\":0,")).collect();
    vec![
        ("deep arrays", "[".repeat(200_000)),
        ("deep objects", "{\"a\":".repeat(40_000)),
        ("deep in a known key", format!("{{\"reason\":{}", "[".repeat(200_000))),
        (
            "deep in a tagged message",
            format!("{{\"type\":\"hello\",\"held\":{}", "[".repeat(200_000)),
        ),
        ("a number of 200,000 digits", format!("{{\"priority\":{}}}", "9".repeat(200_000))),
        ("an exponent", "{\"priority\":1e999999999}".into()),
        ("a key twice", "{\"reason\":\"a\",\"reason\":\"b\"}".into()),
        ("20,000 keys", format!("{{{keys}\"type\":\"hello\"}}")),
        ("half a character", "{\"reason\":\"\\ud800\"}".into()),
        ("no end", "{\"reason\":\"".to_owned() + &"x".repeat(200_000)),
    ]
}

#[tokio::test]
async fn json_bombs_on_the_api_are_refused() {
    let fortress = Fortress::start().await;
    // A connection whose request was not read to its end is closed: each has one of its own.
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("builds");
    let id = "0".repeat(32);
    let job = format!("/api/v1/jobs/{id}/priority");
    let paths = ["/api/v1/queue/clear", "/api/v1/dispatch/pause", &job];
    fortress
        .besieged(async {
            for path in paths {
                for (what, text) in bombs() {
                    let long = text.len() > 16 * 1024;
                    match http.post(fortress.url(path)).body(text).send().await {
                        Ok(answer) if long => assert_eq!(answer.status(), 413, "{path}, {what}"),
                        Ok(answer) => assert_eq!(answer.status(), 400, "{path}, {what}"),
                        // A client that is still writing may miss the response.
                        Err(error) => assert!(long, "{path}, {what}: {error}"),
                    }
                }
                // A gigabyte of text, of which only the first part is ever read.
                let part = bytes::Bytes::from(vec![b'x'; 1 << 20]);
                let parts = (0..1024).map(move |_| Ok::<_, std::io::Error>(part.clone()));
                let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
                if let Ok(answer) = http.post(fortress.url(path)).body(body).send().await {
                    assert_eq!(answer.status(), 413, "{path}");
                }
            }
            for query in ["limit=1e99", "limit=99999999999999999999", "limit=-1", "before=%00"] {
                let url = fortress.url(&format!("/api/v1/jobs?{query}"));
                let status = http.get(url).send().await.expect("answers").status();
                assert!(status.is_client_error(), "{query}: {status}");
            }
        })
        .await;
}

#[tokio::test]
async fn json_bombs_on_the_websocket_end_it() {
    let fortress = Fortress::start().await;
    fortress
        .besieged(async {
            for (what, text) in bombs() {
                let mut stranger = Worker::dial(&fortress).await;
                stranger.socket.send(Message::text(text.clone())).await.expect("sends");
                let Some(ToWorker::Refused(refusal)) = stranger.hear().await else {
                    panic!("{what}: not refused")
                };
                assert_eq!(refusal.code, RefusalCode::Malformed, "{what}");
                let mut worker = fortress.contemplant().await;
                worker.socket.send(Message::text(text)).await.expect("sends");
                assert_ne!(
                    worker.closing_words().await,
                    "",
                    "{what}: the close frame has a reason"
                );
            }
        })
        .await;
    eventually("all of them are gone", async || {
        let list = reqwest::get(fortress.url("/contemplants")).await.expect("answers");
        list.text().await.is_ok_and(|text| !text.contains("\"connected\""))
    })
    .await;
}
