//! The interface to a prover server, wherever it runs.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use network_lib::job::Memory;

use super::log::ServerLog;

/// Log filter of a server: its own lines, and the tasks of its proofs, from which progress is read. SP1 would also log
/// public values, which do not belong in a log.
pub(crate) const LOG_FILTER: &str = "info,sp1_prover=warn,sp1_core_executor=warn,\
     sp1_core_executor_runner=warn,sp1_core_machine=warn,sp1_hypercube=warn,\
     sp1_prover::worker::node::full::init=debug,sp1_prover::worker::client::local=debug,\
     sp1_prover::worker::controller::core=debug";

/// A server that can be started or connected to.
#[async_trait]
pub trait ProverServer: Send + Sync {
    /// Description for people: which server, where.
    fn describe(&self) -> String;

    /// Whether this program starts and ends the server. An external server cannot be stopped, not even to cancel a
    /// proof.
    fn is_ours(&self) -> bool;

    /// Limit of the server's main memory in bytes, if it has one of its own.
    fn memory_limit(&self) -> Option<u64> {
        None
    }

    /// Starts the server, after removing what an earlier process has left of it. Its socket may appear later.
    ///
    /// # Errors
    ///
    /// What is missing, with the remedy.
    async fn start(&self) -> Result<Box<dyn RunningServer>, Unavailable>;
}

/// A running server.
#[async_trait]
pub trait RunningServer: Send {
    /// Its socket and log.
    fn connection(&self) -> &Connection;

    /// Where it listens, or will.
    fn socket(&self) -> &Path {
        &self.connection().socket
    }

    /// Its output.
    fn log(&self) -> &ServerLog {
        &self.connection().log
    }

    /// Main memory that it uses now, in bytes, where it can be measured.
    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    /// Waits for its end, which is never reported for an external server. Cancel-safe.
    async fn ended(&mut self) -> Death;

    /// Ends it, unless it is external, and removes its files.
    async fn stop(self: Box<Self>);
}

/// Socket and log of a server.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where the server listens, or will.
    pub socket: PathBuf,
    /// Its output.
    pub log: ServerLog,
}

/// Why there is no server, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// The end of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Reason for people, with the last lines of its log.
    pub reason: String,
    /// The memory that ran out, if that is the cause.
    pub out_of_memory: Option<Memory>,
}
