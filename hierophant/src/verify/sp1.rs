//! Check of a real proof: cheap comparisons first, which give specific rejections, then SP1's verifier.

use hierophant_model::records::Claim;
use sp1_verifier::compressed::SP1CompressedVerifier;
use sp1_verifier::{ProofFromNetwork, SP1Proof};

use super::public_values::reported_hash;
use super::rejection::Rejection;
use super::verifiers::Verifiers;
use super::{key, on_chain, recursive, supported};

/// Checks a decoded proof of the expected mode.
pub(super) fn check(
    proof: ProofFromNetwork,
    claim: &Claim,
    vk: &[u8],
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    supported(claim.mode, &claim.circuit_version)?;
    let key = key::decode(vk, claim.vk_hash).map_err(Rejection::Key)?;
    same_version(&proof.sp1_version, &claim.circuit_version)?;
    let values = proof.public_values.as_slice();
    let hash = reported_hash(values, claim.public_values_hash)?;
    match proof.proof {
        SP1Proof::Core(shards) => core(shards, &key, hash, verifiers),
        SP1Proof::Compressed(proof) => {
            let verifier = verifiers.compressed.get_or_init(SP1CompressedVerifier::new);
            recursive::check(verifier, &proof, &key, values, hash)
        }
        SP1Proof::Plonk(proof) => {
            on_chain::check_plonk(&proof, &on_chain::Program::of(&key), values, hash)
        }
        SP1Proof::Groth16(proof) => {
            on_chain::check_groth16(&proof, &on_chain::Program::of(&key), values, hash)
        }
    }
}

/// Checks the version in a proof; clients refuse another one.
pub(super) fn same_version(found: &str, wanted: &str) -> Result<(), Rejection> {
    if found == wanted {
        return Ok(());
    }
    let found = found.chars().take(40).collect();
    Err(Rejection::WrongVersion { found, wanted: wanted.to_owned() })
}

#[cfg(feature = "core-verification")]
use super::core_proof::check as core;

#[cfg(not(feature = "core-verification"))]
fn core<T>(
    _: T,
    _: &sp1_hypercube::SP1VerifyingKey,
    _: [u8; 32],
    _: &Verifiers,
) -> Result<(), Rejection> {
    Err(super::Unverifiable::Mode(network_lib::job::ProofMode::Core).into())
}
