//! What a proof has to be.

use network_lib::handshake::Backend;
use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Execution, JobSpec, ProofMode};

/// What a proof has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The registered program.
    pub vk_hash: VkHash,
    /// Kind of proof that the request wants.
    pub mode: ProofMode,
    /// Circuit version that the request wants, such as `v6.1.0`.
    pub circuit_version: String,
    /// Digest of the public values, as the attempt reported them.
    pub public_values_hash: Sha256Digest,
    /// What made the proof.
    pub backend: Backend,
}

impl Claim {
    /// The claim of an attempt at `spec` by a Contemplant with this backend, which reported `execution`.
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
