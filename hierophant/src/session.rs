//! Session of a worker's connection: messages to the worker, and the close of its socket.
//!
//! The tasks that read and write the socket are in [`crate::registry::session`]. A session holds no state and may
//! end at any time.

pub mod inbox;
pub mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use network_lib::shard::TaskToWorker;
use network_lib::wire::ToWorker;
use tokio::sync::mpsc::{self, error::TrySendError};

use inbox::Inbox;
use outbox::Outgoing;

/// Why Hierophant closes a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The worker has been silent for too long.
    Silent,
    /// The worker has reconnected.
    Replaced,
    /// The worker does not read its messages.
    Slow,
    /// The worker broke the protocol.
    Protocol(String),
    /// The worker was removed by an operator, or was evicted.
    Dropped(String),
    /// Hierophant is stopping.
    Stopping,
}

impl CloseReason {
    /// WebSocket close code (RFC 6455, section 7.4.1).
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::Silent | Self::Slow | Self::Dropped(_) => 1008,
            Self::Replaced => 1000,
            Self::Protocol(_) => 1002,
            Self::Stopping => 1012,
        }
    }

    /// Text for operators; short enough for a close frame.
    #[must_use]
    pub fn text(&self) -> String {
        let text = match self {
            Self::Silent => "silent for too long",
            Self::Replaced => "replaced by a new connection",
            Self::Slow => "does not read its messages",
            Self::Protocol(what) | Self::Dropped(what) => what,
            Self::Stopping => "Hierophant is stopping",
        };
        // A close frame holds at most 123 bytes of text.
        text.chars().take(100).collect()
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// The socket broke; the worker may come back.
    Disconnected(String),
    /// The worker closed it; unless it was draining, it may come back.
    Left(String),
    /// Hierophant closed it, for this reason.
    Closed(String),
    /// Hierophant closed it because it is stopping: the worker is unaffected.
    Stopping,
}

impl From<&CloseReason> for SessionEnd {
    fn from(reason: &CloseReason) -> Self {
        match reason {
            CloseReason::Stopping => Self::Stopping,
            reason => Self::Closed(reason.text()),
        }
    }
}

/// Handle to a session.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    outbox: mpsc::Sender<Outgoing>,
    close: mpsc::Sender<CloseReason>,
    jobs: Arc<AtomicU64>,
    welcomed: Arc<AtomicBool>,
    inbox: Arc<Inbox>,
}

/// The session's end of its handle.
#[derive(Debug)]
pub struct SessionQueues {
    /// Messages for the worker.
    pub messages: mpsc::Receiver<Outgoing>,
    /// The reason to close the socket. Closed when the last handle is dropped.
    pub close: mpsc::Receiver<CloseReason>,
    /// For the close frame, behind all messages.
    pub outbox: mpsc::WeakSender<Outgoing>,
    /// Number of jobs sent so far.
    pub jobs: Arc<AtomicU64>,
    /// What the worker has said and the actors have not handled yet.
    pub inbox: Arc<Inbox>,
}

impl SessionHandle {
    /// A handle and the queues for the tasks of its session, which need not run yet.
    #[must_use]
    pub fn new() -> (Self, SessionQueues) {
        let (outbox, messages) = mpsc::channel(outbox::CAPACITY);
        // The first reason is the one that counts.
        let (close, closing) = mpsc::channel(1);
        let jobs = Arc::<AtomicU64>::default();
        let inbox = Arc::new(Inbox::new());
        let queues = SessionQueues {
            messages,
            close: closing,
            outbox: outbox.downgrade(),
            jobs: Arc::clone(&jobs),
            inbox: Arc::clone(&inbox),
        };
        (Self { outbox, close, jobs, welcomed: Arc::default(), inbox }, queues)
    }

    /// Sends a message to the worker, without waiting. The session of a worker that lets its messages pile up is
    /// closed; a message to a session that has ended is dropped.
    pub fn send(&self, message: ToWorker) {
        if matches!(
            message,
            ToWorker::Prove { .. }
                | ToWorker::Task(TaskToWorker::Run { .. } | TaskToWorker::Provide { .. })
        ) {
            self.jobs.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(message, ToWorker::Welcome(_)) {
            self.welcomed.store(true, Ordering::Release);
        }
        if let Err(TrySendError::Full(_)) = self.outbox.try_send(Outgoing::Message(message)) {
            self.close(CloseReason::Slow);
        }
    }

    /// Whether the welcome was sent, which precedes every other message.
    #[must_use]
    pub fn is_welcomed(&self) -> bool {
        self.welcomed.load(Ordering::Acquire)
    }

    /// What the worker has said and the actors have not handled yet.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Closes the session, behind the messages that wait.
    pub fn close(&self, reason: CloseReason) {
        // An error means that the session has ended, or is closing for an earlier reason.
        let _ = self.close.try_send(reason);
    }
}
