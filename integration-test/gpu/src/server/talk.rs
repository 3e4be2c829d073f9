//! One connection to a prover server, spoken by hand: with other words than the Contemplant's own client.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sp1_cuda::api::{Request, Response};
use sp1_prover_types::SerializableRiscvMachine;
use sp1_prover_types::network_base_types::ProofMode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer may take that needs no computing.
pub(super) const AT_ONCE: Duration = Duration::from_secs(10);

/// How long a proof, or what a program needs before, may take.
pub(super) const PROOF: Duration = Duration::from_secs(20 * 60);

/// The longest answer that is taken.
const LONGEST: u32 = 1 << 30;

/// A connection.
pub(crate) struct Talk(UnixStream);

impl Talk {
    pub(crate) async fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await;
        Ok(Self(stream.with_context(|| format!("no server listens at {}", socket.display()))?))
    }

    /// Says these bytes after the length that they are announced with.
    pub(super) async fn say(&mut self, announced: u32, bytes: &[u8]) -> Result<()> {
        self.0.write_all(&announced.to_le_bytes()).await?;
        Ok(self.0.write_all(bytes).await?)
    }

    pub(super) async fn request(&mut self, request: &Request) -> Result<()> {
        let bytes = bincode::serialize(request)?;
        self.say(u32::try_from(bytes.len())?, &bytes).await
    }

    pub(super) async fn answer(&mut self, limit: Duration) -> Result<Response> {
        let reading = async {
            let length = self.0.read_u32_le().await?;
            ensure!(length <= LONGEST, "it announces an answer of {length} bytes");
            let mut bytes = vec![0; length as usize];
            self.0.read_exact(&mut bytes).await?;
            Ok(bincode::deserialize(&bytes)?)
        };
        let read = timeout(limit, reading).await;
        read.with_context(|| format!("no answer within {} s", limit.as_secs()))?
    }

    pub(crate) async fn ask(&mut self, request: &Request, limit: Duration) -> Result<Response> {
        self.request(request).await?;
        self.answer(limit).await
    }

    /// Asks for what a server answers at once: to forget a program that there is not.
    pub(crate) async fn sign_of_life(&mut self) -> Result<()> {
        let answer = self.ask(&Request::Destroy { key: [0; 32] }, AT_ONCE).await?;
        ensure!(matches!(answer, Response::Ok), "it answers something else");
        Ok(())
    }

    /// Makes the example program known; returns the server's name of it, and its verifying key's hash.
    pub(super) async fn set_up(&mut self) -> Result<([u8; 32], [u8; 32])> {
        use sp1_sdk::HashableKey;
        let request =
            Request::Setup { elf: fibonacci::ELF.to_vec(), machine: SerializableRiscvMachine };
        match self.ask(&request, PROOF).await? {
            Response::Setup { id, vk } => Ok((id, vk.hash_bytes())),
            other => anyhow::bail!("no setup: {}", error_of(&other)),
        }
    }
}

/// The request for a proof of the example program.
pub(super) fn prove(key: [u8; 32], n: u32, mode: ProofMode) -> Request {
    let stdin = integration_test::client::stdin_of(n);
    Request::ProveWithMode { mode, key, stdin, proof_nonce: [0; 4] }
}

/// What an answer says went wrong.
pub(super) fn error_of(answer: &Response) -> String {
    match answer {
        Response::ProverError(text) | Response::InternalError(text) => text.clone(),
        Response::ConnectionClosed => "it closes the connection".to_owned(),
        _ => "an answer to something else".to_owned(),
    }
}
