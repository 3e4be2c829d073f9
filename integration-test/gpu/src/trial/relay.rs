//! A relay between clients and a prover server that notes when the server has a proof to make.
//!
//! A GPU without a request to prove is idle, whatever the driver's counters say. The relay sees all requests of a worker, to
//! a real server and to the stand-in alike.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use network_lib::task;
use sp1_cuda::api::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// The longest message that is passed on.
const LONGEST: u32 = 1 << 30;

/// From the request for a proof until its answer.
type Interval = (Instant, Instant);

/// A running relay. It ends with this value.
#[derive(Debug)]
pub(super) struct Relay {
    socket: PathBuf,
    proofs: Arc<Mutex<Vec<Interval>>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on `socket` for the server on `server`.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub(super) fn start(socket: &Path, server: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let proofs = Arc::new(Mutex::new(Vec::new()));
        let (noted, server) = (Arc::clone(&proofs), server.to_owned());
        let task = task::spawn("relay", async move {
            while let Ok((client, _)) = listener.accept().await {
                let (noted, server) = (Arc::clone(&noted), server.clone());
                // The end of either side ends the connection; there is nothing else to report.
                task::spawn("relayed connection", async move {
                    let _ = pass_on(client, &server, &noted).await;
                });
            }
        });
        Ok(Self { socket: socket.to_owned(), proofs, task })
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The proofs so far.
    pub(super) fn proofs(&self) -> Vec<Interval> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Passes on requests and answers in turns, as the protocol has them.
async fn pass_on(
    mut client: UnixStream,
    server: &Path,
    proofs: &Mutex<Vec<Interval>>,
) -> Result<()> {
    let mut server = UnixStream::connect(server).await?;
    loop {
        let request = receive(&mut client).await?;
        let decoded = bincode::deserialize(&request);
        let is_proof = matches!(decoded, Ok(Request::ProveWithMode { .. }));
        drop(decoded);
        let start = Instant::now();
        send(&mut server, &request).await?;
        let answer = receive(&mut server).await;
        if is_proof {
            let proof = (start, Instant::now());
            proofs.lock().unwrap_or_else(PoisonError::into_inner).push(proof);
        }
        send(&mut client, &answer?).await?;
    }
}

async fn receive(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let length = from.read_u32_le().await?;
    anyhow::ensure!(length <= LONGEST, "a message of {length} bytes");
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<()> {
    to.write_all(&u32::try_from(bytes.len())?.to_le_bytes()).await?;
    Ok(to.write_all(bytes).await?)
}

/// The time from the first proof's start to the last one's end, and how much of it had no proof under way.
pub(super) fn idle(proofs: &[Interval]) -> Option<(Duration, Duration)> {
    let mut sorted = proofs.to_vec();
    sorted.sort_unstable();
    let (first, mut busy_until) = *sorted.first()?;
    let mut idle = Duration::ZERO;
    for (start, end) in sorted {
        idle += start.saturating_duration_since(busy_until);
        busy_until = busy_until.max(end);
    }
    Some((busy_until.duration_since(first), idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_without_any_proof_is_idle() {
        assert_eq!(idle(&[]), None);
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let seconds = Duration::from_secs;
        assert_eq!(idle(&[(at(0), at(4))]), Some((seconds(4), seconds(0))));
        // Overlaps, an interval inside another, and a gap of three seconds, in no order.
        let proofs = [(at(12), at(20)), (at(0), at(8)), (at(2), at(3)), (at(7), at(9))];
        assert_eq!(idle(&proofs), Some((seconds(20), seconds(3))));
    }

    #[tokio::test]
    async fn a_proof_is_noted_and_a_ping_is_not() {
        use gpu_stand_in::{Source, serve};
        use sp1_prover_types::network_base_types::ProofMode;

        use crate::server::{Shared, Which, prove_with};

        let folder = tempfile::tempdir().expect("a folder");
        let (server, socket) = (folder.path().join("server"), folder.path().join("relay"));
        let served = server.clone();
        let serving =
            task::spawn("stand-in", async move { serve(&served, Source::Recorded).await });
        let relay = Relay::start(&socket, &server).expect("a relay");
        let mut shared = Shared::new(&socket);
        let until = test_harness::wait::until("an answer", Duration::from_secs(60), async || {
            let Ok(mut talk) = shared.open().await else { return Ok(None) };
            Ok(talk.sign_of_life().await.ok())
        });
        until.await.expect("answers");
        assert!(relay.proofs().is_empty());
        let mut first = shared.take(Which::First).await.expect("set up");
        let proof = prove_with(&mut first, 1000, ProofMode::Core).await;
        proof.expect("a proof through the relay");
        assert_eq!(relay.proofs().len(), 1);
        serving.abort();
    }
}
