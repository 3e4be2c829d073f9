//! A WebSocket to Hierophant: connecting, the handshake, and frames as messages.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use network_lib::codec::{self, MAX_FRAME_BYTES};
use network_lib::handshake::{Hello, ProtocolRange, Refusal, RefusalCode, Welcome};
use network_lib::local_secret;
use network_lib::secret::Secret;
use network_lib::wire::{FromWorker, LOCAL_SECRET_HEADER, ToWorker};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};
use url::{Host, Url};

use crate::trust::Trust;

/// Time limit for connecting and the answer to the first message.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for writing one frame. Frames are small, so a peer that does not accept one is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection after the handshake.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A received frame.
#[allow(clippy::large_enum_variant, reason = "a message lives until it is handled")]
pub(super) enum Heard {
    /// A message.
    Message(ToWorker),
    /// A frame without content, which only shows that the peer is alive.
    Nothing,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Hierophant refuses this worker.
    #[error("Hierophant refuses this worker: {}", .0.message)]
    Refused(Refusal),
    /// A failure that a retry may resolve.
    #[error("{0}")]
    Unreachable(String),
}

/// The connection was lost, for the given reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lost(pub(super) String);

/// The secret that proves that both programs run on this machine, if Hierophant has named its file; otherwise why the
/// file is not read.
fn offered_secret(url: &Url, upgraded: &Response) -> (Option<Secret>, Option<String>) {
    let Some(path) = upgraded.headers().get(LOCAL_SECRET_HEADER) else { return (None, None) };
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    };
    // A server elsewhere learns nothing of this machine's files.
    if !is_local {
        return (None, None);
    }
    match local_secret::read_offered(path.as_bytes()) {
        Ok(secret) => (Some(secret), None),
        Err(reason) => (None, Some(reason)),
    }
}

impl Socket {
    /// Connects and completes the handshake.
    pub(super) async fn open(
        url: &Url,
        trust: &Trust,
        hello: Hello,
    ) -> Result<(Self, Welcome), ConnectError> {
        match timeout(HANDSHAKE_TIMEOUT, Self::connect(url, trust, hello)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectError::Unreachable("no answer in time".to_owned())),
        }
    }

    async fn connect(
        url: &Url,
        trust: &Trust,
        hello: Hello,
    ) -> Result<(Self, Welcome), ConnectError> {
        let unreachable = |reason: String| ConnectError::Unreachable(reason);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let no_delay = true;
        let tls = trust.config().await.map_err(|error| unreachable(format!("{error:#}")))?;
        // Used by a `wss://` address only.
        let tls = Some(Connector::Rustls(tls));
        let (stream, upgraded) =
            connect_async_tls_with_config(url.as_str(), Some(config), no_delay, tls)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
        let mut socket = Self { stream };
        let (local_secret, unread) = offered_secret(url, &upgraded);
        let hello = FromWorker::Hello(Hello { local_secret, ..hello });
        socket.send(&hello).await.map_err(|lost| unreachable(lost.to_string()))?;
        loop {
            let heard = socket.hear().await.map_err(|lost| unreachable(lost.to_string()))?;
            match heard {
                Heard::Message(ToWorker::Welcome(welcome)) => {
                    let ours = ProtocolRange::OURS;
                    if !(ours.oldest..=ours.newest).contains(&welcome.protocol) {
                        return Err(unreachable(format!(
                            "Hierophant chose protocol {}: expected {} to {}",
                            welcome.protocol, ours.oldest, ours.newest
                        )));
                    }
                    return Ok((socket, welcome));
                }
                Heard::Message(ToWorker::Refused(mut refusal)) => {
                    socket.close().await;
                    if let (RefusalCode::Unauthorized, Some(unread)) = (refusal.code, unread) {
                        refusal.message = format!("{}; this worker {unread}", refusal.message);
                    }
                    return Err(ConnectError::Refused(refusal));
                }
                Heard::Message(_) => {
                    return Err(unreachable(
                        "unexpected first message: expected a welcome or a refusal".to_owned(),
                    ));
                }
                Heard::Nothing => {}
            }
        }
    }

    /// Waits for the next frame. Cancel-safe.
    pub(super) async fn hear(&mut self) -> Result<Heard, Lost> {
        let frame = match self.stream.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(Lost(error.to_string())),
            None => return Err(Lost("the connection is closed".to_owned())),
        };
        match frame {
            Message::Text(text) => match codec::decode(text.as_str()) {
                Ok(message) => Ok(Heard::Message(message)),
                Err(error) => {
                    // A newer Hierophant may send messages that this build does not know.
                    tracing::warn!(%error, "unknown message; ignored");
                    Ok(Heard::Nothing)
                }
            },
            Message::Close(frame) => {
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                Err(Lost(format!("Hierophant closed the connection: {reason:?}")))
            }
            Message::Binary(_) => {
                tracing::warn!("binary frame; ignored");
                Ok(Heard::Nothing)
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(Heard::Nothing),
        }
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: &FromWorker) -> Result<(), Lost> {
        self.write(Message::text(codec::encode(message))).await
    }

    /// Sends a ping; its answer is a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Lost> {
        self.write(Message::Ping(Bytes::new())).await
    }

    /// Closes the connection and waits briefly for the answer, so that sent messages arrive.
    pub(super) async fn close(mut self) {
        let farewell = async {
            if self.stream.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, farewell).await;
    }

    async fn write(&mut self, frame: Message) -> Result<(), Lost> {
        let sent: Result<Result<(), tungstenite::Error>, _> =
            timeout(SEND_TIMEOUT, self.stream.send(frame)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Lost(error.to_string())),
            Err(_) => Err(Lost("Hierophant no longer reads messages".to_owned())),
        }
    }
}
