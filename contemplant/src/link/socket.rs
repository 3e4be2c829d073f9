//! One WebSocket to Hierophant: connecting, shaking hands, and frames as messages.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use network_lib::codec::{self, MAX_FRAME_BYTES};
use network_lib::handshake::{Hello, ProtocolRange, Refusal, Welcome};
use network_lib::wire::{FromWorker, ToWorker};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};
use url::Url;

use crate::trust::Trust;

/// How long connecting, and the answer to the first message, may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long writing one frame may take: they are small, so a peer that does not take one is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last words may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection after the handshake.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What has arrived.
pub(super) enum Heard {
    /// A message.
    Message(ToWorker),
    /// Only a sign of life.
    Nothing,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Hierophant does not want this Contemplant.
    #[error("Hierophant refuses this Contemplant: {}", .0.message)]
    Refused(Refusal),
    /// It may go better next time.
    #[error("{0}")]
    Unreachable(String),
}

/// The connection is gone, for this reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lost(pub(super) String);

impl Socket {
    /// Connects and introduces this Contemplant.
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
        // Only a `wss://` address has a use for it.
        let tls = Some(Connector::Rustls(tls));
        let (stream, _) = connect_async_tls_with_config(url.as_str(), Some(config), no_delay, tls)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut socket = Self { stream };
        let hello = FromWorker::Hello(hello);
        socket.send(&hello).await.map_err(|lost| unreachable(lost.to_string()))?;
        loop {
            let heard = socket.hear().await.map_err(|lost| unreachable(lost.to_string()))?;
            match heard {
                Heard::Message(ToWorker::Welcome(welcome)) => {
                    let ours = ProtocolRange::OURS;
                    if !(ours.oldest..=ours.newest).contains(&welcome.protocol) {
                        return Err(unreachable(
                            "Hierophant chose a protocol of its own".to_owned(),
                        ));
                    }
                    return Ok((socket, welcome));
                }
                Heard::Message(ToWorker::Refused(refusal)) => {
                    socket.close().await;
                    return Err(ConnectError::Refused(refusal));
                }
                Heard::Message(_) => {
                    return Err(unreachable("the first message was no welcome".to_owned()));
                }
                Heard::Nothing => {}
            }
        }
    }

    /// Waits for the next frame. Losing the wait loses nothing.
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
                    // Perhaps a newer Hierophant says more than this build knows.
                    tracing::warn!(%error, "a message was not understood and is ignored");
                    Ok(Heard::Nothing)
                }
            },
            Message::Close(frame) => {
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                Err(Lost(format!("Hierophant closed the connection: {reason:?}")))
            }
            Message::Binary(_) => {
                tracing::warn!("a binary frame is no message and is ignored");
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

    /// Says good-bye and waits a moment for the answer, so that what was sent is not cut off.
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
            Err(_) => Err(Lost("Hierophant takes no more messages".to_owned())),
        }
    }
}
