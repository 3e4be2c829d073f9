//! `GET /ws`: the handshake with a Contemplant; afterwards its session takes over.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::Response;
use network_lib::codec::{self, MAX_FRAME_BYTES};
use network_lib::handshake::{Hello, ProtocolRange, Refusal, RefusalCode};
use network_lib::wire::{FromWorker, ToWorker};
use serde::Deserialize;

use super::answer;
use crate::api::WorkerContext;
use crate::listen::{PeerCertificate, Slot};
use crate::metrics::{Cut, Refused};
use crate::registry::Admitted;
use crate::registry::session::Session;
use crate::session::SessionHandle;

/// Close code for a refusal: policy violation (RFC 6455, section 7.4.1).
const REFUSED: u16 = 1008;

/// Most bytes that wait for a Contemplant that does not read. Beyond it pings go unanswered, and a message ends the
/// connection.
const MOST_UNREAD: usize = 4 * MAX_FRAME_BYTES;

/// Bytes of each connection's read buffer. Messages have some hundred bytes, and the default of 128 KiB would
/// be there for every Contemplant at all times.
const READ_BUFFER: usize = 4 * 1024;

/// Upgrades the connection, unless too many have done so that say nothing.
pub(super) async fn upgrade(
    State(context): State<WorkerContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    certificate: Option<Extension<PeerCertificate>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(waiting) = context.pending_handshakes.take(peer.ip()) else {
        context.metrics.connection_refused(Refused::Hellos);
        return answer(StatusCode::SERVICE_UNAVAILABLE, "too many handshakes at once; try again");
    };
    if let Some(Extension(certificate)) = certificate {
        let name = certificate.name();
        tracing::info!(ip = %peer.ip(), name, "a Contemplant connects with a certificate");
    }
    upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_write_buffer_size(MOST_UNREAD)
        .read_buffer_size(READ_BUFFER)
        // Whatever is said is sent at once.
        .write_buffer_size(0)
        .on_upgrade(move |socket| admit(context, peer.ip(), socket, waiting))
}

async fn admit(context: WorkerContext, ip: IpAddr, mut socket: WebSocket, waiting: Slot) {
    // A slow link is no reason to turn a Contemplant away for good: nothing but the connection ends.
    let hello = tokio::time::timeout(context.handshake_limit, first_message(&mut socket)).await;
    drop(waiting);
    let hello = match hello {
        Ok(Ok(hello)) => hello,
        Ok(Err(Some(refusal))) => {
            tracing::warn!(%ip, reason = refusal.message, "Contemplant refused");
            return refuse(socket, refusal).await;
        }
        Ok(Err(None)) => return,
        Err(_) => {
            tracing::debug!(%ip, "a Contemplant connected and said nothing");
            context.metrics.connection_cut(Cut::Hello);
            return close(&mut socket, "no handshake in time").await;
        }
    };
    let (handle, queues) = SessionHandle::new();
    match context.registry.admit(hello, ip, handle).await {
        Ok(Ok(Admitted { worker, session })) => {
            let (registry, proofs) = (context.registry, context.proofs);
            Session { worker, session, peer: ip, registry, proofs }.start(socket, queues);
        }
        Ok(Err(refusal)) => refuse(socket, refusal).await,
        Err(_) => tracing::error!(%ip, "the registry did not answer a Contemplant's handshake"),
    }
}

/// The handshake, or the refusal to send, or nothing if the peer is gone.
async fn first_message(socket: &mut WebSocket) -> Result<Hello, Option<Refusal>> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => {
                return match codec::decode(text.as_str()) {
                    Ok(FromWorker::Hello(hello)) => Ok(hello),
                    Ok(_) => Err(Some(malformed("the first message must be a handshake".into()))),
                    Err(error) => Err(Some(
                        other_version(text.as_str())
                            .unwrap_or_else(|| malformed(error.to_string())),
                    )),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                return Err(Some(malformed("the handshake is a text frame".into())));
            }
            Some(Err(error)) => return Err(Some(malformed(error.to_string()))),
            Some(Ok(Message::Close(_))) | None => return Err(None),
        }
    }
}

/// A handshake of another protocol version may look different but for its version range.
fn other_version(text: &str) -> Option<Refusal> {
    #[derive(Deserialize)]
    struct AnyHello {
        protocol: ProtocolRange,
    }
    let theirs = serde_json::from_str::<AnyHello>(text).ok()?.protocol;
    if ProtocolRange::OURS.common(theirs).is_some() {
        return None;
    }
    let ours = ProtocolRange::OURS;
    Some(Refusal {
        code: RefusalCode::ProtocolVersion,
        message: format!(
            "this Hierophant speaks worker protocol {} to {}, the Contemplant {} to {}",
            ours.oldest, ours.newest, theirs.oldest, theirs.newest
        ),
        protocol: ours,
    })
}

fn malformed(message: String) -> Refusal {
    Refusal { code: RefusalCode::Malformed, message, protocol: ProtocolRange::OURS }
}

async fn refuse(mut socket: WebSocket, refusal: Refusal) {
    let text = codec::encode(&ToWorker::Refused(refusal));
    if socket.send(Message::Text(text.into())).await.is_ok() {
        close(&mut socket, "refused").await;
    }
}

/// Closes without a verdict: a Contemplant that hears no more than this connects again.
async fn close(socket: &mut WebSocket, reason: &'static str) {
    let frame = CloseFrame { code: REFUSED, reason: reason.into() };
    if socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    // Reads on until the peer has closed too, so that it gets to see what was sent.
    let closing = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
}
