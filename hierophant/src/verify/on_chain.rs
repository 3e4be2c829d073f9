//! PLONK and Groth16: proofs over BN254 for verification on chain.
//!
//! The client's SDK composes the bytes for the contract from such a proof. The same bytes are composed and verified
//! here, and every other part of the proof must agree with them.

use alloy_primitives::U256;
use sha2::{Digest, Sha256};
use sp1_hypercube::{HashableKey, SP1VerifyingKey};
use sp1_verifier::{
    GROTH16_VK_BYTES, Groth16Bn254Proof, Groth16Verifier, PLONK_VK_BYTES, PlonkBn254Proof,
    PlonkVerifier, VK_ROOT_BYTES,
};

use super::rejection::Rejection;

/// Number of bytes of the circuit's digest in front of a proof on chain.
const SELECTOR: usize = 4;

/// Bytes of the three public inputs in front of the proof: exit code, root of the recursion keys, nonce.
const METADATA: usize = 3 * 32;

/// Bits of the public values' digest that fit into the field.
const PUBLIC_VALUES_MASK: U256 = U256::MAX.wrapping_shr(3);

/// A program's id on chain.
pub(super) struct Program(String);

impl Program {
    /// Program of a key.
    pub(super) fn of(key: &SP1VerifyingKey) -> Self {
        Self(key.bytes32())
    }
}

/// Checks a PLONK proof of a program with public values `values` of digest `hash`.
pub(super) fn check_plonk(
    proof: &PlonkBn254Proof,
    program: &Program,
    values: &[u8],
    hash: [u8; 32],
) -> Result<(), Rejection> {
    let circuit = &PLONK_VK_BYTES;
    let bytes =
        contract_bytes(&proof.public_inputs, &proof.encoded_proof, proof.plonk_vkey_hash, circuit)?;
    matching(&proof.public_inputs, program, hash)?;
    PlonkVerifier::verify(&bytes, values, &program.0, circuit)
        .map_err(|error| Rejection::Invalid(error.to_string()))
}

/// Checks a Groth16 proof of a program with public values `values` of digest `hash`.
pub(super) fn check_groth16(
    proof: &Groth16Bn254Proof,
    program: &Program,
    values: &[u8],
    hash: [u8; 32],
) -> Result<(), Rejection> {
    let circuit = &GROTH16_VK_BYTES;
    let bytes = contract_bytes(
        &proof.public_inputs,
        &proof.encoded_proof,
        proof.groth16_vkey_hash,
        circuit,
    )?;
    matching(&proof.public_inputs, program, hash)?;
    Groth16Verifier::verify(&bytes, values, &program.0, circuit)
        .map_err(|error| Rejection::Invalid(error.to_string()))
}

/// Checks the first two public inputs: program and public values.
pub(super) fn matching(
    inputs: &[String; 5],
    program: &Program,
    hash: [u8; 32],
) -> Result<(), Rejection> {
    let wanted: U256 = program.0.parse().map_err(|_| Rejection::OtherProgram)?;
    if number(&inputs[0])? != wanted {
        return Err(Rejection::OtherProgram);
    }
    if number(&inputs[1])? != U256::from_be_bytes(hash) & PUBLIC_VALUES_MASK {
        return Err(Rejection::UncommittedPublicValues);
    }
    Ok(())
}

/// Checks the third public input: the exit code.
pub(super) fn ended_well(inputs: &[String; 5]) -> Result<(), Rejection> {
    let exit_code = number(&inputs[2])?;
    match exit_code.is_zero() {
        true => Ok(()),
        false => Err(Rejection::ExitCode(exit_code.saturating_to())),
    }
}

/// Bytes for a contract: selector of the circuit, metadata, proof.
fn contract_bytes(
    inputs: &[String; 5],
    encoded: &str,
    circuit_hash: [u8; 32],
    circuit: &[u8],
) -> Result<Vec<u8>, Rejection> {
    if circuit_hash != *Sha256::digest(circuit) {
        return Err(Rejection::OtherCircuit("its verifying key differs from this SP1 version's"));
    }
    let encoded = hex::decode(encoded)
        .map_err(|error| Rejection::Invalid(format!("invalid hex: {error}")))?;
    let metadata = encoded.get(..METADATA).ok_or(Rejection::Invalid("too short".into()))?;
    for (bytes, input) in metadata.chunks(32).zip(&inputs[2..]) {
        if U256::from_be_slice(bytes) != number(input)? {
            return Err(Rejection::Inconsistent(
                "its public inputs differ from those in its bytes",
            ));
        }
    }
    ended_well(inputs)?;
    if metadata[32..64] != VK_ROOT_BYTES[..] {
        return Err(Rejection::OtherCircuit("its recursion keys differ from this SP1 version's"));
    }
    Ok([&circuit_hash[..SELECTOR], &encoded].concat())
}

