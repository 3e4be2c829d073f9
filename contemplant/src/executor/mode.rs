//! Kinds of proof as SP1 names them.

use network_lib::job::ProofMode;
use sp1_verifier::SP1ProofMode;

/// SP1's name of a kind of proof.
pub(super) const fn sp1_mode(mode: ProofMode) -> SP1ProofMode {
    match mode {
        ProofMode::Core => SP1ProofMode::Core,
        ProofMode::Compressed => SP1ProofMode::Compressed,
        ProofMode::Plonk => SP1ProofMode::Plonk,
        ProofMode::Groth16 => SP1ProofMode::Groth16,
    }
}
