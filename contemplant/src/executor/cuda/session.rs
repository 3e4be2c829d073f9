//! A connection to a prover server, and the programs that were set up over it.
//!
//! The server keeps programs for as long as the connection lasts, and answers requests in their order. A call that
//! is dropped before its answer leaves the connection unusable.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use lru::LruCache;
use network_lib::ids::Sha256Digest;
use network_lib::job::ProofMode;
use sp1_cuda::api::{Request, Response};
use sp1_prover::HashableKey;
use sp1_prover_types::SerializableRiscvMachine;
use sp1_prover_types::network_base_types::ProofMode as WireMode;
use sp1_verifier::ProofFromNetwork;
use tokio::net::UnixStream;

use super::wire::{self, PROOF, SHORT, WireError};
use crate::executor::program::Program;

/// Number of programs that the server keeps.
const KEPT: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// A key that belongs to no program.
const NO_PROGRAM: [u8; 32] = [0; 32];

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The connection is unusable.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The server's error message.
    #[error("the prover server reports: {0}")]
    Server(String),
    /// An answer to another kind of request.
    #[error("unexpected answer of the prover server: expected one to the request")]
    Unexpected,
    /// Its circuits differ from those of this build.
    #[error(
        "the prover server derives another verifying key than this Contemplant: expected a server of the \
         same SP1 version"
    )]
    AnotherVersion,
    /// The message is too large for the protocol.
    #[error("{0} is too large for the prover server's protocol: expected less than 4 GiB")]
    TooLarge(&'static str),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    stream: UnixStream,
    /// The server's names of programs.
    known: LruCache<Sha256Digest, [u8; 32]>,
}

impl Session {
    /// Connects, and waits for the answer to a ping.
    pub(super) async fn open(socket: &Path) -> Result<Self, SessionError> {
        let stream = UnixStream::connect(socket).await.map_err(WireError::from)?;
        let mut session = Self { stream, known: LruCache::new(KEPT) };
        session.ping().await?;
        Ok(session)
    }

    /// Pings the server, by a request to destroy a program that does not exist.
    pub(super) async fn ping(&mut self) -> Result<(), SessionError> {
        self.forget(NO_PROGRAM).await
    }

    /// Whether the program is set up.
    pub(super) fn knows(&self, program: Sha256Digest) -> bool {
        self.known.contains(&program)
    }

    /// Sets up a program on the server; returns the server's key of it.
    pub(super) async fn set_up(
        &mut self,
        digest: Sha256Digest,
        program: &Program,
    ) -> Result<[u8; 32], SessionError> {
        if let Some(key) = self.known.get(&digest) {
            return Ok(*key);
        }
        let elf = Vec::clone(&program.elf);
        let request = Request::Setup { elf, machine: SerializableRiscvMachine };
        let Response::Setup { id, vk } = self.ask(&request, "the program", SHORT).await? else {
            return Err(SessionError::Unexpected);
        };
        if vk.hash_bytes() != program.key.hash_bytes() {
            return Err(SessionError::AnotherVersion);
        }
        let removed = self.known.push(digest, id);
        // The server names programs by their ELFs, of which there may be several uploads.
        let is_known = |id: [u8; 32]| self.known.iter().any(|(_, known)| *known == id);
        if let Some((_, longest_unused)) = removed
            && !is_known(longest_unused)
        {
            self.forget(longest_unused).await?;
        }
        Ok(id)
    }

    /// Requests a proof of a program that is set up. `stdin` is the bincode of an `SP1Stdin`.
    pub(super) async fn prove(
        &mut self,
        key: [u8; 32],
        mode: ProofMode,
        stdin: Arc<Vec<u8>>,
    ) -> Result<ProofFromNetwork, SessionError> {
        let around = wire::around_input(wire_mode(mode), key, stdin.len());
        let (head, tail) = around.ok_or(SessionError::TooLarge("the input"))?;
        for part in [&head, &*stdin, &tail] {
            wire::send(&mut self.stream, part).await?;
        }
        drop(stdin);
        match self.answer(PROOF).await? {
            Response::Proof { proof } => Ok(proof),
            _ => Err(SessionError::Unexpected),
        }
    }

    async fn forget(&mut self, key: [u8; 32]) -> Result<(), SessionError> {
        match self.ask(&Request::Destroy { key }, "a key", SHORT).await? {
            Response::Ok => Ok(()),
            _ => Err(SessionError::Unexpected),
        }
    }

