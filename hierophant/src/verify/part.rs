//! The check of one result of a task: a part of a proof that several workers make.
//!
//! Its maker is known, so a part that fails its check shows who made it. That a part verifies does not mean that it
//! belongs to this proof: it may be of another input of the same program. Only the check of the whole proof finds that.

use hierophant_scheduler::proofs::PartKind;
use network_lib::ids::VkHash;

use super::check::catch_panic;
use super::key;
use super::rejection::Rejection;
use super::verifiers::Verifiers;

/// Checks the bytes of a part of a proof of the program with this key.
pub(super) fn check(
    bytes: &[u8],
    kind: PartKind,
    vk: &[u8],
    vk_hash: VkHash,
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    let key = key::decode(vk, vk_hash).map_err(Rejection::Key)?;
    catch_panic(|| verify(bytes, kind, &key, verifiers))
}

#[cfg(feature = "core-verification")]
use super::core_part::verify;

#[cfg(not(feature = "core-verification"))]
fn verify(
    _: &[u8],
    _: PartKind,
    _: &sp1_hypercube::SP1VerifyingKey,
    _: &Verifiers,
) -> Result<(), Rejection> {
    Err(super::Unverifiable::Mode(network_lib::job::ProofMode::Core).into())
}