/// Parses a public input, a number of at most 256 bits: decimal, except for the program in SP1's mock proofs, which
/// use the notation of the field's library (`FFBn254Fr(0x…)`; sp1-sdk, `create_mock_proof`).
fn number(input: &str) -> Result<U256, Rejection> {
    let hex = input.strip_prefix("FFBn254Fr(0x").and_then(|rest| rest.strip_suffix(')'));
    let (digits, radix) = hex.map_or((input, 10), |digits| (digits, 16));
    U256::from_str_radix(digits, radix)
        .map_err(|_| Rejection::Inconsistent("invalid public input: expected a number of 256 bits"))
}

#[cfg(test)]
mod tests {
    use sp1_verifier::sha256_hash;

    use super::*;

    /// A real Groth16 proof of this circuit version; see `tests/proofs/README.md`.
    const PUBLIC_PROOF: &str = include_str!("../../tests/proofs/groth16-public.json");

    /// The order of the field that public inputs are in.
    const FIELD: &str =
        "21888242871839275222246405745257275088548364400416034343698204186575808495617";

    fn of_json(name: &str) -> String {
        let json: serde_json::Value = serde_json::from_str(PUBLIC_PROOF).expect("JSON");
        json[name].as_str().expect("text").to_owned()
    }

    fn decimal(bytes: &[u8]) -> String {
        U256::from_be_slice(bytes).to_string()
    }

    /// Public inputs of a successful execution of `program` with these public values.
    fn inputs(program: &Program, values: &[u8]) -> [String; 5] {
        let program: U256 = program.0.parse().expect("a number");
        let values = U256::from_be_bytes(sha256_hash(values)) & PUBLIC_VALUES_MASK;
        let root = decimal(&VK_ROOT_BYTES[..]);
        [program.to_string(), values.to_string(), "0".into(), root, "0".into()]
    }

    fn groth16() -> (Groth16Bn254Proof, Program, Vec<u8>) {
        let program = Program(of_json("program"));
        let values = hex::decode(of_json("public_values")).expect("hex");
        let proof = Groth16Bn254Proof {
            public_inputs: inputs(&program, &values),
            encoded_proof: of_json("proof").split_off(2 * SELECTOR),
            raw_proof: String::new(),
            groth16_vkey_hash: Sha256::digest(*GROTH16_VK_BYTES).into(),
        };
        (proof, program, values)
    }

    #[test]
    fn a_real_groth16_proof_passes() {
        let (proof, program, values) = groth16();
        check_groth16(&proof, &program, &values, sha256_hash(&values)).expect("a valid proof");
    }

    #[test]
    fn every_part_of_a_groth16_proof_counts() {
        type Change = fn(&mut Groth16Bn254Proof);
        let cases: [(&str, Change); 10] = [
            ("does not verify", |proof| proof.encoded_proof.replace_range(200..201, "7")),
            ("does not verify", |proof| proof.encoded_proof.replace_range(700..701, "3")),
            ("does not verify", |proof| drop(proof.encoded_proof.split_off(702))),
            ("too short", |proof| drop(proof.encoded_proof.split_off(190))),
            ("hex", |proof| proof.encoded_proof.replace_range(5..6, "g")),
            ("another program", |proof| proof.public_inputs[0] = "12".into()),
            ("does not commit", |proof| proof.public_inputs[1] = "12".into()),
            ("differ from those in its bytes", |proof| proof.public_inputs[4] = "12".into()),
            ("a number of 256 bits", |proof| proof.public_inputs[3] = "a root".into()),
            ("verifying key", |proof| proof.groth16_vkey_hash[31] ^= 1),
        ];
        for (what, change) in cases {
            let (mut proof, program, values) = groth16();
            change(&mut proof);
            let rejection = check_groth16(&proof, &program, &values, sha256_hash(&values))
                .expect_err("a changed proof");
            assert!(rejection.to_string().contains(what), "{what}: {rejection}");
        }
    }

