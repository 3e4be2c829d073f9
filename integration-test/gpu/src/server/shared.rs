//! The connections that the cases share.
//!
//! A real server builds a prover for each connection that sets up a program, which takes it long and much of the GPU's
//! memory. So two such connections serve all cases; requests that need no prover get a connection of their own.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::talk::Talk;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one that makes the proofs.
    First,
    /// The one that works beside it, and that may be lost.
    Second,
}

/// A connection over which the example program is set up.
pub(crate) struct Proving {
    /// The connection.
    pub(crate) talk: Talk,
    /// The server's name of the program.
    pub(crate) key: [u8; 32],
    /// Hash of the verifying key that the server has derived.
    pub(crate) verifying_key: [u8; 32],
}

/// The connections to one server.
pub(crate) struct Shared {
    socket: PathBuf,
    first: Option<Proving>,
    second: Option<Proving>,
}

impl Shared {
    /// None is open yet.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), first: None, second: None }
    }

    /// Where the server listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A new connection without a prover.
    pub(crate) async fn open(&self) -> Result<Talk> {
        Talk::open(&self.socket).await
    }

    /// Takes a shared connection, which is opened and set up if it is not there. Unless it is kept afterwards, as after a
    /// request without an answer, the next use opens another.
    pub(crate) async fn take(&mut self, which: Which) -> Result<Proving> {
        if let Some(open) = self.place(which).take() {
            return Ok(open);
        }
        let mut talk = self.open().await?;
        let (key, verifying_key) = talk.set_up().await?;
        Ok(Proving { talk, key, verifying_key })
    }

    /// Keeps a connection for the next use.
    pub(crate) fn keep(&mut self, which: Which, proving: Proving) {
        *self.place(which) = Some(proving);
    }

    fn place(&mut self, which: Which) -> &mut Option<Proving> {
        match which {
            Which::First => &mut self.first,
            Which::Second => &mut self.second,
        }
    }
}
