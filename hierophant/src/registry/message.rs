//! Messages of the `registry` actor.

use std::net::IpAddr;
use std::sync::Arc;

use hierophant_model::commands::{Blocked, CommandError, CommandOutcome, WorkerCommand};
use hierophant_scheduler::SessionId;
use hierophant_scheduler::registry::{KnownWorker, RemovedWorker};
use hierophant_store::StoreError;
use network_lib::handshake::{Capabilities, Hello, Refusal};
use network_lib::ids::{TokenId, WorkerId};
use network_lib::secret::Secret;
use ractor::RpcReplyPort;

use super::credential::Locality;
use crate::session::inbox::{Inbox, Turn};
use crate::session::{SessionEnd, SessionHandle};

/// Holder of an access key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder {
    /// Worker.
    pub worker: WorkerId,
    /// Token of the worker, if it was admitted by its own.
    pub token: Option<TokenId>,
    /// Whether the worker was admitted because it runs on this machine.
    pub is_local: bool,
}

/// Place from which a worker connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Address.
    pub ip: IpAddr,
    /// Whether it is this machine.
    pub locality: Locality,
}

/// Admitted worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Worker.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
}

/// Messages of the `registry` actor.
#[derive(Debug)]
pub enum RegistryMsg {
    /// Admit a worker at this place on this session.
    Admit(Box<Hello>, Place, SessionHandle, RpcReplyPort<Result<Admitted, Refusal>>),
    /// Session: the load of the worker's GPUs waits in the inbox.
    GpuLoads(WorkerId, SessionId, Arc<Inbox>),
    /// Session: the capabilities of the worker have changed.
    CapabilitiesChanged(WorkerId, SessionId, Capabilities, Turn),
    /// Session: the worker accepts no more jobs, for this reason.
    Draining(WorkerId, SessionId, String, Turn),
    /// Session: it has ended.
    SessionEnded(WorkerId, SessionId, SessionEnd),
    /// Holder of an access key.
    KeyHolder(Secret, RpcReplyPort<Option<KeyHolder>>),
    /// Tokens were revoked.
    TokensRevoked,
    /// The setting that was being stored is, or is not.
    Saved(Result<(), StoreError>),
    /// Execute an operator's command.
    Command(WorkerCommand, RpcReplyPort<Result<CommandOutcome, CommandError>>),
    /// Blocked workers and addresses.
    Blocked(RpcReplyPort<Vec<Blocked>>),
    /// Workers that are connected or may reconnect.
    Workers(RpcReplyPort<Vec<KnownWorker>>),
    /// Removed workers, the latest first.
    RemovedWorkers(RpcReplyPort<Vec<RemovedWorker>>),
    /// Close every session because Hierophant is stopping.
    CloseAll(RpcReplyPort<()>),
    /// Timer.
    Sweep,
}
