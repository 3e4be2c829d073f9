//! State of workers in the registry.

use std::net::IpAddr;

use hierophant_model::records::{Millis, WorkerState};
use network_lib::handshake::GpuLoad;
use network_lib::ids::WorkerId;

use super::Credential;
use crate::SessionId;

/// Worker that is connected or may reconnect, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownWorker {
    /// Id.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
    /// Name.
    pub name: String,
    /// Machine that it runs on, as it reports.
    pub instance: Option<String>,
    /// Address of its connection.
    pub ip: IpAddr,
    /// Credential.
    pub credential: Credential,
    /// Software version.
    pub version: String,
    /// Time of the connection.
    pub joined_at: Millis,
    /// Time of its latest message.
    pub heard_at: Millis,
    /// Whether the worker has announced that it accepts no more jobs.
    pub draining: bool,
    /// Reason of the drain, if an operator has drained the worker.
    pub drained: Option<String>,
    /// Reason of a broken connection; the worker may reconnect until it expires.
    pub disconnected: Option<String>,
    /// Latest reported load of its GPUs, in the order of its capabilities; empty if it reported none.
    pub gpus: Vec<GpuLoad>,
}

impl KnownWorker {
    /// State of the worker.
    #[must_use]
    pub const fn state(&self) -> WorkerState {
        match self.disconnected {
            Some(_) => WorkerState::Away,
            None if self.draining || self.drained.is_some() => WorkerState::Draining,
            None => WorkerState::Ready,
        }
    }
}

/// Removed worker, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedWorker {
    /// Its state at removal.
    pub worker: KnownWorker,
    /// Time of the removal.
    pub removed_at: Millis,
    /// Reason of the removal.
    pub reason: String,
}
