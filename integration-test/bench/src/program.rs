//! What the load tester asks proofs of: the example program, or any other as its files.

use network_lib::ids::VkHash;
use test_peers::{program_body, stdin_of_u32};

/// A program with its input.
#[derive(Debug)]
pub struct Program {
    /// Its id.
    pub vk_hash: VkHash,
    /// Its verifying key, bincode.
    pub vk: Vec<u8>,
    /// Its ELF as it is uploaded.
    pub body: Vec<u8>,
    /// Its input as it is uploaded; without one it is the example, whose input is a number.
    stdin: Option<Vec<u8>>,
}

impl Program {
    /// The example program.
    #[must_use]
    pub fn fibonacci() -> Self {
        Self {
            vk_hash: VkHash(fibonacci::VK_HASH),
            vk: fibonacci::VERIFYING_KEY.to_vec(),
            body: program_body(fibonacci::ELF),
            stdin: None,
        }
    }

    /// Another program: its id, its verifying key, its ELF, and bincode of its `SP1Stdin`.
    #[must_use]
    pub fn of(vk_hash: [u8; 32], vk: Vec<u8>, elf: &[u8], stdin: Vec<u8>) -> Self {
        let (vk_hash, body) = (VkHash(vk_hash), program_body(elf));
        Self { vk_hash, vk, body, stdin: Some(test_peers::compressed(&stdin)) }
    }

    /// An input as it is uploaded; a number for the example.
    #[must_use]
    pub fn input(&self, number: u32) -> Vec<u8> {
        self.stdin.clone().unwrap_or_else(|| stdin_of_u32(number))
    }

    /// Whether a proof, mock or real, carries the public values of this input. Of a program that is not the
    /// example nothing is known: only an empty proof is wrong.
    #[must_use]
    pub fn is_of(&self, proof: &[u8], number: u32) -> bool {
        if self.stdin.is_some() {
            return !proof.is_empty();
        }
        // Bincode ends with the public values and the circuit version, each behind its length.
        let values = fibonacci::public_values(number);
        let values = [&(values.len() as u64).to_le_bytes(), values.as_slice()].concat();
        let end = values.len() + 8 + b"v6.1.0".len();
        proof.len() >= end && proof[proof.len() - end..].starts_with(&values)
    }
}

#[cfg(test)]
mod tests {
    use test_peers::core_proof_with;

    use super::*;

    #[test]
    fn a_proof_of_another_input_is_told_apart() {
        let program = Program::fibonacci();
        let proof = core_proof_with(&fibonacci::public_values(1000));
        assert!(program.is_of(&proof, 1000));
        assert!(!program.is_of(&proof, 1001) && !program.is_of(&[], 1000));
    }
}
