//! How long a call may take, and what is not meant by it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use futures_util::stream;
use hierophant_proto::artifact::ArtifactType;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::{Client, LIMIT, Network};

const SHORT: Duration = Duration::from_millis(400);

/// A body whose end does not come.
fn endless() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
}

/// The code of a gRPC call whose message does not come.
async fn code_of_stuck_call(network: &Network, patience: Option<&str>) -> Code {
    let stream = TcpStream::connect(network.grpc).await.expect("connects");
    let shaking = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = shaking.await.expect("speaks HTTP/2");
    network_lib::task::spawn("HTTP/2 client", connection);
    let url = format!("http://{}/artifact.ArtifactStore/CreateArtifact", network.grpc);
    let mut request = Request::post(url).header("content-type", "application/grpc");
    if let Some(patience) = patience {
        request = request.header("grpc-timeout", patience);
    }
    let answer = sender.send_request(request.body(endless()).expect("a request"));
    let answer = tokio::time::timeout(LIMIT, answer).await.expect("in time").expect("an answer");
    Code::from_bytes(answer.headers()["grpc-status"].as_bytes())
}

#[tokio::test]
async fn a_grpc_call_that_takes_too_long_is_answered_with_a_code_that_clients_try_again() {
    let network = Network::start_with(|config| config.limits.rpc_deadline = SHORT).await;
    assert_eq!(code_of_stuck_call(&network, None).await, Code::Unavailable);
    assert_eq!(code_of_stuck_call(&network, Some("60S")).await, Code::Unavailable);
    let slow = r#"hierophant_rpc_seconds_count{method="CreateArtifact",code="Unavailable"}"#;
    assert!(network.figure(slow).await >= 2.0);
}

#[tokio::test]
async fn a_grpc_call_ends_when_its_client_waits_no_longer() {
    let network = Network::start().await;
    assert_eq!(code_of_stuck_call(&network, Some("200m")).await, Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_call_of_the_api_that_takes_too_long_is_answered_with_504() {
    let network = Network::start_with(|config| config.limits.rpc_deadline = SHORT).await;
    let body = reqwest::Body::wrap_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let call = reqwest::Client::new()
        .post(network.url("/api/v1/dispatch/pause"))
        .header("content-type", "application/json")
        .body(body);
    let answer = tokio::time::timeout(LIMIT, call.send()).await.expect("in time");
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 504);
    assert!(answer.text().await.expect("text").contains("call timed out"));
}

#[tokio::test]
async fn uploads_and_event_streams_may_take_longer_than_a_call() {
    let network = Network::start_with(|config| config.limits.rpc_deadline = SHORT).await;
    let mut client = Client::connect(&network).await;
    let ticket = client.ticket(ArtifactType::Stdin).await;
    let mut events = reqwest::get(network.url("/api/v1/events")).await.expect("answers");
    let chunks = stream::unfold(0, async |sent| {
        tokio::time::sleep(SHORT).await;
        (sent < 4).then_some((Ok::<_, std::io::Error>(Bytes::from_static(b"piece")), sent + 1))
    });
    let body = reqwest::Body::wrap_stream(chunks);
    let answer = client.put(&ticket.artifact_presigned_url, body).await;
    assert_eq!(answer.status(), 200);
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    let hearing = async {
        loop {
            let chunk = events.chunk().await.expect("no error").expect("the stream goes on");
            if chunk.windows(14).any(|part| part == b"event: changes") {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, hearing).await.expect("in time");
}
