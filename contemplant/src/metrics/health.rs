//! Health of this worker: whether it can take a job.
//!
//! The link reports the state of the connection, the executor its capabilities. A worker is ready if it is connected,
//! takes jobs, and offers at least one kind of proof.

use network_lib::handshake::Capabilities;
use tokio::sync::watch;

/// State of the connection to Hierophant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// It is not established, for the given reason.
    Missing(String),
    /// It is established.
    Established,
    /// It is established, but this worker takes no more jobs, for the given reason.
    Leaving(String),
}

/// Health of this worker. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    connection: watch::Sender<Connection>,
    capabilities: watch::Receiver<Capabilities>,
}

impl Health {
    /// Health of a worker that is not connected yet.
    #[must_use]
    pub fn new(capabilities: watch::Receiver<Capabilities>) -> Self {
        let connection = watch::Sender::new(Connection::Missing("connecting".to_owned()));
        Self { connection, capabilities }
    }

    /// Records the state of the connection.
    pub fn set(&self, connection: Connection) {
        self.connection.send_replace(connection);
    }

    /// The reason why this worker cannot take a job now; none if it can.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        match &*self.connection.borrow() {
            Connection::Missing(reason) => {
                return Some(format!("not connected to Hierophant: {reason}"));
            }
            Connection::Leaving(reason) => return Some(format!("takes no more jobs: {reason}")),
            Connection::Established => {}
        }
        obstacle_of(&self.capabilities.borrow())
    }

    /// The latest capabilities.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities.borrow().clone()
    }

    /// Notifications of changes, for [`Changes::next`].
    #[must_use]
    pub(super) fn changes(&self) -> Changes {
        let (connection, capabilities) = (self.connection.subscribe(), self.capabilities.clone());
        Changes { connection, capabilities }
    }
}

/// Notifications of changes of a worker's health.
pub(super) struct Changes {
    connection: watch::Receiver<Connection>,
    capabilities: watch::Receiver<Capabilities>,
}

impl Changes {
    /// Waits for the next change.
    pub(super) async fn next(&mut self) {
        // The channel of the connection is open for as long as its `Health` exists; that of a failed executor is closed.
        tokio::select! {
            Ok(()) = self.connection.changed() => {}
            Ok(()) = self.capabilities.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// The reason why a worker with these capabilities cannot take a job; none if it can.
#[must_use]
pub fn obstacle_of(capabilities: &Capabilities) -> Option<String> {
    let nothing = || "no kind of proof is offered yet".to_owned();
    let reason = capabilities.unavailable_reason.clone();
    reason.or_else(|| capabilities.modes.is_empty().then(nothing))
}
