//! What travels: uploads in the form of the SDK, and small stand-ins for proofs and executions.

use std::time::{SystemTime, UNIX_EPOCH};

use network_lib::ids::Sha256Digest;
use network_lib::job::{BlobInfo, Execution};
use sha2::{Digest, Sha256};

/// Compression level of SDK 6.
const LEVEL: i32 = 3;

/// What the pretended program commits to.
pub const PUBLIC_VALUES: &[u8] = b"public values";

/// A made-up execution that committed to [`PUBLIC_VALUES`].
#[must_use]
pub fn execution() -> Execution {
    execution_with(PUBLIC_VALUES)
}

/// A made-up execution that committed to these values.
#[must_use]
pub fn execution_with(public_values: &[u8]) -> Execution {
    let public_values_hash = Sha256Digest(Sha256::digest(public_values).into());
    Execution { cycles: 12_345, gas: Some(67_890), public_values_hash }
}

/// Size and digest of some bytes.
#[must_use]
pub fn blob(bytes: &[u8]) -> BlobInfo {
    let sha256 = Sha256Digest(Sha256::digest(bytes).into());
    BlobInfo { size: bytes.len() as u64, sha256 }
}

/// A mock Core proof of [`PUBLIC_VALUES`], byte for byte as SP1's mock prover makes it.
#[must_use]
pub fn core_proof() -> Vec<u8> {
    core_proof_with(PUBLIC_VALUES)
}

/// A mock Core proof with these public values: its kind, no shards, the values, the version.
#[must_use]
pub fn core_proof_with(public_values: &[u8]) -> Vec<u8> {
    let text = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    [&[0; 4], [0; 8].as_slice(), &text(public_values), &text(b"v6.1.0")].concat()
}

/// An upload that begins like a program, in the form of SDK 6.
#[must_use]
pub fn program_upload() -> Vec<u8> {
    program_body(b"\x7fELF pretends to be a program")
}

/// An ELF as SDK 6 uploads it: length and bytes, compressed.
///
/// # Panics
///
/// Never: compressing in memory does not fail.
#[must_use]
pub fn program_body(elf: &[u8]) -> Vec<u8> {
    let wrapped = [&(elf.len() as u64).to_le_bytes(), elf].concat();
    zstd::encode_all(wrapped.as_slice(), LEVEL).expect("compresses in memory")
}

/// Bytes as SDK 6 compresses uploads.
///
/// # Panics
///
/// Never: compressing in memory does not fail.
#[must_use]
pub fn compressed(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, LEVEL).expect("compresses in memory")
}

/// An `SP1Stdin` that holds one `u32`, as SDK 6 uploads it.
///
/// # Panics
///
/// Never: compressing in memory does not fail.
#[must_use]
pub fn stdin_of_u32(n: u32) -> Vec<u8> {
    let mut stdin = Vec::new();
    // One buffer of four bytes, read position 0, no proofs.
    stdin.extend(1_u64.to_le_bytes());
    stdin.extend(4_u64.to_le_bytes());
    stdin.extend(n.to_le_bytes());
    stdin.extend(0_u64.to_le_bytes());
    stdin.extend(0_u64.to_le_bytes());
    zstd::encode_all(stdin.as_slice(), LEVEL).expect("compresses in memory")
}

/// Unix seconds, as a client counts them.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
