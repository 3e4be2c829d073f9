//! An external server, of which only the socket is known.

use std::future;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use async_trait::async_trait;

use super::log::ServerLog;
use super::server::{Connection, Death, ProverServer, RunningServer, Unavailable};

/// The server behind `prover_endpoint`.
#[derive(Debug)]
pub struct ExternalServer {
    socket: PathBuf,
}

impl ExternalServer {
    /// The server that listens on `socket`.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }
}

#[async_trait]
impl ProverServer for ExternalServer {
    fn describe(&self) -> String {
        format!("the prover server at {}", self.socket.display())
    }

    fn is_ours(&self) -> bool {
        false
    }

    async fn start(&self) -> Result<Box<dyn RunningServer>, Unavailable> {
        let path = self.socket.display();
        match std::fs::metadata(&self.socket) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                let (socket, log) = (self.socket.clone(), ServerLog::default());
                Ok(Box::new(Running { connection: Connection { socket, log } }))
            }
            Ok(_) => Err(Unavailable(format!(
                "{path} is not a socket: set `prover_endpoint` to the socket of the prover server"
            ))),
            Err(error) => Err(Unavailable(format!(
                "there is no prover server at {path} ({error}): start one, or correct `prover_endpoint`"
            ))),
        }
    }
}

struct Running {
    connection: Connection,
}

#[async_trait]
impl RunningServer for Running {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The end of an external server shows on its connection only.
    async fn ended(&mut self) -> Death {
        future::pending().await
    }

    async fn stop(self: Box<Self>) {}
}
