//! Verification of proofs before clients get them: everything that the client's own SDK checks, and that the proof
//! belongs to the job.
//!
//! A proof arrives as bincode of SP1's `ProofFromNetwork` (contract, section 4.2). Its bytes are untrusted: a proof is
//! decoded and verified in a process of its own, with limits of memory and time (`processes`), and a panic in SP1's
//! verifiers counts as a rejection. The number of checks at once and their bytes are limited (`room`).
//!
//! | Kind | Checked by |
//! |---|---|
//! | Core | `sp1-prover`'s verifier, without proving keys (feature `core-verification`) |
//! | Compressed | `sp1-verifier`, against the recursion keys of this SP1 version |
//! | PLONK, Groth16 | `sp1-verifier`, against the circuits' verifying keys of this SP1 version |
//! | mock, any kind | the content of a mock proof, only where mock proofs are allowed |

mod begun;
mod check;
mod child;
#[cfg(feature = "core-verification")]
mod core_part;
#[cfg(feature = "core-verification")]
mod core_proof;
mod decode;
mod key;
mod mock;
mod on_chain;
mod part;
mod processes;
mod protocol;
mod public_values;
mod recursive;
mod rejection;
mod room;
mod sp1;
mod verifiers;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, absolute};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use hierophant_model::records::{Claim, ProgramRecord};
use hierophant_model::text::error_chain;
use hierophant_scheduler::proofs::{DoubtedPart, PartKind, PartVerdict};
use hierophant_store::{JobStore, StoreError};
use network_lib::handshake::Backend;
use network_lib::ids::{ArtifactId, Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass, ProofMode};
use sha2::{Digest, Sha256};

use self::begun::{BegunChecks, Mark};
pub use self::check::check_bytes;
pub use self::child::run as run_child;
pub use self::key::KeyError;
use self::processes::Processes;
use self::protocol::Order;
use self::rejection::Rejection;
use self::room::Room;
use self::verifiers::Verifiers;
use crate::artifacts::blobs::{Blobs, LocalBlob};
use crate::config::Config;

/// The supported circuit version: that of the SP1 crates in this build.
pub const CIRCUIT_VERSION: &str = "v6.1.0";

/// Memory of a check for each byte of its proof, in bytes. A decoded proof takes little more than its file.
const MEMORY_PER_BYTE: u64 = 2;

/// Why proofs of a request could never be verified, so that the request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Unverifiable {
    /// Unsupported version of SP1.
    #[error("cannot verify proofs of circuit version {0}: expected {CIRCUIT_VERSION}")]
    CircuitVersion(String),
    /// Mode that this build cannot verify.
    #[error("this build cannot verify {0} proofs (cargo feature `core-verification`)")]
    Mode(ProofMode),
    /// Invalid registered verifying key, or another program's.
    #[error("invalid verifying key of the program")]
    Key(#[source] KeyError),
}

/// Checks that this build can verify proofs of a mode and version.
///
/// # Errors
///
/// [`Unverifiable`] names the missing support.
pub fn supported(mode: ProofMode, circuit_version: &str) -> Result<(), Unverifiable> {
    if circuit_version != CIRCUIT_VERSION {
        return Err(Unverifiable::CircuitVersion(circuit_version.to_owned()));
    }
    if mode == ProofMode::Core && !cfg!(feature = "core-verification") {
        return Err(Unverifiable::Mode(mode));
    }
    Ok(())
}

/// Checks that proofs of `program` in a mode and version will be verifiable, before any work is done for them. Not for
/// use where mock proofs are allowed, which need less.
///
/// # Errors
///
/// [`Unverifiable`].
pub fn will_be_verifiable(
    program: &ProgramRecord,
    mode: ProofMode,
    circuit_version: &str,
) -> Result<(), Unverifiable> {
    supported(mode, circuit_version)?;
    key::decode(&program.vk, program.vk_hash).map_err(Unverifiable::Key)?;
    Ok(())
}

/// Checks that a verifying key is that of a program.
///
/// # Errors
///
/// [`KeyError`] when it does not decode, or belongs to another program.
pub fn check_key(vk: &[u8], vk_hash: VkHash) -> Result<(), KeyError> {
    key::decode(vk, vk_hash).map(drop)
}

/// Checker of stored proofs. Clones share its processes and limits.
#[derive(Debug, Clone)]
pub struct ProofChecker {
    blobs: Blobs,
    store: Arc<dyn JobStore>,
    mock_mode: bool,
    memory: u64,
    room: Room,
    begun: Arc<BegunChecks>,
    runner: Runner,
}

/// Where proofs are checked.
#[derive(Debug, Clone)]
enum Runner {
    /// In processes of their own.
    Processes(Arc<Processes>),
    /// In this process, without limits: for simulations, whose clock does not wait for processes.
    Here(Arc<Verifiers>),
}

