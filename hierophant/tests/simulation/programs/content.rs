//! Inputs and the expected results of proving them. A content is identified by its number.

use network_lib::ids::Sha256Digest;
use network_lib::job::Execution;
use sha2::{Digest, Sha256};
use test_peers::{core_proof_with, execution_with};

/// Contents from this number on make the program panic.
pub const FIRST_FAILING: u8 = 200;

/// The input, of some length up to 200 kB.
pub fn stdin(content: u8) -> Vec<u8> {
    vec![content; 1 + usize::from(content) * 997 % 200_000]
}

/// Whether the program panics on this input.
pub fn fails(stdin: &[u8]) -> bool {
    stdin.first().is_some_and(|content| *content >= FIRST_FAILING)
}

/// Output of the program: the digest of its input, padded to several packets.
fn public_values(stdin: &[u8]) -> Vec<u8> {
    Sha256::digest(stdin).repeat(1 + stdin.len() % 3000)
}

/// The valid proof.
pub fn proof(stdin: &[u8]) -> Vec<u8> {
    core_proof_with(&public_values(stdin))
}

/// The correct execution.
pub fn execution(stdin: &[u8]) -> Execution {
    execution_with(&public_values(stdin))
}

/// Digest of the output of the program.
pub fn public_values_hash(stdin: &[u8]) -> Sha256Digest {
    execution(stdin).public_values_hash
}
