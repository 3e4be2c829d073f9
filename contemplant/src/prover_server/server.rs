//! The interface to a prover server, wherever it runs.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use network_lib::job::Memory;

use super::log::ServerLog;

/// What the server is told to log: what it says by itself, and the tasks that its proofs are cut into,
/// from which progress is read. SP1 would also write public values, which belong in no log.
pub(crate) const LOG_FILTER: &str = "info,sp1_prover=warn,sp1_core_executor=warn,\
     sp1_core_executor_runner=warn,sp1_core_machine=warn,sp1_hypercube=warn,\
     sp1_prover::worker::node::full::init=debug,sp1_prover::worker::client::local=debug,\
     sp1_prover::worker::controller::core=debug";

/// A server that can be had.
#[async_trait]
pub trait ProverServer: Send + Sync {
    /// For people: which server, where.
    fn describe(&self) -> String;

    /// Whether this Contemplant starts and ends the server. What it did not start it cannot stop, not
    /// even to cancel a proof.
    fn is_ours(&self) -> bool;

    /// Most bytes of main memory that the server may have, if there is a limit other than the machine's own.
    fn memory_limit(&self) -> Option<u64> {
        None
    }

    /// Starts the server, and clears away what an earlier process has left of it. Its socket may take a
    /// while to appear.
    ///
    /// # Errors
    ///
    /// What is missing, in words, with the remedy.
    async fn start(&self) -> Result<Box<dyn RunningServer>, Unavailable>;
}

/// A server that was started.
#[async_trait]
pub trait RunningServer: Send {
    /// Its socket and log.
    fn connection(&self) -> &Connection;

    /// Where it listens, or will.
    fn socket(&self) -> &Path {
        &self.connection().socket
    }

    /// What it writes.
    fn log(&self) -> &ServerLog {
        &self.connection().log
    }

    /// Bytes of main memory that it has now, where that can be known.
    fn memory_bytes(&self) -> Option<u64> {
        None
    }

    /// Waits for its end. Never comes for a server that is not ours. May be dropped and called again.
    async fn ended(&mut self) -> Death;

    /// Ends it, if it is ours, and leaves nothing behind.
    async fn stop(self: Box<Self>);
}

/// What connects this program with a server.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where the server listens, or will.
    pub socket: PathBuf,
    /// What it writes.
    pub log: ServerLog,
}

/// Why there is no server. The text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// For people, with its last words.
    pub reason: String,
    /// Which memory ran out, if that is why.
    pub out_of_memory: Option<Memory>,
}
