//! What clients, Contemplants and Hierophant have in place of TCP.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, Uri, header};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use network_lib::task;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};

pub const HIEROPHANT: &str = "hierophant";
pub const GRPC: u16 = 9000;
pub const HTTP: u16 = 9010;

/// Longest silence that a peer puts up with.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// How many pieces a body is sent in.
const PIECES: usize = 6;

/// A connection that Hierophant has accepted.
pub struct Stream(TcpStream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A port of Hierophant.
pub struct Listener(TcpListener);

impl Listener {
    pub async fn bind(port: u16) -> Self {
        Self(TcpListener::bind(("0.0.0.0", port)).await.expect("a free port"))
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        let (stream, peer) = self.0.accept().await.expect("turmoil accepts");
        (Stream(stream), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Connects to a port of Hierophant.
pub async fn dial(port: u16) -> io::Result<TcpStream> {
    timeout(PATIENCE, TcpStream::connect((HIEROPHANT, port))).await?
}

/// A gRPC channel that connects when it must, and notices a connection that has gone dead.
pub fn channel() -> Channel {
    Endpoint::from_static("http://hierophant:9000")
        .http2_keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(tower::service_fn(|_: Uri| async {
            dial(GRPC).await.map(TokioIo::new)
        }))
}

/// One HTTP call over a connection of its own; the body goes out in pieces with a `pause` before each.
/// The error is the reason of a missing answer.
pub async fn call(
    method: Method,
    url: &str,
    body: Vec<u8>,
    pause: Duration,
) -> Result<(StatusCode, Bytes), String> {
    call_as(None, method, url, body, pause).await
}

/// The same with a token, if there is one.
pub async fn call_as(
    token: Option<&str>,
    method: Method,
    url: &str,
    body: Vec<u8>,
    pause: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let limit = PATIENCE + pause * u32::try_from(PIECES).expect("a few");
    let answer = timeout(limit, call_patiently(token, method, url, body, pause)).await;
    answer.map_err(|_| "no answer in time".to_owned())?
}

async fn call_patiently(
    token: Option<&str>,
    method: Method,
    url: &str,
    body: Vec<u8>,
    pause: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let uri: Uri = url.parse().expect("a URL");
    let path = uri.path_and_query().expect("a path").as_str();
    let mut request = Request::builder();
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request
        .method(method)
        .uri(path)
        .header(header::HOST, HIEROPHANT)
        .header(header::CONTENT_LENGTH, body.len())
        .body(in_pieces(body, pause))
        .expect("a request");
    let stream = dial(uri.port_u16().expect("a port")).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    task::spawn("HTTP connection", async move { drop(connection.await) });
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

type Pieces = Pin<Box<dyn stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

fn in_pieces(body: Vec<u8>, pause: Duration) -> StreamBody<Pieces> {
    let length = body.len().div_ceil(PIECES).max(1);
    let pieces: Vec<Bytes> = body.chunks(length).map(Bytes::copy_from_slice).collect();
    let paced = stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(piece))
    });
    StreamBody::new(paced.boxed())
}
