//! The check of a proof that claims to prove something: cheap comparisons first, so that a wrong proof
//! is named by what is wrong with it, then SP1's verifier.

use std::sync::OnceLock;

use hierophant_model::records::Claim;
use network_lib::ids::Sha256Digest;
use sp1_hypercube::PrimeField32;
use sp1_verifier::compressed::SP1CompressedVerifier;
use sp1_verifier::{ProofFromNetwork, SP1Proof, blake3_hash, sha256_hash};

use super::rejection::Rejection;
use super::{key, on_chain, recursive, supported};

/// SP1's verifiers, each built when the first proof of its kind comes.
#[derive(Default)]
pub(super) struct Verifiers {
    pub(super) compressed: OnceLock<SP1CompressedVerifier>,
    #[cfg(feature = "core-verification")]
    pub(super) core: OnceLock<sp1_prover::verify::SP1Verifier>,
}

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifiers").finish_non_exhaustive()
    }
}

/// Checks a decoded proof of the wanted kind.
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

/// The version that a proof says it is of has to be the wanted one; clients refuse it otherwise.
pub(super) fn same_version(found: &str, wanted: &str) -> Result<(), Rejection> {
    if found == wanted {
        return Ok(());
    }
    let found = found.chars().take(40).collect();
    Err(Rejection::WrongVersion { found, wanted: wanted.to_owned() })
}

/// The digest of the public values that the attempt reported. A program hashes them with SHA-256 or
/// with BLAKE3, and nothing but the digest tells which.
pub(super) fn reported_hash(values: &[u8], reported: Sha256Digest) -> Result<[u8; 32], Rejection> {
    if reported.0 == sha256_hash(values) || reported.0 == blake3_hash(values) {
        return Ok(reported.0);
    }
    Err(Rejection::OtherPublicValues)
}

/// Whether the digest inside a STARK, one field element for each byte, is this one.
pub(super) fn is_committed<F: PrimeField32>(digest: &[[F; 4]; 8], hash: [u8; 32]) -> bool {
    let committed = digest.as_flattened().iter().map(F::as_canonical_u32);
    committed.eq(hash.map(u32::from))
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
