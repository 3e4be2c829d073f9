//! Verification of proofs before clients get them: everything that the client's own SDK checks, and that the proof
//! belongs to the job.
//!
//! A proof arrives as bincode of SP1's `ProofFromNetwork` (contract, section 4.2). Its bytes are untrusted: decoding
//! allocates no more than the size of the file, and a panic in SP1's verifiers counts as a rejection. Proofs are
//! checked on the blocking pool, a few at a time.
//!
//! | Kind | Checked by |
//! |---|---|
//! | Core | `sp1-prover`'s verifier, without proving keys (feature `core-verification`) |
//! | Compressed | `sp1-verifier`, against the recursion keys of this SP1 version |
//! | PLONK, Groth16 | `sp1-verifier`, against the circuits' verifying keys of this SP1 version |
//! | mock, any kind | the content of a mock proof, only where mock proofs are allowed |

#[cfg(feature = "core-verification")]
mod core_proof;
mod decode;
mod key;
mod mock;
mod on_chain;
mod public_values;
mod recursive;
mod rejection;
mod sp1;
mod verifiers;

use std::io::{self, Read, Seek};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use hierophant_model::records::{Claim, ProgramRecord};
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::{ArtifactId, VkHash};
use network_lib::job::{Failure, ProofMode};
use tokio::sync::Semaphore;

pub use self::key::KeyError;
use self::rejection::Rejection;
use self::verifiers::Verifiers;
use crate::artifacts::blobs::{Blobs, LocalBlob};

/// The supported circuit version: that of the SP1 crates in this build.
pub const CIRCUIT_VERSION: &str = "v6.1.0";

/// Maximum number of concurrent checks, independent of the number of processors: each holds a proof in memory.
const MAX_CONCURRENT: usize = 4;

/// Size in bytes above which a proof is checked alone. Only Core proofs of very long executions are that large.
const LARGE: u64 = 256 << 20;

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

/// Checker of stored proofs. Clones share verifiers and concurrency limit.
#[derive(Debug, Clone)]
pub struct ProofChecker {
    blobs: Blobs,
    store: Arc<dyn JobStore>,
    mock_mode: bool,
    permits: Arc<Semaphore>,
    at_once: u32,
    verifiers: Arc<Verifiers>,
}

impl ProofChecker {
    /// A checker of proofs in `blobs` of programs in `store`; `mock_mode` allows mock proofs of mock backends.
    #[must_use]
    pub fn new(blobs: Blobs, store: Arc<dyn JobStore>, mock_mode: bool) -> Self {
        // Half of the processors; the other half serves clients and workers.
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let at_once = (processors / 2).clamp(1, MAX_CONCURRENT);
        Self {
            blobs,
            store,
            mock_mode,
            permits: Arc::new(Semaphore::new(at_once)),
            at_once: at_once as u32,
            verifiers: Arc::default(),
        }
    }

    /// Checks a stored proof against its claim.
    ///
    /// # Errors
    ///
    /// The failure of the attempt: of class worker if the proof is wrong, infrastructure if it cannot be read, request
    /// if no proof of the request could be verified.
    pub async fn check(&self, proof: ArtifactId, claim: Claim) -> Result<(), Failure> {
        self.verdict(proof, claim).await.map_err(|rejection| rejection.failure())
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

    async fn verdict(&self, proof: ArtifactId, claim: Claim) -> Result<(), Rejection> {
        // A short outage of the store must not discard a proof that took hours.
        let program = (|| self.store.program(claim.vk_hash))
            .retry(hierophant_store::retry_policy())
            .when(StoreError::is_transient)
            .await
            .map_err(Rejection::Store)?;
        let program = program.ok_or(Rejection::NoProgram(claim.vk_hash))?;
        // The same holds for an outage of the bucket: check and job wait for its end.
        let local = (|| self.local(proof))
            .retry(read_retry_policy())
            .when(|error: &io::Error| error.kind() != io::ErrorKind::NotFound)
            .notify(|error, rest| {
                tracing::warn!(%error, ?rest, "cannot read a proof for its check; retrying");
            })
            .await
            .map_err(Rejection::Unreadable)?;
        let metadata = local.path().metadata();
        let size = metadata.map_err(Rejection::Unreadable)?.len();
        let share = if size > LARGE { self.at_once } else { 1 };
        let permit = Arc::clone(&self.permits).acquire_many_owned(share).await;
        let (verifiers, mock_mode) = (Arc::clone(&self.verifiers), self.mock_mode);
        let work = move || {
            let _permit = permit;
            check_file(local.path(), &claim, &program.vk, mock_mode, &verifiers)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Rejection::Stopped(error.to_string()))?
    }
}

/// Retry policy for reading a proof: without end.
fn read_retry_policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(15))
        .without_max_times()
}

/// Checks a proof file: reads it whole and computes for some tenths of a second.
fn check_file(
    path: &Path,
    claim: &Claim,
    vk: &[u8],
    mock_mode: bool,
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    let open = || -> io::Result<_> {
        let file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    let (file, size) = open().map_err(Rejection::Unreadable)?;
    check_reader(file, size, claim, vk, mock_mode, verifiers)
}

fn check_reader(
    bytes: impl Read + Seek,
    size: u64,
    claim: &Claim,
    vk: &[u8],
    mock_mode: bool,
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    catch_panic(|| {
        let proof = decode::decode(bytes, size, claim.mode)?;
        if mock::is_mock(&proof.proof) {
            return mock::check(&proof, claim, vk, mock_mode);
        }
        sp1::check(proof, claim, vk, verifiers)
    })
}

/// Checks a proof in memory like [`ProofChecker::check`] where mock proofs are allowed.
///
/// # Errors
///
/// As [`ProofChecker::check`].
pub fn check_bytes(proof: &[u8], claim: &Claim, vk: &[u8]) -> Result<(), Failure> {
    static VERIFIERS: LazyLock<Verifiers> = LazyLock::new(Verifiers::default);
    check_reader(io::Cursor::new(proof), proof.len() as u64, claim, vk, true, &VERIFIERS)
        .map_err(|rejection| rejection.failure())
}

/// Runs SP1's verifier and converts a panic into a rejection: it indexes by untrusted values.
fn catch_panic(check: impl FnOnce() -> Result<(), Rejection>) -> Result<(), Rejection> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Rejection::Panicked(text.chars().take(200).collect()))
    })
}

#[cfg(test)]
mod tests {
    use network_lib::job::FailureClass;

    use super::*;

    #[test]
    fn a_panic_is_a_verdict_against_the_worker() {
        let verdict = catch_panic(|| panic!("index {} out of bounds", 7));
        let failure = verdict.expect_err("a panic is a rejection").failure();
        assert_eq!(failure.class, FailureClass::Worker);
        assert!(failure.message.contains("index 7 out of bounds"), "{failure}");
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