    #[test]
    fn a_groth16_proof_is_of_one_program_and_its_public_values() {
        let (proof, program, values) = groth16();
        let other = Program(program.0.replace("93", "94"));
        let rejection = check_groth16(&proof, &other, &values, sha256_hash(&values));
        assert!(matches!(rejection, Err(Rejection::OtherProgram)));
        let rejection = check_groth16(&proof, &program, b"others", sha256_hash(b"others"));
        assert!(matches!(rejection, Err(Rejection::UncommittedPublicValues)));

        // Public inputs that agree with the lie are found out by the pairing.
        let lie = Groth16Bn254Proof { public_inputs: inputs(&other, &values), ..proof.clone() };
        let rejection = check_groth16(&lie, &other, &values, sha256_hash(&values));
        assert!(matches!(rejection, Err(Rejection::Invalid(_))));
        let lie = Groth16Bn254Proof { public_inputs: inputs(&program, b"others"), ..proof };
        let rejection = check_groth16(&lie, &program, b"others", sha256_hash(b"others"));
        assert!(matches!(rejection, Err(Rejection::Invalid(_))));
    }

    #[test]
    fn a_failed_execution_and_other_recursion_keys_are_named() {
        let (proof, program, values) = groth16();
        let mut failed = proof.clone();
        failed.encoded_proof.replace_range(62..64, "03");
        failed.public_inputs[2] = "3".into();
        let rejection = check_groth16(&failed, &program, &values, sha256_hash(&values));
        assert!(matches!(rejection, Err(Rejection::ExitCode(3))));
        let mut other = proof;
        other.encoded_proof.replace_range(126..128, "53");
        other.public_inputs[3] = (U256::from_be_bytes(*VK_ROOT_BYTES) + U256::ONE).to_string();
        let rejection = check_groth16(&other, &program, &values, sha256_hash(&values));
        assert!(matches!(rejection, Err(Rejection::OtherCircuit(_))));
    }

    /// A PLONK proof whose points are on the curve and whose numbers are in the field, made up.
    fn made_up_plonk(program: &Program, values: &[u8]) -> PlonkBn254Proof {
        let number = |number: u8| [[0; 31].as_slice(), &[number]].concat();
        let point = [number(1), number(2)].concat();
        let metadata = [number(0), VK_ROOT_BYTES.to_vec(), number(0)].concat();
        let opened: Vec<u8> = (1..=5).flat_map(number).collect();
        let parts = [
            metadata,
            point.repeat(6),
            opened,
            point.clone(),
            number(6),
            point.repeat(2),
            number(7),
            point,
        ];
        PlonkBn254Proof {
            public_inputs: inputs(program, values),
            encoded_proof: hex::encode(parts.concat()),
            raw_proof: String::new(),
            plonk_vkey_hash: Sha256::digest(*PLONK_VK_BYTES).into(),
        }
    }

    #[test]
    fn a_made_up_plonk_proof_gets_as_far_as_the_pairing_and_fails_there() {
        let (_, program, values) = groth16();
        let hash = sha256_hash(&values);
        let proof = made_up_plonk(&program, &values);
        let rejection = check_plonk(&proof, &program, &values, hash).expect_err("made up");
        assert!(rejection.to_string().contains("Pairing check failed"), "{rejection}");

        let cut =
            PlonkBn254Proof { encoded_proof: proof.encoded_proof[..400].into(), ..proof.clone() };
        assert!(matches!(check_plonk(&cut, &program, &values, hash), Err(Rejection::Invalid(_))));
        let zero = PlonkBn254Proof { plonk_vkey_hash: [0; 32], ..proof.clone() };
        let rejection = check_plonk(&zero, &program, &values, hash);
        assert!(matches!(rejection, Err(Rejection::OtherCircuit(_))));
        let rejection = check_plonk(&proof, &program, b"others", sha256_hash(b"others"));
        assert!(matches!(rejection, Err(Rejection::UncommittedPublicValues)));
    }

    #[test]
    fn public_inputs_outside_the_field_are_refused() {
        let (proof, program, values) = groth16();
        let huge = [FIELD, "9", "-1", "", "0x0"].map(|text| text.repeat(2));
        for input in huge {
            let mut proof = proof.clone();
            proof.public_inputs[1] = input;
            let hash = sha256_hash(&values);
            assert!(check_groth16(&proof, &program, &values, hash).is_err());
        }
    }
}