impl ProofChecker {
    /// A checker of proofs in `blobs` of programs in `store`.
    ///
    /// # Errors
    ///
    /// If the folder of begun checks cannot be used.
    pub fn open(config: &Config, blobs: Blobs, store: Arc<dyn JobStore>) -> io::Result<Self> {
        let limits = &config.proofs;
        let number = match limits.checks {
            0 => room::default_number(limits.check_memory),
            number => number,
        };
        Ok(Self {
            blobs,
            store,
            mock_mode: config.mock_mode,
            memory: limits.check_memory,
            room: Room::new(number),
            begun: Arc::new(BegunChecks::open(config.data_dir.join("checks"))?),
            runner: match &config.check_program {
                Some(program) => {
                    let threads = room::threads(number);
                    Runner::Processes(Processes::new(program, limits.check_time, threads))
                }
                None => Runner::Here(Arc::default()),
            },
        })
    }

    /// Checks a stored proof against its claim. Waits for as long as store or blobs are unavailable.
    ///
    /// # Errors
    ///
    /// The failure of the attempt: of class worker if the proof is wrong or cannot be checked within the limits,
    /// infrastructure if it cannot be read or its check was ended from outside, request if no proof of the request could be verified.
    pub async fn check(&self, proof: ArtifactId, claim: Claim) -> Result<(), Failure> {
        self.verdict(proof, claim).await.unwrap_or_else(|rejection| Err(rejection.failure()))
    }

    /// Whether a local file is SP1's `CommonProverInput` of a program: it begins with the verifying key, as bincode.
    pub async fn is_common_of(&self, path: &Path, vk_hash: VkHash) -> bool {
        let program = patiently(|| self.store.program(vk_hash), StoreError::is_transient);
        let Ok(Some(program)) = program.await else { return false };
        tokio::fs::read(path).await.is_ok_and(|common| common.starts_with(&program.vk))
    }

    /// Checks a local file that is a part of a proof of a program. The part is false if it does not verify, or its check
    /// exceeds the limits. Nothing is known of one that is damaged on the disk, or proves another range: its maker need
    /// not be at fault.
    pub async fn check_part(
        &self,
        path: &Path,
        part: &DoubtedPart,
        vk_hash: VkHash,
    ) -> PartVerdict {
        let digest = tokio::fs::read(path).await.map(|bytes| Sha256::digest(&bytes));
        if digest.ok().is_none_or(|digest| Sha256Digest(digest.into()) != part.blob.sha256) {
            return PartVerdict::Unknown;
        }
        match self.verdict_on_part(path, part.blob.size, part.kind, vk_hash).await {
            Ok(Ok(())) => PartVerdict::Right,
            Ok(Err(failure)) if failure.class == FailureClass::Worker => PartVerdict::False,
            // The machine's memory may have run out by others.
            Err(Rejection::CheckDied { is_killed: true, .. }) => PartVerdict::Unknown,
            Err(rejection) if rejection.failure().class == FailureClass::Worker => {
                PartVerdict::False
            }
            Ok(Err(_)) | Err(_) => PartVerdict::Unknown,
        }
    }

    async fn verdict_on_part(
        &self,
        path: &Path,
        size: u64,
        kind: PartKind,
        vk_hash: VkHash,
    ) -> Result<Result<(), Failure>, Rejection> {
        let program = patiently(|| self.store.program(vk_hash), StoreError::is_transient);
        let program = program.await.map_err(Rejection::Store)?;
        let program = program.ok_or(Rejection::NoProgram(vk_hash))?;
        let _room = self.room.take(size).await;
        match &self.runner {
            Runner::Processes(processes) => {
                // A part has no claim of its own.
                let claim = Claim {
                    vk_hash,
                    mode: ProofMode::Core,
                    circuit_version: CIRCUIT_VERSION.to_owned(),
                    public_values_hash: Sha256Digest([0; 32]),
                    backend: Backend::Cpu,
                };
                let order = self.order(path, size, &claim, &program, Some(kind))?;
                processes.check(&order).await
            }
            Runner::Here(verifiers) => {
                let (verifiers, path) = (Arc::clone(verifiers), path.to_owned());
                let work = move || {
                    let bytes = std::fs::read(path).map_err(Rejection::Unreadable)?;
                    part::check(&bytes, kind, &program.vk, vk_hash, &verifiers)
                };
                let verdict = tokio::task::spawn_blocking(work).await;
                verdict.map_err(|error| Rejection::Stopped(error.to_string()))?.map(Ok)
            }
        }
    }

