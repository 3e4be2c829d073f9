//! Workers as the registry knows them.

use std::net::IpAddr;

use hierophant_model::records::Millis;
use network_lib::handshake::GpuLoad;
use network_lib::ids::WorkerId;

use super::Credential;
use crate::SessionId;

/// A worker that is connected, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownWorker {
    /// Its id.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// Where it connects from.
    pub ip: IpAddr,
    /// By what it was admitted.
    pub credential: Credential,
    /// Its software version.
    pub version: String,
    /// When it connected.
    pub joined_at: Millis,
    /// When it was last heard.
    pub heard_at: Millis,
    /// Whether it takes no more jobs.
    pub draining: bool,
    /// Why an operator has it take no more jobs, if so.
    pub drained: Option<String>,
    /// Why its connection broke, if it did; it may come back until it was silent for too long.
    pub disconnected: Option<String>,
    /// How busy its GPUs were when it last said so, in the order of its capabilities; empty if it did not.
    pub gpus: Vec<GpuLoad>,
}

impl KnownWorker {
    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> WorkerState {
        match self.disconnected {
            Some(_) => WorkerState::Away,
            None if self.draining || self.drained.is_some() => WorkerState::Draining,
            None => WorkerState::Ready,
        }
    }
}

/// Where a worker that is connected, or may come back, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It takes jobs.
    Ready,
    /// It finishes what it holds and takes no more jobs.
    Draining,
    /// Its connection broke; it may come back.
    Away,
}

impl WorkerState {
    /// The word by which it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Away => "away",
        }
    }
}

/// A worker that is gone, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedWorker {
    /// As it was.
    pub worker: KnownWorker,
    /// When it went.
    pub removed_at: Millis,
    /// Why.
    pub reason: String,
}
