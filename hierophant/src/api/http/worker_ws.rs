//! `GET /ws`: the handshake with a worker. Its session takes over afterwards.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use network_lib::codec::{self, MAX_FRAME_BYTES};
use network_lib::handshake::{Hello, ProtocolRange, Refusal, RefusalCode};
use network_lib::secret::Secret;
use network_lib::wire::{FromWorker, LOCAL_SECRET_HEADER, ToWorker, WEBSOCKET_PATH};
use serde::Deserialize;

use super::local::WorkerOrigin;
use super::text_response;
use crate::api::WorkerContext;
use crate::listen::{ConnectionPermit, PeerCertificate};
use crate::metrics::{Cut, Refused};
use crate::registry::credential::Locality;
use crate::registry::session::Session;
use crate::registry::{Admitted, Place};
use crate::session::SessionHandle;

/// Close code of a refusal: policy violation (RFC 6455, section 7.4.1).
const REFUSED: u16 = 1008;

/// Maximum bytes buffered for a worker that does not read. Beyond it pings are not answered, and the next
/// message ends the connection.
const MAX_UNREAD_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// Size of each connection's read buffer in bytes. Messages have a few hundred bytes, and the default of
/// 128 KiB would be allocated for every worker permanently.
const READ_BUFFER: usize = 4 * 1024;

/// Upgrades the connection, unless too many handshakes are pending.
pub(super) async fn upgrade(
    State(context): State<WorkerContext>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(origin): Extension<WorkerOrigin>,
    certificate: Option<Extension<PeerCertificate>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(waiting) = context.pending_handshakes.take(peer.ip()) else {
        context.metrics.connection_refused(Refused::Hellos);
        return text_response(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pending handshakes; try again",
        );
    };
    if let Some(Extension(certificate)) = certificate {
        let name = certificate.name();
        tracing::info!(ip = %peer.ip(), name, "a worker connects with a certificate");
    }
    let offered = origin.is_local().then(|| context.local_secret.header()).flatten();
    let mut response = upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_write_buffer_size(MAX_UNREAD_BYTES)
        .read_buffer_size(READ_BUFFER)
        // Every message is sent at once.
        .write_buffer_size(0)
        .on_upgrade(move |socket| admit(context, peer.ip(), origin, socket, waiting));
    if let Some(path) = offered {
        // A worker on this machine reads this file and presents its content in the hello.
        response.headers_mut().insert(HeaderName::from_static(LOCAL_SECRET_HEADER), path);
    }
    response
}

async fn admit(
    context: WorkerContext,
    ip: IpAddr,
    origin: WorkerOrigin,
    mut socket: WebSocket,
    waiting: ConnectionPermit,
) {
    // On a timeout only the connection ends, without a refusal: after one the worker would not reconnect.
    let hello = tokio::time::timeout(context.handshake_limit, first_message(&mut socket)).await;
    drop(waiting);
    let hello = match hello {
        Ok(Ok(hello)) => hello,
        Ok(Err(Some(refusal))) => {
            context.metrics.worker_refused(refusal.code.as_str());
            tracing::warn!(%ip, reason = refusal.message, "worker refused");
            return refuse(socket, refusal).await;
        }
        Ok(Err(None)) => return,
        Err(_) => {
            tracing::debug!(%ip, "a worker connected but did not send its handshake in time");
            context.metrics.connection_cut(Cut::Hello);
            return close(&mut socket, "handshake timeout").await;
        }
    };
    let (handle, queues) = SessionHandle::new();
    let locality = match origin.0 {
        None => context.local_secret.locality(hello.local_secret.as_ref().map(Secret::reveal)),
        Some(reason) => Locality::Unproved(reason.of_worker().into()),
    };
    match context.registry.admit(hello, Place { ip, locality }, handle).await {
        Ok(Ok(Admitted { worker, session })) => {
            let (registry, proofs) = (context.registry.clone(), context.proofs.clone());
            Session { worker, session, peer: ip, registry, proofs }.start(socket, queues);
        }
        Ok(Err(refusal)) => {
            if refusal.code == RefusalCode::Unauthorized {
                context.denials.log(ip, "worker", WEBSOCKET_PATH, &refusal.message);
            }
            refuse(socket, refusal).await;
        }
        Err(_) => tracing::error!(%ip, "a worker was not admitted: actor timeout"),
    }
}

/// The handshake; otherwise the refusal to send, or `None` if the peer has disconnected.
async fn first_message(socket: &mut WebSocket) -> Result<Hello, Option<Refusal>> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => {
                return match codec::decode(text.as_str()) {
                    Ok(FromWorker::Hello(hello)) => Ok(hello),
                    Ok(_) => Err(Some(malformed("invalid first message: expected `hello`".into()))),
                    Err(error) => Err(Some(
                        other_version(text.as_str())
                            .unwrap_or_else(|| malformed(error.to_string())),
                    )),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                return Err(Some(malformed("invalid handshake: expected a text frame".into())));
            }
            Some(Err(error)) => return Err(Some(malformed(error.to_string()))),
            Some(Ok(Message::Close(_))) | None => return Err(None),
        }
    }
}

/// The refusal of a handshake of another protocol version, of which only the version range can be parsed.
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
            "incompatible worker protocol: Hierophant supports {} to {}, the worker {} to {}",
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

/// Closes the connection without a refusal; the worker then reconnects.
async fn close(socket: &mut WebSocket, reason: &'static str) {
    let frame = CloseFrame { code: REFUSED, reason: reason.into() };
    if socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    // Read on until the peer has closed too, so that it receives what was sent.
    let closing = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
}
