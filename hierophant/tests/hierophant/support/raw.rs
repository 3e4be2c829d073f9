//! Connections whose every byte a test chooses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{LIMIT, Network};

/// How HTTP/2 begins, with an empty SETTINGS frame.
pub const HTTP2_START: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Connects from this address of this machine: 127.0.0.1 to 127.255.255.254 are all its own.
pub async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    socket.bind(SocketAddr::new(from, 0)).expect("an own address");
    socket.connect(to).await.expect("connects")
}

/// Reads until the other side has closed; fails the test when it does not within `limit`.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async {
        let mut chunk = [0; 16 * 1024];
        // A reset is an end too.
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            bytes.extend(&chunk[..count]);
        }
    };
    tokio::time::timeout(limit, reading).await.expect("is closed in time");
    bytes
}

/// Asks for a page over an open connection and returns the first line of the answer; empty if there is none.
pub async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut answer = vec![0; 4096];
    let asking = async {
        stream.write_all(head.as_bytes()).await?;
        stream.read(&mut answer).await
    };
    let count = tokio::time::timeout(LIMIT, asking).await.expect("answers in time").unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..count]);
    text.lines().next().unwrap_or_default().to_owned()
}

/// Frames of HTTP/2: their type and payload.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _flags, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let payload = &rest[..length.min(rest.len())];
        frames.push((*kind, payload.to_vec()));
        bytes = &rest[payload.len()..];
    }
    frames
}

impl Network {
    /// A figure of `/metrics`, by its name with labels.
    pub async fn figure(&self, series: &str) -> f64 {
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build();
        let call = client.expect("a client").get(self.url("/metrics")).send();
        let text = call.await.expect("answers").text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
    }
}
