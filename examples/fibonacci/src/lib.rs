//! The host's side of the example guest in `program/`: its ELF, and what it ought to commit.
//!
//! The ELF is committed rather than built, because the verifying key is computed from its bytes and
//! another compiler makes other bytes; it also keeps SP1's toolchain out of an ordinary build.

/// The guest program for SP1's machine, as committed: `../build-guest.sh` made it from `program/`.
pub const ELF: &[u8] = include_bytes!("../fibonacci.elf");

/// Bincode of the guest's verifying key, as SP1 6.10 derives it from [`ELF`]: for clients that register the
/// guest without a prover.
pub const VERIFYING_KEY: &[u8] = include_bytes!("../fibonacci.vk");

/// The id under which the SDK registers the guest: `hash_bytes` of [`VERIFYING_KEY`].
pub const VK_HASH: [u8; 32] = [
    0x30, 0xd5, 0xe5, 0xae, 0x57, 0xf6, 0x56, 0xb0, 0x4c, 0x34, 0x38, 0xdc, 0x0e, 0x68, 0xc5, 0x96,
    0x40, 0x6e, 0xa4, 0x61, 0x74, 0x0e, 0xed, 0xfe, 0x48, 0xba, 0x35, 0xa7, 0x2c, 0xe9, 0xfa, 0xc3,
];

/// The input that makes the guest panic with "asked to panic", before it has committed anything.
pub const PANICKING_INPUT: u32 = u32::MAX;

/// The guest's modulus.
const MODULUS: u32 = 7919;

/// The public values of a run with input `n`: `n`, `F(n) mod 7919` and `F(n + 1) mod 7919`, each as four
/// little-endian bytes.
///
/// Takes `n` steps, as the guest does. [`PANICKING_INPUT`] is computed like any other number here,
/// although no run ever commits the result.
#[must_use]
pub fn public_values(n: u32) -> Vec<u8> {
    let (mut a, mut b) = (0, 1);
    for _ in 0..n {
        (a, b) = (b, (a + b) % MODULUS);
    }
    [n, a, b].into_iter().flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn expected(n: u32, a: u32, b: u32) -> Vec<u8> {
        [n.to_le_bytes(), a.to_le_bytes(), b.to_le_bytes()].concat()
    }

    #[test]
    fn small_inputs_give_the_plain_fibonacci_numbers() {
        assert_eq!(public_values(0), expected(0, 0, 1));
        assert_eq!(public_values(1), expected(1, 1, 1));
        assert_eq!(public_values(2), expected(2, 1, 2));
        assert_eq!(public_values(10), expected(10, 55, 89));
    }

    #[test]
    fn numbers_above_the_modulus_are_reduced() {
        // F(20) = 6765 is the last one below the modulus, F(21) = 10946 the first above.
        assert_eq!(public_values(20), expected(20, 6765, 10_946 - 7919));

        // As far as the exact numbers fit.
        let (mut a, mut b) = (0_u128, 1_u128);
        for n in 0..=184 {
            let modulus = u128::from(MODULUS);
            assert_eq!(public_values(n), expected(n, (a % modulus) as u32, (b % modulus) as u32));
            (a, b) = (b, a + b);
        }
    }

    #[test]
    fn public_values_are_twelve_little_endian_bytes() {
        assert_eq!(public_values(10), [10, 0, 0, 0, 55, 0, 0, 0, 89, 0, 0, 0]);
    }

    #[test]
    fn the_elf_is_the_one_whose_sha256_is_recorded() {
        let recorded = include_str!("../fibonacci.elf.sha256");
        let computed = hex::encode(Sha256::digest(ELF));
        assert_eq!(recorded, format!("{computed}  fibonacci.elf\n"));
    }
}
