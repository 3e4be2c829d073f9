//! The check of one proof, without any process around it: decode, compare, verify.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;

use hierophant_model::records::Claim;
use network_lib::job::Failure;

use super::rejection::Rejection;
use super::verifiers::Verifiers;
use super::{decode, mock, sp1};

/// Checks a proof file: reads it whole and computes for some tenths of a second.
pub(super) fn check_file(
    path: &Path,
    claim: &Claim,
    vk: &[u8],
    mock_mode: bool,
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    let open = || -> io::Result<_> {
        let file = File::open(path)?;
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

/// Checks a proof in memory, which is freed once it is decoded.
pub(super) fn check_loaded(
    proof: Vec<u8>,
    claim: &Claim,
    vk: &[u8],
    mock_mode: bool,
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    let size = proof.len() as u64;
    check_reader(io::Cursor::new(proof), size, claim, vk, mock_mode, verifiers)
}

/// Checks a proof in memory like [`ProofChecker::check`](super::ProofChecker::check) where mock proofs are allowed,
/// in this process.
///
/// # Errors
///
/// As [`ProofChecker::check`](super::ProofChecker::check).
pub fn check_bytes(proof: &[u8], claim: &Claim, vk: &[u8]) -> Result<(), Failure> {
    static VERIFIERS: LazyLock<Verifiers> = LazyLock::new(Verifiers::default);
    check_reader(io::Cursor::new(proof), proof.len() as u64, claim, vk, true, &VERIFIERS)
        .map_err(|rejection| rejection.failure())
}

/// Runs SP1's verifier and converts a panic into a rejection: it indexes by untrusted values.
pub(super) fn catch_panic(check: impl FnOnce() -> Result<(), Rejection>) -> Result<(), Rejection> {
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
}
