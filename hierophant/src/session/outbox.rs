//! The sending half of a worker socket: a short queue and the task that empties it.

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use network_lib::codec;
use network_lib::wire::ToWorker;
use tokio::sync::mpsc;

use super::CloseReason;

/// Messages that may wait for a worker. A worker has few slots, so a longer queue means that it does not read.
pub const CAPACITY: usize = 256;

/// An entry of the queue.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a message lives until it is written")]
pub enum Outgoing {
    /// A message.
    Message(ToWorker),
    /// The close frame; the last entry.
    Close(CloseReason),
}

/// Sends until the queue is closed, a close is sent or the socket fails.
pub async fn send_all(
    mut queue: mpsc::Receiver<Outgoing>,
    mut socket: SplitSink<WebSocket, Message>,
) {
    while let Some(outgoing) = queue.recv().await {
        let (frame, last) = match outgoing {
            Outgoing::Message(message) => (Message::Text(codec::encode(&message).into()), false),
            Outgoing::Close(reason) => {
                let frame = CloseFrame { code: reason.code(), reason: reason.text().into() };
                (Message::Close(Some(frame)), true)
            }
        };
        if socket.send(frame).await.is_err() || last {
            break;
        }
    }
    // Fails only if the socket is closed already.
    let _ = socket.close().await;
}
