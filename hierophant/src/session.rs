//! One worker socket: frames in, frames out. A session may die at any moment; nothing is kept in it.

pub mod actor;
pub mod message;
pub mod outbox;
pub mod reader;

use network_lib::wire::ToWorker;
use ractor::{ActorId, ActorRef};
use tokio::sync::mpsc;

use crate::ask::tell;
use message::SessionMsg;
use outbox::Outgoing;

/// Why Hierophant closes a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The worker has been silent for too long.
    Silent,
    /// The worker has connected anew.
    Replaced,
    /// The worker does not read what it is sent.
    Slow,
    /// The worker broke the protocol.
    Protocol(String),
    /// The worker is not to work here any more, or not now.
    Dropped(String),
    /// Hierophant is stopping.
    Stopping,
}

impl CloseReason {
    /// WebSocket close code.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::Silent | Self::Slow | Self::Dropped(_) => 1008,
            Self::Replaced => 1000,
            Self::Protocol(_) => 1002,
            Self::Stopping => 1012,
        }
    }

    /// For people; short enough for a close frame.
    #[must_use]
    pub fn text(&self) -> String {
        let text = match self {
            Self::Silent => "silent for too long",
            Self::Replaced => "connected anew",
            Self::Slow => "does not read what it is sent",
            Self::Protocol(what) | Self::Dropped(what) => what,
            Self::Stopping => "Hierophant is stopping",
        };
        // A close frame holds at most 123 bytes of text.
        text.chars().take(100).collect()
    }
}

/// Handle to a session.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    actor: ActorRef<SessionMsg>,
    outbox: mpsc::Sender<Outgoing>,
}

impl SessionHandle {
    /// Sends a message to the worker, without waiting. A worker that lets its messages pile up is cut
    /// off; one that is gone is found out by its own ways.
    pub fn send(&self, message: ToWorker) {
        if let Err(mpsc::error::TrySendError::Full(_)) =
            self.outbox.try_send(Outgoing::Message(message))
        {
            self.close(CloseReason::Slow);
        }
    }

    /// Closes the session.
    pub fn close(&self, reason: CloseReason) {
        tell(&self.actor, SessionMsg::Close(reason));
    }

    /// Ends the session without a word; its socket is gone already.
    pub fn stop(&self) {
        self.actor.stop(None);
    }

    /// Identity of the actor, for its supervisor.
    #[must_use]
    pub fn actor_id(&self) -> ActorId {
        self.actor.get_id()
    }
}
