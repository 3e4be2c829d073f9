//! Mock proofs, which prove nothing. Their content is compared as SP1's own mock prover does.

use hierophant_model::records::Claim;
use network_lib::handshake::Backend;
use sp1_verifier::{ProofFromNetwork, SP1Proof};

use super::public_values::reported_hash;
use super::rejection::Rejection;
use super::sp1::same_version;
use super::{key, on_chain};

/// Whether a proof has the shape of a mock proof, which real proofs never have.
pub(super) fn is_mock(proof: &SP1Proof) -> bool {
    match proof {
        SP1Proof::Core(shards) => shards.is_empty(),
        SP1Proof::Compressed(proof) => proof.proof.public_values.is_empty(),
        SP1Proof::Plonk(proof) => proof.encoded_proof.is_empty(),
        SP1Proof::Groth16(proof) => proof.encoded_proof.is_empty(),
    }
}

/// Checks a mock proof of the expected mode.
pub(super) fn check(
    proof: &ProofFromNetwork,
    claim: &Claim,
    vk: &[u8],
    mock_mode: bool,
) -> Result<(), Rejection> {
    if claim.backend != Backend::Mock {
        return Err(Rejection::MockFromProver(claim.backend));
    }
    if !mock_mode {
        return Err(Rejection::MockNotAllowed);
    }
    same_version(&proof.sp1_version, &claim.circuit_version)?;
    let hash = reported_hash(proof.public_values.as_slice(), claim.public_values_hash)?;
    let key = || key::decode(vk, claim.vk_hash).map_err(Rejection::Key);
    let inputs = match &proof.proof {
        // A Core mock proof has no content.
        SP1Proof::Core(_) => return Ok(()),
        // It contains the program's key; a real proof contains the key of a recursion program.
        SP1Proof::Compressed(proof) => {
            return if proof.vk == key()?.vk { Ok(()) } else { Err(Rejection::OtherProgram) };
        }
        SP1Proof::Plonk(proof) => &proof.public_inputs,
        SP1Proof::Groth16(proof) => &proof.public_inputs,
    };
    on_chain::matching(inputs, &on_chain::Program::of(&key()?), hash)?;
    on_chain::ended_well(inputs)
}
