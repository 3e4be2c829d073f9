//! Core proofs: a list of shard proofs, complete, in order and of one execution.

use std::borrow::Borrow;

use sp1_hypercube::air::PublicValues;
use sp1_hypercube::{
    PROOF_MAX_NUM_PVS, PrimeField32, SP1PcsProofInner, SP1VerifyingKey, ShardProof,
};
use sp1_prover::SP1CoreProofData;

use super::public_values::is_committed;
use super::rejection::Rejection;
use super::verifiers::Verifiers;

/// Checks the shard proofs of a program with public values of digest `hash`.
pub(super) fn check(
    shards: Vec<ShardProof<sp1_primitives::SP1GlobalContext, SP1PcsProofInner>>,
    key: &SP1VerifyingKey,
    hash: [u8; 32],
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    let first = shards.first().ok_or(Rejection::Invalid("no shards".into()))?;
    let last = shards.last().unwrap_or(first);
    for end in [first, last] {
        let length = end.public_values.len();
        if length != PROOF_MAX_NUM_PVS {
            return Err(Rejection::Invalid(format!("a shard has {length} public field elements")));
        }
    }
    // The start address distinguishes most programs at once; the verifier detects the rest.
    let start: &PublicValues<[_; 4], [_; 3], [_; 4], _> = first.public_values.as_slice().borrow();
    if start.pc_start != key.vk.pc_start {
        return Err(Rejection::OtherProgram);
    }
    let end: &PublicValues<[_; 4], [_; 3], [_; 4], _> = last.public_values.as_slice().borrow();
    let exit_code = end.exit_code.as_canonical_u32();
    if exit_code != 0 {
        return Err(Rejection::ExitCode(exit_code.into()));
    }
    if !is_committed(&end.committed_value_digest, hash) {
        return Err(Rejection::UncommittedPublicValues);
    }
    verifiers
        .sp1()
        .verify(&SP1CoreProofData(shards), key)
        .map_err(|error| Rejection::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_circuit_version_is_that_of_the_prover() {
        assert_eq!(super::super::CIRCUIT_VERSION, sp1_prover::SP1_CIRCUIT_VERSION);
    }
}
