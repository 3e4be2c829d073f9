//! What a session actor is told.

use network_lib::wire::FromWorker;
use tokio::sync::OwnedSemaphorePermit;

use super::CloseReason;
use crate::registry::SessionEnd;

/// Messages of a session actor.
#[derive(Debug)]
pub enum SessionMsg {
    /// The worker has sent something. The permit holds the reader back until it is dealt with.
    Frame(Box<FromWorker>, OwnedSemaphorePermit),
    /// The worker has given a sign of life without content.
    Alive,
    /// The socket has ended by itself.
    SocketEnded(SessionEnd),
    /// Close the socket.
    Close(CloseReason),
}
