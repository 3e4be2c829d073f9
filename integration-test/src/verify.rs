//! Believing a proof, or not.

use anyhow::{Context, Result, ensure};
use sp1_sdk::{
    MockProver, Prover, ProvingKey, SP1_CIRCUIT_VERSION, SP1Proof, SP1ProofMode,
    SP1ProofWithPublicValues,
};

use crate::client::{Client, Expected};
use crate::options::Backend;

/// Verifies a proof with the SDK, checks that it is of the wanted kind and commits the right values,
/// and says in one line what it is worth.
///
/// A mock proof is checked as SP1's mock prover checks its own, and then shown to be one: a network
/// that passes a real proof off as mock, or the other way round, fails here.
///
/// # Errors
///
/// Why it is not to be believed.
pub async fn check_proof(
    client: &Client,
    proof: &SP1ProofWithPublicValues,
    mode: SP1ProofMode,
    backend: Backend,
    expected: &Expected,
) -> Result<String> {
    ensure!(is_of_mode(&proof.proof, mode), "asked for {mode:?}, got {}", proof.proof);
    ensure!(
        proof.public_values.as_slice() == expected.public_values,
        "public values are 0x{}, expected 0x{}",
        hex::encode(proof.public_values.as_slice()),
        hex::encode(&expected.public_values)
    );
    let key = client.keys.verifying_key();
    match backend {
        Backend::Cpu => {
            client.sdk.verify(proof, key, None).context("the SDK rejects the proof")?;
            Ok(format!("real {mode:?} proof, verified by sp1-sdk"))
        }
        Backend::Mock => {
            ensure!(proof.sp1_version == SP1_CIRCUIT_VERSION, "version is {}", proof.sp1_version);
            let mock = MockProver::new().await;
            mock.verify(proof, key, None).context("SP1's mock prover rejects the proof")?;
            ensure!(is_mock(&proof.proof), "expected a mock proof, got what looks like a real one");
            Ok(format!("MOCK {mode:?} proof, accepted by SP1's mock prover; it proves nothing"))
        }
    }
}

const fn is_of_mode(proof: &SP1Proof, mode: SP1ProofMode) -> bool {
    matches!(
        (proof, mode),
        (SP1Proof::Core(_), SP1ProofMode::Core)
            | (SP1Proof::Compressed(_), SP1ProofMode::Compressed)
            | (SP1Proof::Plonk(_), SP1ProofMode::Plonk)
            | (SP1Proof::Groth16(_), SP1ProofMode::Groth16)
    )
}

/// SP1's mock proofs are empty where the proof would be. (A mock Compressed proof is not recognized by its
/// shape, only by the verifier.)
fn is_mock(proof: &SP1Proof) -> bool {
    match proof {
        SP1Proof::Core(shards) => shards.is_empty(),
        SP1Proof::Compressed(_) => true,
        SP1Proof::Plonk(proof) => proof.encoded_proof.is_empty(),
        SP1Proof::Groth16(proof) => proof.encoded_proof.is_empty(),
    }
}