    /// Size of a proof in bytes.
    async fn size(&self, proof: ArtifactId) -> io::Result<u64> {
        let found = self.blobs.metadata(proof).await?;
        found.map(|found| found.size).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The proof as a local file, unchanged since its upload.
    async fn local(&self, proof: ArtifactId) -> io::Result<LocalBlob> {
        let local = self.blobs.local(proof).await?;
        if let Some(fetched) = local.fetched() {
            let record = self.store.artifact(proof).await.map_err(io::Error::other)?;
            if record.is_some_and(|record| record.blob != Some(fetched)) {
                // Damaged after the upload, so it counts as missing: the worker is not at fault.
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Ok(local)
    }

    async fn verdict(
        &self,
        proof: ArtifactId,
        claim: Claim,
    ) -> Result<Result<(), Failure>, Rejection> {
        // An outage of the store must not discard a proof that took hours: check and job wait for its end.
        let program = patiently(|| self.store.program(claim.vk_hash), StoreError::is_transient);
        let program = program.await.map_err(Rejection::Store)?;
        let program = program.ok_or(Rejection::NoProgram(claim.vk_hash))?;
        // The same holds for an outage of the bucket. Only what is about to be checked is fetched.
        let size =
            patiently(|| self.size(proof), is_passing).await.map_err(Rejection::Unreadable)?;
        let mut is_alone = match self.begun.left(proof) {
            None => false,
            Some(Mark::Shared) => true,
            Some(Mark::Alone) => return Err(Rejection::EndsHierophant),
        };
        loop {
            let _room = self.room.take(if is_alone { u64::MAX } else { size }).await;
            let local = patiently(|| self.local(proof), is_passing).await;
            let local = local.map_err(Rejection::Unreadable)?;
            let mark = if is_alone { Mark::Alone } else { Mark::Shared };
            let _begun = self.begun.begin(proof, mark);
            match self.check_local(local, size, &claim, &program).await {
                // The machine's memory ran out, perhaps by others, or a signal came from outside.
                Err(Rejection::CheckDied { is_killed: true, .. }) if !is_alone => is_alone = true,
                verdict => return verdict,
            }
        }
    }

    async fn check_local(
        &self,
        local: LocalBlob,
        size: u64,
        claim: &Claim,
        program: &ProgramRecord,
    ) -> Result<Result<(), Failure>, Rejection> {
        match &self.runner {
            Runner::Processes(processes) => {
                processes.check(&self.order(local.path(), size, claim, program, None)?).await
            }
            Runner::Here(verifiers) => {
                let (verifiers, mock_mode) = (Arc::clone(verifiers), self.mock_mode);
                let (claim, vk) = (claim.clone(), program.vk.clone());
                let work =
                    move || check::check_file(local.path(), &claim, &vk, mock_mode, &verifiers);
                let verdict = tokio::task::spawn_blocking(work).await;
                verdict.map_err(|error| Rejection::Stopped(error.to_string()))?.map(Ok)
            }
        }
    }

    fn order(
        &self,
        path: &Path,
        size: u64,
        claim: &Claim,
        program: &ProgramRecord,
        part: Option<PartKind>,
    ) -> Result<Order, Rejection> {
        let path = absolute(path).map_err(Rejection::Unreadable)?;
        Ok(Order {
            path: path.as_os_str().as_bytes().to_vec(),
            vk_hash: claim.vk_hash,
            mode: claim.mode,
            circuit_version: claim.circuit_version.clone(),
            public_values_hash: claim.public_values_hash,
            backend: claim.backend,
            vk: program.vk.clone(),
            mock_mode: self.mock_mode,
            memory: memory_limit(self.memory, size),
            part,
        })
    }
}

/// Memory limit of the check of a proof of this size, in bytes.
const fn memory_limit(check_memory: u64, size: u64) -> u64 {
    check_memory.saturating_add(size.saturating_mul(MEMORY_PER_BYTE))
}

/// Reads what a check needs, without end while errors are passing.
async fn patiently<T, E, F>(
    read: impl FnMut() -> F,
    is_passing: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    E: std::error::Error,
    F: Future<Output = Result<T, E>>,
{
    read.retry(patient_policy())
        .when(is_passing)
        .notify(|error, rest| {
            let error = error_chain(error);
            tracing::warn!(error, ?rest, "cannot read what the check of a proof needs; retrying");
        })
        .await
}

/// Whether blobs may answer later. A missing one is certainly missing.
fn is_passing(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::NotFound
}

/// Retry policy of reads that a check waits for: without end.
fn patient_policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(15))
        .without_max_times()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_waits_for_store_and_blobs_without_end() {
        let (start, day) = (Instant::now(), Duration::from_secs(24 * 3600));
        let away = async || StoreError::Unavailable { action: "reading", source: "away".into() };
        let read = || async { if start.elapsed() < day { Err(away().await) } else { Ok(7) } };
        assert_eq!(patiently(read, StoreError::is_transient).await.expect("reads"), 7);
        assert!(start.elapsed() >= day);

        let gone = || async { Err::<(), _>(io::Error::from(io::ErrorKind::NotFound)) };
        patiently(gone, is_passing).await.expect_err("certainly missing");
    }

    #[test]
    fn what_cannot_be_verified_is_named() {
        for mode in [ProofMode::Compressed, ProofMode::Plonk, ProofMode::Groth16] {
            assert!(supported(mode, CIRCUIT_VERSION).is_ok());
        }
        let core = supported(ProofMode::Core, CIRCUIT_VERSION);
        assert_eq!(core.is_ok(), cfg!(feature = "core-verification"));
        let error = supported(ProofMode::Compressed, "v5.0.0").expect_err("another version");
        assert!(error.to_string().contains("v5.0.0"), "{error}");
    }
}
