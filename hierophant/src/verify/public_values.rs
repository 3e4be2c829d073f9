//! Digest of a proof's public values, which the proof commits to and the attempt reports.

use network_lib::ids::Sha256Digest;
use sp1_hypercube::PrimeField32;
use sp1_verifier::{blake3_hash, sha256_hash};

use super::rejection::Rejection;

/// The digest of the public values that the attempt reported. A program hashes them with SHA-256 or
/// with BLAKE3, and nothing but the digest tells which.
pub(super) fn reported_hash(values: &[u8], reported: Sha256Digest) -> Result<[u8; 32], Rejection> {
    if reported.0 == sha256_hash(values) || reported.0 == blake3_hash(values) {
        return Ok(reported.0);
    }
    Err(Rejection::OtherPublicValues)
}

/// Whether the digest inside a STARK, one field element for each byte, is this one.
pub(super) fn is_committed<F: PrimeField32>(digest: &[[F; 4]; 8], hash: [u8; 32]) -> bool {
    let committed = digest.as_flattened().iter().map(F::as_canonical_u32);
    committed.eq(hash.map(u32::from))
}
