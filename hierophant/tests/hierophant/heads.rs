//! Heads of requests that are slow, large or many.

use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::raw::{HTTP2_START, ask, frames, read_to_end};
use crate::support::{Client, LIMIT, Network};

const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_head_that_comes_slowly_is_cut() {
    let network = Network::start_with(|config| config.limits.head_time = SHORT).await;
    let begun = Instant::now();
    let mut slow = TcpStream::connect(network.http).await.expect("connects");
    slow.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n").await.expect("sends");
    let (mut reader, mut writer) = slow.into_split();
    let dripping = network_lib::task::spawn("slow loris", async move {
        while writer.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // Meanwhile others are served.
    let mut other = TcpStream::connect(network.http).await.expect("connects");
    assert_eq!(ask(&mut other, "/health").await, "HTTP/1.1 200 OK");
    read_to_end(&mut reader, LIMIT).await;
    let took = begun.elapsed();
    assert!(took >= SHORT && took < SHORT * 10, "{took:?}");
    dripping.await.expect("ends with the connection");
    assert!(network.figure(r#"hierophant_connections_cut_total{reason="head"}"#).await >= 1.0);
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_of_how_http2_begins_is_closed() {
    let network = Network::start_with(|config| config.limits.head_time = SHORT).await;
    for port in [network.grpc, network.http] {
        let mut silent = TcpStream::connect(port).await.expect("connects");
        assert!(read_to_end(&mut silent, LIMIT).await.is_empty());
    }
    let mut half = TcpStream::connect(network.grpc).await.expect("connects");
    half.write_all(&HTTP2_START[..10]).await.expect("sends");
    read_to_end(&mut half, LIMIT).await;
}

#[tokio::test]
async fn a_second_head_that_comes_slowly_is_cut_before_an_idle_connection_would_be() {
    let network = Network::start_with(|config| config.limits.head_time = SHORT).await;
    let mut kept = TcpStream::connect(network.http).await.expect("connects");
    assert_eq!(ask(&mut kept, "/health").await, "HTTP/1.1 200 OK");
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(ask(&mut kept, "/health").await, "HTTP/1.1 200 OK", "idle is not slow");
    kept.write_all(b"GET /hea").await.expect("sends");
    read_to_end(&mut kept, LIMIT).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let network = Network::start().await;
    let large = "x".repeat(40 << 10);
    let mut stream = TcpStream::connect(network.http).await.expect("connects");
    let head = format!("GET /health HTTP/1.1\r\nhost: localhost\r\na: {large}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    let answer = read_to_end(&mut stream, LIMIT).await;
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(over_http2(&network, &[("a", &large)]).await, 431);
    assert_eq!(over_http2(&network, &[("a", "b")]).await, 200);
}

#[tokio::test]
async fn a_head_with_too_many_fields_is_answered_with_431() {
    let network = Network::start().await;
    let fields = "a: b\r\n".repeat(101);
    let mut stream = TcpStream::connect(network.http).await.expect("connects");
    let head = format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sends");
    let answer = read_to_end(&mut stream, LIMIT).await;
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(over_http2(&network, &[("a", "b"); 101]).await, 431);
}

/// The status of a page that is asked for over HTTP/2 with these header fields.
async fn over_http2(network: &Network, fields: &[(&str, &str)]) -> u16 {
    let stream = TcpStream::connect(network.http).await.expect("connects");
    let shaking = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = shaking.await.expect("speaks HTTP/2");
    network_lib::task::spawn("HTTP/2 client", connection);
    let mut request = axum::http::Request::get(network.url("/health"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(String::new()).expect("a request");
    let answer = tokio::time::timeout(LIMIT, sender.send_request(request)).await;
    answer.expect("in time").expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_flood_of_reset_streams_ends_its_connection_and_disturbs_nobody_else() {
    const CALM: u32 = 0xb;
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    for port in [network.grpc, network.http] {
        let mut flood = TcpStream::connect(port).await.expect("connects");
        let mut bytes = HTTP2_START.to_vec();
        for stream in (1..20_000_u32).step_by(2) {
            // GET / over http, and at once RST_STREAM with CANCEL.
            bytes.extend([0, 0, 3, 1, 5]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend([0x82, 0x86, 0x84]);
            bytes.extend([0, 0, 4, 3, 0]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(8_u32.to_be_bytes());
        }
        let (mut reader, mut writer) = flood.split();
        let sending = async {
            // It may be closed before all of it is sent.
            let _ = writer.write_all(&bytes).await;
        };
        let (answer, ()) = tokio::join!(read_to_end(&mut reader, LIMIT), sending);
        client.status(&id).await;
        let reason = frames(&answer).into_iter().find(|(kind, _)| *kind == 7);
        let (_, goaway) = reason.expect("a GOAWAY");
        assert_eq!(goaway[4..8], CALM.to_be_bytes(), "{goaway:?}");
    }
}
