//! The example program of this repository as the subject of tests: a small proof whose result is known.

use std::sync::Arc;

use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{JobSpec, ProofMode};
use sha2::{Digest, Sha256};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::SP1_CIRCUIT_VERSION;

use super::ProveJob;

/// Input of the program: about twenty thousand cycles.
pub const N: u32 = 1000;

/// A job to prove the program with input [`N`].
///
/// # Errors
///
/// When the input cannot be encoded.
pub fn job(mode: ProofMode) -> Result<ProveJob, String> {
    Ok(ProveJob {
        spec: JobSpec {
            vk_hash: VkHash(fibonacci::VK_HASH),
            circuit_version: SP1_CIRCUIT_VERSION.to_owned(),
            mode,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program_digest: digest(),
        elf: Arc::new(fibonacci::ELF.to_vec()),
        stdin: bincode::serialize(&input()).map_err(|error| error.to_string())?,
    })
}

/// Digest of the program.
pub(super) fn digest() -> Sha256Digest {
    Sha256Digest(Sha256::digest(fibonacci::ELF).into())
}

/// The input [`N`].
pub(super) fn input() -> SP1Stdin {
    let mut stdin = SP1Stdin::new();
    stdin.write(&N);
    stdin
}
