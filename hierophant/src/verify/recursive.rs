//! Compressed proofs: one recursive STARK whose public values name program and execution.

use std::borrow::Borrow;

use sp1_hypercube::{
    HashableKey, PROOF_MAX_NUM_PVS, PrimeField32, SP1PcsProofInner, SP1RecursionProof,
    SP1VerifyingKey,
};
use sp1_recursion_executor::RecursionPublicValues;
use sp1_verifier::compressed::SP1CompressedVerifier;

use super::public_values::is_committed;
use super::rejection::Rejection;

/// A compressed proof over SP1's field configuration.
type Proof<GC> = SP1RecursionProof<GC, SP1PcsProofInner>;

/// Checks a compressed proof of a program with public values `values` of digest `hash`.
pub(super) fn check(
    verifier: &SP1CompressedVerifier,
    proof: &Proof<sp1_primitives::SP1GlobalContext>,
    key: &SP1VerifyingKey,
    values: &[u8],
    hash: [u8; 32],
) -> Result<(), Rejection> {
    let program = key.hash_koalabear();
    let found = proof.proof.public_values.as_slice();
    if found.len() != PROOF_MAX_NUM_PVS {
        return Err(Rejection::Invalid(format!("{} public field elements", found.len())));
    }
    let claims: &RecursionPublicValues<_> = found.borrow();
    if claims.sp1_vk_digest != program {
        return Err(Rejection::OtherProgram);
    }
    let exit_code = claims.exit_code.as_canonical_u32();
    if exit_code != 0 {
        return Err(Rejection::ExitCode(exit_code.into()));
    }
    if !is_committed(&claims.committed_value_digest, hash) {
        return Err(Rejection::UncommittedPublicValues);
    }
    verifier
        .verify_compressed_with_public_values(proof, values, &program)
        .map_err(|error| Rejection::Invalid(error.to_string()))
}
