//! SP1's verifiers.

use std::sync::OnceLock;

use sp1_verifier::compressed::SP1CompressedVerifier;

/// SP1's verifiers, each built for the first proof of its kind.
#[derive(Default)]
pub(super) struct Verifiers {
    pub(super) compressed: OnceLock<SP1CompressedVerifier>,
    #[cfg(feature = "core-verification")]
    pub(super) core: OnceLock<sp1_prover::verify::SP1Verifier>,
}

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifiers").finish_non_exhaustive()
    }
}

#[cfg(feature = "core-verification")]
impl Verifiers {
    /// SP1's verifier of parts of proofs and of Core proofs.
    pub(super) fn sp1(&self) -> &sp1_prover::verify::SP1Verifier {
        use sp1_prover::verify::{SP1Verifier, VerifierRecursionVks};
        self.core.get_or_init(|| SP1Verifier::new(VerifierRecursionVks::default()))
    }
}
