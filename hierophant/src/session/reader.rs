//! The receiving half of a worker socket: frames to messages, with limits on size and rate.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use hierophant_model::sanitize::sentence;
use network_lib::codec;
use ractor::ActorRef;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::CloseReason;
use super::message::SessionMsg;
use crate::ask::tell;
use crate::registry::SessionEnd;

/// Frames of one worker that may wait for the session actor; the socket is not read beyond that.
const FRAMES_IN_FLIGHT: usize = 32;

/// Most frames a second. A worker sends a few; more is a fault or an attack.
const FRAMES_PER_SECOND: u32 = 200;

/// Reads until the socket ends or the worker breaks the protocol.
pub async fn read_all(mut socket: SplitStream<WebSocket>, session: ActorRef<SessionMsg>) {
    let permits = Arc::new(Semaphore::new(FRAMES_IN_FLIGHT));
    let mut rate = Rate::new(Instant::now());
    let protocol = |what: String| tell(&session, SessionMsg::Close(CloseReason::Protocol(what)));
    let ended = |end: SessionEnd| tell(&session, SessionMsg::SocketEnded(end));
    loop {
        let frame = match socket.next().await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let error = error.to_string();
                // What the WebSocket library says of a frame or message beyond its limits.
                if error.starts_with("Space limit exceeded") {
                    return protocol(error);
                }
                return ended(SessionEnd::Cut(error));
            }
            None => return ended(SessionEnd::Cut("socket closed".into())),
        };
        if !rate.allows(Instant::now()) {
            return protocol(format!("more than {FRAMES_PER_SECOND} frames a second"));
        }
        match frame {
            Message::Text(text) => match codec::decode(text.as_str()) {
                Ok(message) => {
                    let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
                    tell(&session, SessionMsg::Frame(Box::new(message), permit));
                }
                Err(error) => return protocol(error.to_string()),
            },
            Message::Binary(_) => {
                return protocol("binary frames are not part of the protocol".into());
            }
            Message::Ping(_) | Message::Pong(_) => tell(&session, SessionMsg::Alive),
            Message::Close(frame) => {
                let why = frame.map(|frame| frame.reason.to_string()).filter(|why| !why.is_empty());
                let why = why.map_or("closed by the Contemplant".into(), |why| {
                    format!("closed by the Contemplant: {}", sentence(&why))
                });
                return ended(SessionEnd::Left(why));
            }
        }
    }
}

/// Counts frames in windows of a second.
struct Rate {
    window: Instant,
    frames: u32,
}

impl Rate {
    const fn new(now: Instant) -> Self {
        Self { window: now, frames: 0 }
    }

    fn allows(&mut self, now: Instant) -> bool {
        if now.duration_since(self.window) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.frames += 1;
        self.frames <= FRAMES_PER_SECOND
    }
}
