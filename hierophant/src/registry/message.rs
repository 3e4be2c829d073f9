//! Messages of the `registry` actor.

use std::net::IpAddr;

use hierophant_model::commands::{Blocked, CommandError, CommandOutcome, WorkerCommand};
use hierophant_scheduler::SessionId;
use hierophant_scheduler::registry::{KnownWorker, RemovedWorker};
use network_lib::handshake::{Capabilities, GpuLoad, Hello, Refusal};
use network_lib::ids::{TokenId, WorkerId};
use network_lib::secret::Secret;
use ractor::RpcReplyPort;

use crate::session::{SessionEnd, SessionHandle};

/// Whose access key was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder {
    /// The worker.
    pub worker: WorkerId,
    /// The token by which it was admitted, if it was one of its own.
    pub token: Option<TokenId>,
}

/// The place of an admitted worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The worker.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
}

/// Messages of the `registry` actor.
#[derive(Debug)]
pub enum RegistryMsg {
    /// Admit a worker at this address, whose connection has this handle.
    Admit(Box<Hello>, IpAddr, SessionHandle, RpcReplyPort<Result<Admitted, Refusal>>),
    /// Session: something came from the worker.
    Heard(WorkerId, SessionId),
    /// Session: how busy the worker's GPUs are.
    GpuLoads(WorkerId, SessionId, Vec<GpuLoad>),
    /// Session: what the worker can prove has changed.
    CapabilitiesChanged(WorkerId, SessionId, Capabilities),
    /// Session: the worker wants no more jobs.
    Draining(WorkerId, SessionId, String),
    /// Session: it has ended.
    SessionEnded(WorkerId, SessionId, SessionEnd),
    /// Whose access key this is.
    KeyHolder(Secret, RpcReplyPort<Option<KeyHolder>>),
    /// Tokens were revoked.
    TokensRevoked,
    /// An operator has something done to a worker.
    Command(WorkerCommand, RpcReplyPort<Result<CommandOutcome, CommandError>>),
    /// Who is turned away.
    Blocked(RpcReplyPort<Vec<Blocked>>),
    /// Who is connected.
    Workers(RpcReplyPort<Vec<KnownWorker>>),
    /// Who is gone, the latest first.
    RemovedWorkers(RpcReplyPort<Vec<RemovedWorker>>),
    /// Close every session, Hierophant is stopping.
    CloseAll(RpcReplyPort<()>),
    /// Time has passed.
    Sweep,
}
