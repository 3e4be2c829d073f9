//! Mock proofs: the shape of a proof around public values, without a proof.

use sp1_hypercube::create_dummy_recursion_proof;
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::{HashableKey, SP1_CIRCUIT_VERSION, SP1VerifyingKey};
use sp1_verifier::{Groth16Bn254Proof, PlonkBn254Proof, ProofFromNetwork, SP1Proof, SP1ProofMode};

/// Builds a mock proof, as SP1's SDK does for its mock prover.
///
/// A core proof has no shards. A compressed proof carries the program's key where a real one has that of a
/// recursion program. PLONK and Groth16 carry the public inputs of a real proof and no proof bytes.
#[must_use]
pub fn mock_proof(
    key: &SP1VerifyingKey,
    public_values: SP1PublicValues,
    mode: SP1ProofMode,
) -> ProofFromNetwork {
    let proof = match mode {
        SP1ProofMode::Core => SP1Proof::Core(Vec::new()),
        SP1ProofMode::Compressed => {
            SP1Proof::Compressed(Box::new(create_dummy_recursion_proof(key)))
        }
        SP1ProofMode::Plonk => SP1Proof::Plonk(PlonkBn254Proof {
            public_inputs: public_inputs(key, &public_values),
            ..Default::default()
        }),
        SP1ProofMode::Groth16 => SP1Proof::Groth16(Groth16Bn254Proof {
            public_inputs: public_inputs(key, &public_values),
            ..Default::default()
        }),
    };
    ProofFromNetwork { proof, public_values, sp1_version: SP1_CIRCUIT_VERSION.to_owned() }
}

/// Key, digest of the public values, exit code, root of the recursion keys, nonce.
fn public_inputs(key: &SP1VerifyingKey, public_values: &SP1PublicValues) -> [String; 5] {
    let zero = || "0".to_owned();
    let key = key.hash_bn254().to_string();
    [key, public_values.hash_bn254().to_string(), zero(), zero(), zero()]
}
