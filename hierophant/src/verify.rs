//! What is checked of a proof before a client may have it.
//!
//! A proof arrives as bincode of SP1's `ProofFromNetwork`, whose first four bytes name the kind of
//! proof (contract, section 4.2).

use network_lib::ids::ArtifactId;
use network_lib::job::{Failure, FailureClass, ProofMode};

use crate::artifacts::blobs::Blobs;

/// Checks stored proofs.
#[derive(Debug, Clone)]
pub struct ProofChecker {
    blobs: Blobs,
}

impl ProofChecker {
    /// A checker of the proofs in `blobs`.
    #[must_use]
    pub const fn new(blobs: Blobs) -> Self {
        Self { blobs }
    }

    /// Whether the bytes of a proof are there.
    pub async fn holds(&self, proof: ArtifactId) -> bool {
        self.blobs.read(proof).await.is_ok()
    }

    /// Checks that a stored proof is of the wanted kind.
    ///
    /// # Errors
    ///
    /// The failure of the attempt that made it: by the worker's fault if the proof is not what it
    /// should be, by nobody's if it cannot be read.
    pub async fn check(&self, proof: ArtifactId, mode: ProofMode) -> Result<(), Failure> {
        let head = self.blobs.read_head(proof, 4).await.map_err(|error| Failure {
            class: FailureClass::Infrastructure,
            cause: None,
            message: format!("the stored proof cannot be read: {error}"),
        })?;
        let expected = match mode {
            ProofMode::Core => 0_u32,
            ProofMode::Compressed => 1,
            ProofMode::Plonk => 2,
            ProofMode::Groth16 => 3,
        };
        if head == expected.to_le_bytes() {
            return Ok(());
        }
        Err(Failure {
            class: FailureClass::Worker,
            cause: None,
            message: format!("the Contemplant handed in something that is no {mode} proof"),
        })
    }
}
