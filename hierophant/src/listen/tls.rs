//! The TLS handshake, and the refusal of plaintext.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use network_lib::task;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::Port;
use super::connection::{Connection, Raw};
use super::x509;

/// First byte of every TLS connection: a record of type handshake.
const HANDSHAKE: u8 = 22;

/// Plaintext answer on the HTTP port.
const PLAIN_ANSWER: &str = "this port speaks TLS: use https://, or wss:// for /ws\n";

/// Plaintext answer on the gRPC port, as debug data of a GOAWAY.
const PLAIN_GOAWAY: &[u8] = b"this port speaks TLS: use https://";

/// HTTP/2's error code for a connection that should have been under TLS.
const INADEQUATE_SECURITY: u32 = 0xc;

/// Timeout of the plaintext answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Name in the peer's certificate; an extension of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate(Arc<str>);

impl PeerCertificate {
    /// The certificate's DNS names, or its common name if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Marker in the extensions of requests received over TLS.
#[derive(Debug, Clone, Copy)]
pub struct OverTls;

/// A connection after the handshake.
pub(super) struct Secured<I> {
    pub(super) connection: Connection<I>,
    pub(super) certificate: Option<PeerCertificate>,
    /// Whether HTTP/2 was negotiated.
    pub(super) http2: bool,
}

/// Performs the handshake. A plaintext peer gets an answer that names the problem.
///
/// # Errors
///
/// If the peer disconnects or the handshake fails.
pub(super) async fn handshake<I>(
    mut raw: Raw<I>,
    config: Arc<ServerConfig>,
    port: Port,
) -> io::Result<Secured<I>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = raw.read_u8().await?;
    if first != HANDSHAKE {
        // In a separate task: the answer does not count as a pending handshake.
        task::spawn("refusal of plaintext", refuse_plaintext(raw, port));
        return Err(io::Error::new(io::ErrorKind::InvalidData, "plaintext instead of TLS"));
    }
    raw.put_back(first);
    let stream = TlsAcceptor::from(config).accept(raw).await?;
    let session = stream.get_ref().1;
    let http2 = session.alpn_protocol() == Some(b"h2");
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = leaf.map(|leaf| {
        let name = x509::facts(leaf).map(|facts| facts.name).unwrap_or_default();
        PeerCertificate(name.into())
    });
    Ok(Secured { connection: Connection::Tls(Box::new(stream)), certificate, http2 })
}

async fn refuse_plaintext<I: AsyncRead + AsyncWrite + Unpin>(mut raw: Raw<I>, port: Port) {
    let answer = match port {
        Port::Http | Port::Local => bad_request(),
        Port::Grpc => goaway(),
    };
    let answering = async {
        raw.write_all(&answer).await?;
        raw.shutdown().await?;
        // Closing with unread bytes would reset the connection before the peer reads the answer.
        tokio::io::copy(&mut raw, &mut tokio::io::sink()).await
    };
    // The peer may already be gone.
    let _ = tokio::time::timeout(ANSWER_LIMIT, answering).await;
}

fn bad_request() -> Vec<u8> {
    let length = PLAIN_ANSWER.len();
    let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain";
    format!("{head}\r\ncontent-length: {length}\r\n\r\n{PLAIN_ANSWER}").into_bytes()
}

/// A SETTINGS frame, with which a server begins, and a GOAWAY (RFC 9113, sections 6.5 and 6.8).
fn goaway() -> Vec<u8> {
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = u8::try_from(8 + PLAIN_GOAWAY.len()).unwrap_or(u8::MAX);
    frames.extend([0, 0, length, 7, 0, 0, 0, 0, 0]);
    frames.extend(0_u32.to_be_bytes());
    frames.extend(INADEQUATE_SECURITY.to_be_bytes());
    frames.extend(PLAIN_GOAWAY);
    frames
}
