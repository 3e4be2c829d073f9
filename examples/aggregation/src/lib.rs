//! The host's side of the aggregation guest in `program/`: its ELF, its input, and what it must commit.
//!
//! The ELF is committed rather than built, as that of `examples/fibonacci` and for the same reasons.

use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{HashableKey, SP1PcsProofInner, SP1RecursionProof, SP1VerifyingKey};
use sp1_primitives::SP1GlobalContext;
use sp1_primitives::io::SP1PublicValues;

/// The guest program for SP1's machine, as committed: `../build-guest.sh` made it from `program/`.
pub const ELF: &[u8] = include_bytes!("../aggregation.elf");

/// Bincode of the guest's verifying key, as SP1 6.10 derives it from [`ELF`].
pub const VERIFYING_KEY: &[u8] = include_bytes!("../aggregation.vk");

/// The id under which the SDK registers the guest: `hash_bytes` of [`VERIFYING_KEY`].
pub const VK_HASH: [u8; 32] = [
    0x33, 0x46, 0xc4, 0xdb, 0x45, 0xfc, 0x64, 0xcd, 0x64, 0x79, 0xd9, 0x16, 0x09, 0xcd, 0xa8, 0xf4,
    0x4b, 0x7a, 0x92, 0x2a, 0x1c, 0x55, 0x91, 0x56, 0x40, 0x13, 0xb2, 0x69, 0x31, 0xa3, 0x62, 0xb5,
];

/// A Compressed proof: the content of the SDK's `SP1Proof::Compressed`.
pub type CompressedProof = SP1RecursionProof<SP1GlobalContext, SP1PcsProofInner>;

/// The input with which the guest verifies `proofs`, each with its public values, of the program with verifying key
/// `key`.
#[must_use]
pub fn input(key: &SP1VerifyingKey, proofs: &[(CompressedProof, SP1PublicValues)]) -> SP1Stdin {
    let mut stdin = SP1Stdin::new();
    stdin.write(&key.hash_u32());
    stdin.write(&proofs.iter().map(|(_, values)| digest(values)).collect::<Vec<_>>());
    for (proof, _) in proofs {
        stdin.write_proof(proof.clone(), key.vk.clone());
    }
    stdin
}

/// The public values of a run with that input: the hash of the key as eight little-endian words, then the SHA-256 digest
/// of each proof's public values.
#[must_use]
pub fn public_values(
    key: &SP1VerifyingKey,
    proofs: &[(CompressedProof, SP1PublicValues)],
) -> Vec<u8> {
    let key = key.hash_u32().into_iter().flat_map(u32::to_le_bytes);
    key.chain(proofs.iter().flat_map(|(_, values)| digest(values))).collect()
}

fn digest(values: &SP1PublicValues) -> [u8; 32] {
    values.hash().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_elf_is_the_one_whose_sha256_is_recorded() {
        let recorded = include_str!("../aggregation.elf.sha256");
        let computed = hex::encode(Sha256::digest(ELF));
        assert_eq!(recorded, format!("{computed}  aggregation.elf\n"));
    }
}
