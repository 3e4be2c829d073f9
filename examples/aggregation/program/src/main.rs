//! An aggregation guest: it verifies Compressed proofs of one other program, as a rollup's aggregation does with the
//! proofs of its ranges.
//!
//! It reads the other program's verifying key, hashed to eight words, and the SHA-256 digests of the public values of
//! the proofs. The proofs themselves are in the input in the same order, outside of the memory that the guest sees: each
//! call of `verify_sp1_proof` is a claim that SP1's recursion proves. The guest commits the key and the digests, so
//! that its own proof says what was proved.

#![no_main]

sp1_zkvm::entrypoint!(main);

fn main() {
    let key = sp1_zkvm::io::read::<[u32; 8]>();
    let digests = sp1_zkvm::io::read::<Vec<[u8; 32]>>();
    sp1_zkvm::io::commit(&key);
    for digest in &digests {
        sp1_zkvm::lib::verify::verify_sp1_proof(&key, digest);
        sp1_zkvm::io::commit_slice(digest);
    }
}
