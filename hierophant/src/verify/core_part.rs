//! Parts of proofs, verified by SP1: shards, recursive proofs of a range, wrapped proofs.

use std::borrow::Borrow;

use hierophant_scheduler::proofs::PartKind;
use shard_plan::ShardRange;
use sp1_hypercube::air::{PublicValues, ShardRange as Sp1Range};
use sp1_hypercube::{
    HashableKey, MachineProof, PROOF_MAX_NUM_PVS, SP1PcsProofInner, SP1PcsProofOuter,
    SP1RecursionProof, SP1VerifyingKey, SP1WrapProof, ShardProof,
};
use sp1_primitives::{SP1Field, SP1GlobalContext, SP1OuterGlobalContext};
use sp1_prover::utils::is_recursion_public_values_valid;
use sp1_prover::verify::SP1Verifier;
use sp1_recursion_executor::RecursionPublicValues;

use super::rejection::Rejection;
use super::verifiers::Verifiers;

/// Verifies the bytes of a part of a proof of the program with this key.
pub(super) fn verify(
    bytes: &[u8],
    kind: PartKind,
    key: &SP1VerifyingKey,
    verifiers: &Verifiers,
) -> Result<(), Rejection> {
    let verifier = verifiers.sp1();
    match kind {
        PartKind::Shard(range) => check_shard(bytes, range, key, verifier),
        PartKind::Recursive(range) => check_recursive(bytes, range, key, verifier),
        PartKind::Wrapped => {
            let proof: SP1WrapProof<SP1OuterGlobalContext, SP1PcsProofOuter> = decode(bytes)?;
            let verified = verifier.verify_wrap_bn254(&proof, key);
            verified.map_err(|error| Rejection::Invalid(error.to_string()))
        }
    }
}

fn check_shard(
    bytes: &[u8],
    range: ShardRange,
    key: &SP1VerifyingKey,
    verifier: &SP1Verifier,
) -> Result<(), Rejection> {
    let proof: ShardProof<SP1GlobalContext, SP1PcsProofInner> = decode(bytes)?;
    has_length(proof.public_values.len())?;
    let values: &PublicValues<[_; 4], [_; 3], [_; 4], _> = proof.public_values.as_slice().borrow();
    // A Core proof has no deferred shards, so their ranges are not among its public values.
    let found = ShardRange { deferred_proof_range: (0, 0), ..range_of(values.range()) };
    is_of(found, ShardRange { deferred_proof_range: (0, 0), ..range })?;
    let verified = verifier.core.verify(&key.vk, &MachineProof::from(vec![proof]));
    verified.map_err(|error| Rejection::Invalid(error.to_string()))
}

fn check_recursive(
    bytes: &[u8],
    range: ShardRange,
    key: &SP1VerifyingKey,
    verifier: &SP1Verifier,
) -> Result<(), Rejection> {
    let proof: SP1RecursionProof<SP1GlobalContext, SP1PcsProofInner> = decode(bytes)?;
    let SP1RecursionProof { vk, proof, vk_merkle_proof } = proof;
    has_length(proof.public_values.len())?;
    {
        let values: &RecursionPublicValues<SP1Field> = proof.public_values.as_slice().borrow();
        if values.sp1_vk_digest != key.hash_koalabear() {
            return Err(Rejection::OtherProgram);
        }
        if values.vk_root != verifier.recursion_vks.root() {
            return Err(Rejection::OtherCircuit(
                "its recursion keys are not those of this version",
            ));
        }
        if !is_recursion_public_values_valid(values) {
            return Err(Rejection::Inconsistent("its public values have another digest"));
        }
        is_of(range_of(values.range()), range)?;
    }
    if !verifier.recursion_vks.verify(&vk_merkle_proof, &vk) {
        return Err(Rejection::OtherCircuit("its key is not one of this version"));
    }
    let verified = verifier.compress.verify(&vk, &MachineProof::from(vec![proof]));
    verified.map_err(|error| Rejection::Invalid(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Rejection> {
    bincode::deserialize(bytes).map_err(|error| Rejection::Undecodable(error.to_string()))
}

fn has_length(length: usize) -> Result<(), Rejection> {
    if length == PROOF_MAX_NUM_PVS {
        return Ok(());
    }
    Err(Rejection::Invalid(format!("{length} public field elements")))
}

fn is_of(found: ShardRange, expected: ShardRange) -> Result<(), Rejection> {
    if found == expected { Ok(()) } else { Err(Rejection::OtherRange) }
}

const fn range_of(range: Sp1Range) -> ShardRange {
    ShardRange {
        timestamp_range: range.timestamp_range,
        initialized_address_range: range.initialized_address_range,
        finalized_address_range: range.finalized_address_range,
        initialized_page_index_range: range.initialized_page_index_range,
        finalized_page_index_range: range.finalized_page_index_range,
        deferred_proof_range: range.deferred_proof_range,
    }
}

#[cfg(test)]
mod tests;
