//! What the `registry` actor is told and asked.

use std::net::IpAddr;

use axum::extract::ws::WebSocket;
use hierophant_model::operate::{Blocked, Done, NotDone, WorkerAction};
use hierophant_model::records::Millis;
use network_lib::handshake::{Capabilities, GpuLoad, Hello, Refusal};
use network_lib::ids::{TokenId, WorkerId};
use network_lib::secret::Secret;
use ractor::RpcReplyPort;

use super::Credential;

/// A worker that is connected, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownWorker {
    /// Its id.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: u64,
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
    pub cut: Option<String>,
    /// How busy its GPUs were when it last said so, in the order of its capabilities; empty if it did not.
    pub gpus: Vec<GpuLoad>,
}

impl KnownWorker {
    /// Where it stands: `ready`, `draining` when it takes no more jobs, or `away` when its connection
    /// broke and it may come back.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self.cut {
            Some(_) => "away",
            None if self.draining || self.drained.is_some() => "draining",
            None => "ready",
        }
    }
}

/// A worker that is gone, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadWorker {
    /// As it was.
    pub was: KnownWorker,
    /// When it went.
    pub died_at: Millis,
    /// Why.
    pub reason: String,
}

/// Whose access key was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder {
    /// The worker.
    pub worker: WorkerId,
    /// The token by which it was admitted, if it was one of its own.
    pub token: Option<TokenId>,
}

/// How a session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// The socket broke; the worker may come back.
    Cut(String),
    /// The worker closed it; unless it was draining, it may come back.
    Left(String),
    /// Hierophant closed it, for this reason.
    Closed(String),
    /// Hierophant closed it because it is stopping: nothing has happened to the worker.
    Stopping,
}

/// Messages of the `registry` actor.
#[derive(Debug)]
pub enum RegistryMsg {
    /// Admit a worker that has said hello on this socket. On refusal the socket comes back, so that
    /// the refusal can be sent.
    Admit(Box<Hello>, IpAddr, Box<WebSocket>, RpcReplyPort<Result<(), (Refusal, Box<WebSocket>)>>),
    /// Session: something came from the worker.
    Heard(WorkerId, u64),
    /// Session: how busy the worker's GPUs are.
    GpuLoads(WorkerId, u64, Vec<GpuLoad>),
    /// Session: what the worker can prove has changed.
    CapabilitiesChanged(WorkerId, u64, Capabilities),
    /// Session: the worker wants no more jobs.
    Draining(WorkerId, u64, String),
    /// Session: it has ended.
    SessionEnded(WorkerId, u64, SessionEnd),
    /// Whose access key this is.
    KeyHolder(Secret, RpcReplyPort<Option<KeyHolder>>),
    /// Tokens were revoked.
    TokensRevoked,
    /// An operator has something done to a worker.
    Act(WorkerAction, RpcReplyPort<Result<Done, NotDone>>),
    /// Who is turned away.
    Blocked(RpcReplyPort<Vec<Blocked>>),
    /// Who is connected.
    Workers(RpcReplyPort<Vec<KnownWorker>>),
    /// Who is gone, the latest first.
    DeadWorkers(RpcReplyPort<Vec<DeadWorker>>),
    /// Close every session, Hierophant is stopping.
    CloseAll(RpcReplyPort<()>),
    /// Time has passed.
    Sweep,
}