    async fn ask(
        &mut self,
        request: &Request,
        what: &'static str,
        limit: u32,
    ) -> Result<Response, SessionError> {
        let request = wire::encode(request).ok_or(SessionError::TooLarge(what))?;
        wire::send(&mut self.stream, &request).await?;
        self.answer(limit).await
    }

    async fn answer(&mut self, limit: u32) -> Result<Response, SessionError> {
        match wire::receive(&mut self.stream, limit).await? {
            Response::ProverError(text) | Response::InternalError(text) => {
                Err(SessionError::Server(text))
            }
            Response::ConnectionClosed => Err(WireError::Closed.into()),
            answer => Ok(answer),
        }
    }
}

const fn wire_mode(mode: ProofMode) -> WireMode {
    match mode {
        ProofMode::Core => WireMode::Core,
        ProofMode::Compressed => WireMode::Compressed,
        ProofMode::Plonk => WireMode::Plonk,
        ProofMode::Groth16 => WireMode::Groth16,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use network_lib::task;
    use sp1_prover::SP1VerifyingKey;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::sync::mpsc;

    use super::*;

    fn verifying_key() -> SP1VerifyingKey {
        bincode::deserialize(fibonacci::VERIFYING_KEY).unwrap()
    }

    /// A connection to a server that sends on which programs are destroyed. It names programs by their ELFs, as SP1's
    /// does, here by the first byte.
    async fn connected() -> (Session, mpsc::UnboundedReceiver<[u8; 32]>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("server.sock");
        let (sender, mut destroyed) = mpsc::unbounded_channel();
        task::spawn("server", serve(UnixListener::bind(&socket).unwrap(), sender));
        let session = Session::open(&socket).await.unwrap();
        assert_eq!(destroyed.recv().await, Some(NO_PROGRAM));
        (session, destroyed)
    }

    /// Sets up an ELF that begins with `elf` as the upload with this digest.
    async fn set_up(session: &mut Session, digest: u8, elf: u8) {
        let program = Program::new(Arc::new(vec![elf]), verifying_key());
        let id = session.set_up(Sha256Digest([digest; 32]), &program).await.unwrap();
        assert_eq!(id, [elf; 32]);
    }

    async fn serve(listener: UnixListener, destroyed: mpsc::UnboundedSender<[u8; 32]>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(length) = stream.read_u32_le().await {
            let mut request = vec![0; length as usize];
            stream.read_exact(&mut request).await.unwrap();
            let answer = match bincode::deserialize(&request).unwrap() {
                Request::Setup { elf, .. } => {
                    Response::Setup { id: [elf[0]; 32], vk: verifying_key() }
                }
                Request::Destroy { key } => {
                    let _ = destroyed.send(key);
                    Response::Ok
                }
                Request::ProveWithMode { .. } => Response::Ok,
            };
            let answer = bincode::serialize(&answer).unwrap();
            stream.write_u32_le(answer.len() as u32).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_program_that_was_not_used_for_longest_is_destroyed() {
        let (mut session, mut destroyed) = connected().await;
        let count = u8::try_from(KEPT.get()).unwrap();
        for number in 1..=count {
            set_up(&mut session, number, number).await;
        }
        // The first one is used again, so the second one has to go.
        set_up(&mut session, 1, 1).await;
        set_up(&mut session, 100, 100).await;
        assert_eq!(destroyed.recv().await, Some([2; 32]));
        let knows = |number| session.knows(Sha256Digest([number; 32]));
        assert!(knows(1) && !knows(2));
    }

    #[tokio::test]
    async fn a_program_that_was_uploaded_twice_is_destroyed_with_its_last_upload() {
        let (mut session, mut destroyed) = connected().await;
        // The same ELF, compressed in another way.
        set_up(&mut session, 1, 1).await;
        set_up(&mut session, 2, 1).await;
        let count = u8::try_from(KEPT.get()).unwrap();
        for number in 3..=count + 1 {
            set_up(&mut session, number, number).await;
        }
        assert!(!session.knows(Sha256Digest([1; 32])) && session.knows(Sha256Digest([2; 32])));
        session.ping().await.unwrap();
        assert_eq!(destroyed.recv().await, Some(NO_PROGRAM), "the second upload needs it");
        set_up(&mut session, 100, 100).await;
        assert_eq!(destroyed.recv().await, Some([1; 32]));
    }
}
