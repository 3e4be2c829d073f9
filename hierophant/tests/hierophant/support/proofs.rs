//! Mock proofs as SP1's mock prover makes them, and a key for them: enough where a proof need not prove
//! anything.

use alloy_primitives::U256;
use network_lib::job::ProofMode;
use sha2::{Digest, Sha256};
use sp1_hypercube::{HashableKey, SP1VerifyingKey, create_dummy_recursion_proof};
use sp1_primitives::io::SP1PublicValues;
use sp1_verifier::{Groth16Bn254Proof, PlonkBn254Proof, ProofFromNetwork, SP1Proof};

/// The verifying key of no program: all its field elements have this number.
pub fn key_of(number: u32) -> SP1VerifyingKey {
    bincode::deserialize(&number.to_le_bytes().repeat(26)).expect("26 field elements")
}

/// Id and encoded key, as a client registers them.
pub fn registered(key: &SP1VerifyingKey) -> ([u8; 32], Vec<u8>) {
    (key.hash_bytes(), bincode::serialize(key).expect("encodes"))
}

/// SP1's mock proof of this kind for this program and these public values.
pub fn mock(mode: ProofMode, key: &SP1VerifyingKey, public_values: &[u8]) -> ProofFromNetwork {
    let mut digest: [u8; 32] = Sha256::digest(public_values).into();
    digest[0] &= 0x1f;
    let decimal = |bytes: [u8; 32]| U256::from_be_bytes(bytes).to_string();
    let zero = || "0".to_owned();
    let program = key.hash_bn254().to_string();
    let public_inputs = [program, decimal(digest), zero(), zero(), zero()];
    let proof = match mode {
        ProofMode::Core => SP1Proof::Core(vec![]),
        ProofMode::Compressed => SP1Proof::Compressed(Box::new(create_dummy_recursion_proof(key))),
        ProofMode::Plonk => {
            SP1Proof::Plonk(PlonkBn254Proof { public_inputs, ..Default::default() })
        }
        ProofMode::Groth16 => {
            SP1Proof::Groth16(Groth16Bn254Proof { public_inputs, ..Default::default() })
        }
    };
    let public_values = SP1PublicValues::from(public_values);
    ProofFromNetwork { proof, public_values, sp1_version: "v6.1.0".into() }
}

/// The bytes of a proof, as a Contemplant hands it in.
pub fn encoded(proof: &ProofFromNetwork) -> Vec<u8> {
    bincode::serialize(proof).expect("encodes")
}
