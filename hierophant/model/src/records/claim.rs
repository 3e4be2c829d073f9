//! Claim that a proof must satisfy.

use network_lib::handshake::Backend;
use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Execution, JobSpec, ProofMode};

/// Claim that a proof must satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Registered program.
    pub vk_hash: VkHash,
    /// Requested kind of proof.
    pub mode: ProofMode,
    /// Requested circuit version, such as `v6.1.0`.
    pub circuit_version: String,
    /// Digest of the public values, as reported by the attempt.
    pub public_values_hash: Sha256Digest,
    /// Backend that made the proof.
    pub backend: Backend,
}

impl Claim {
    /// The claim of an attempt at `spec` on this backend, which reported `execution`.
    #[must_use]
    pub fn new(spec: &JobSpec, execution: &Execution, backend: Backend) -> Self {
        Self {
            vk_hash: spec.vk_hash,
            mode: spec.mode,
            circuit_version: spec.circuit_version.clone(),
            public_values_hash: execution.public_values_hash,
            backend,
        }
    }
}
