//! Proofs in a program's input, which an aggregation program verifies: each must be one of the program beside it.
//!
//! SP1's executor can verify them too. It is not asked to, because it knows no exception for mock proofs, and because
//! its verifier panics on some malformed proofs, which would count as this machine's failure.

use std::borrow::Borrow;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass};
use sp1_core_executor::SP1RecursionProof;
use sp1_hypercube::{
    HashableKey, MachineVerifyingKey, PrimeField32, SP1PcsProofInner, SP1VerifyingKey,
};
use sp1_node::{LightNode, mock_proof};
use sp1_primitives::io::SP1PublicValues;
use sp1_primitives::{SP1Field, SP1GlobalContext};
use sp1_prover::worker::DeferredInputs;
use sp1_recursion_executor::RecursionPublicValues;
use sp1_verifier::{SP1Proof, SP1ProofMode};

/// Words of a digest of proofs.
pub(super) const DIGEST_WORDS: usize = 8;

/// Most proofs that a message lists.
const LISTED: usize = 4;

/// A Compressed proof.
type Compressed = SP1RecursionProof<SP1GlobalContext, SP1PcsProofInner>;

/// A Compressed proof and the verifying key of its program, as `SP1Stdin::write_proof` adds them.
pub(super) type InputProof = (Compressed, MachineVerifyingKey<SP1GlobalContext>);

/// The proofs of an input, all valid.
pub(super) struct ValidProofs {
    proofs: Arc<Vec<InputProof>>,
    has_mock: bool,
}

/// Verifies proofs one after the other, each in about a second of processor time. Mock proofs of the key beside them are
/// valid if `accept_mock`.
///
/// # Errors
///
/// The first proof that is not valid, as the request's failure.
pub(super) async fn verify(
    node: LightNode,
    proofs: Arc<Vec<InputProof>>,
    accept_mock: bool,
) -> Result<ValidProofs, Failure> {
    let checking = tokio::task::spawn_blocking(move || -> Result<ValidProofs, Failure> {
        let mut has_mock = false;
        for (index, (proof, key)) in proofs.iter().enumerate() {
            let key = SP1VerifyingKey { vk: key.clone() };
            let is_mock = check(&node, proof, &key, accept_mock).map_err(|reason| {
                invalid(&format!("{} of {}", index + 1, proofs.len()), &key, &reason)
            })?;
            has_mock |= is_mock;
        }
        Ok(ValidProofs { proofs, has_mock })
    });
    checking.await.unwrap_or_else(|error| {
        let message = format!("the proofs in the input could not be verified: {error}");
        Err(Failure::new(FailureClass::Worker, message))
    })
}

/// Whether a valid proof is a mock proof; else why it is not valid.
fn check(
    node: &LightNode,
    proof: &Compressed,
    key: &SP1VerifyingKey,
    accept_mock: bool,
) -> Result<bool, String> {
    // Verification depends on nothing but the proof and the key, so a panic is theirs.
    let checked = catch_unwind(AssertUnwindSafe(|| {
        if !is_mock(proof, key) {
            let verified = node.verify(key, &SP1Proof::Compressed(Box::new(proof.clone())));
            return verified.map(|()| false).map_err(|error| format!("{error:#}"));
        }
        if accept_mock { Ok(true) } else { Err("it is a mock proof".to_owned()) }
    }));
    checked.unwrap_or_else(|_| Err("it is malformed".to_owned()))
}

/// Whether a proof is exactly SP1's mock proof of the program with this key.
fn is_mock(proof: &Compressed, key: &SP1VerifyingKey) -> bool {
    // Which no real proof can be.
    if !proof.proof.public_values.is_empty() {
        return false;
    }
    let mock = mock_proof(key, SP1PublicValues::new(), SP1ProofMode::Compressed);
    let SP1Proof::Compressed(mock) = mock.proof else { return false };
    match (bincode::serialize(&*mock), bincode::serialize(proof)) {
        (Ok(mock), Ok(proof)) => mock == proof,
        _ => false,
    }
}

fn invalid(which: &str, key: &SP1VerifyingKey, reason: &str) -> Failure {
    let message = format!(
        "invalid proof {which} in the input: expected a Compressed proof of the program with verifying key {}: {reason}",
        id_of(key)
    );
    Failure::new(FailureClass::Request, message)
}

/// The id of the program with this key. A malformed key may have none.
fn id_of(key: &SP1VerifyingKey) -> String {
    let id = catch_unwind(AssertUnwindSafe(|| VkHash(key.hash_bytes()).to_string()));
    id.unwrap_or_else(|_| "(malformed)".to_owned())
}

impl ValidProofs {
    /// The digest that a program commits if it claims exactly these proofs, in their order. Unknown with mock proofs,
    /// which carry no public values.
    pub(super) fn digest(&self) -> Option<[u32; DIGEST_WORDS]> {
        let proofs = self.proofs.iter().map(|(proof, _)| proof.clone());
        (!self.has_mock).then(|| {
            DeferredInputs::new(proofs).deferred_digest().map(|word| word.as_canonical_u32())
        })
    }

    /// The failure of a program that claims other proofs than these.
    pub(super) fn mismatch(&self) -> Failure {
        let count = self.proofs.len();
        let mut message = format!(
            "the program claims other proofs than the {count} in its input: expected one call of `verify_sp1_proof` for \
             each, in their order, with the hash of its verifying key and the SHA-256 digest of its public values"
        );
        for (index, (proof, key)) in self.proofs.iter().take(LISTED).enumerate() {
            let key = id_of(&SP1VerifyingKey { vk: key.clone() });
            let values = public_values_digest(proof);
            let _ = write!(message, "; proof {}: key {key}, public values {values}", index + 1);
        }
        if count > LISTED {
            let _ = write!(message, "; and {} more", count - LISTED);
        }
        Failure::new(FailureClass::Request, message)
    }
}

/// The digest that a valid proof's program has committed.
fn public_values_digest(proof: &Compressed) -> Sha256Digest {
    let values: &RecursionPublicValues<SP1Field> = proof.proof.public_values.as_slice().borrow();
    let mut digest = Sha256Digest([0; 32]);
    let committed = values.committed_value_digest.iter().flatten();
    for (byte, element) in digest.0.iter_mut().zip(committed) {
        *byte = element.as_canonical_u32() as u8;
    }
    digest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sp1_verifier::ProofFromNetwork;

    use super::*;

    const RECORDED: &[u8] = include_bytes!("../../../../hierophant/tests/proofs/compressed.zst");

    fn key(encoded: &[u8]) -> SP1VerifyingKey {
        bincode::deserialize(encoded).unwrap()
    }

    /// A real proof of the Fibonacci program, with its key.
    fn recorded() -> InputProof {
        let bytes = zstd::decode_all(RECORDED).unwrap();
        let proof: ProofFromNetwork = bincode::deserialize(&bytes).unwrap();
        let SP1Proof::Compressed(proof) = proof.proof else { panic!("not a Compressed proof") };
        (*proof, key(fibonacci::VERIFYING_KEY).vk)
    }

    /// SP1's mock proof of the program with key `of`, with the key `with`.
    fn mock(of: &[u8], with: &[u8]) -> InputProof {
        let mock = mock_proof(&key(of), SP1PublicValues::new(), SP1ProofMode::Compressed);
        let SP1Proof::Compressed(proof) = mock.proof else { panic!("not a Compressed proof") };
        (*proof, key(with).vk)
    }

    struct Verifier(LightNode);

    impl Verifier {
        async fn verify(
            &self,
            proofs: Vec<InputProof>,
            accept_mock: bool,
        ) -> Result<ValidProofs, Failure> {
            verify(self.0.clone(), Arc::new(proofs), accept_mock).await
        }

        /// Expects the refusal of an invalid second proof, whether mock proofs are accepted or not.
        async fn refuses(&self, proof: InputProof, reason: &str) {
            for accept_mock in [false, true] {
                let proofs = vec![recorded(), proof.clone()];
                let failure = self.verify(proofs, accept_mock).await.err().unwrap();
                assert_eq!((failure.class, failure.cause), (FailureClass::Request, None));
                let which = "invalid proof 2 of 2 in the input: expected a Compressed proof of the program with \
                             verifying key ";
                assert!(failure.message.starts_with(which), "{failure}");
                assert!(failure.message.contains(reason), "{failure}");
            }
        }
    }

    /// One test, since each verification computes for a while.
    #[tokio::test]
    async fn a_wrong_proof_is_the_request_s_fault_and_named() {
        let verifier = Verifier(LightNode::start().await);
        for accept_mock in [false, true] {
            let valid = verifier.verify(vec![recorded()], accept_mock).await.unwrap();
            assert!(valid.digest().is_some_and(|digest| digest != [0; DIGEST_WORDS]));
            let failure = valid.mismatch();
            assert_eq!(failure.class, FailureClass::Request);
            let key = VkHash(fibonacci::VK_HASH);
            assert!(failure.message.contains(&format!("proof 1: key {key}")), "{failure}");
        }
        let none = verifier.verify(Vec::new(), false).await.unwrap();
        assert_eq!(none.digest(), Some([0; DIGEST_WORDS]));

        let (proof, own) = recorded();
        let other_key = (proof.clone(), key(aggregation::VERIFYING_KEY).vk);
        verifier.refuses(other_key, "vk hash mismatch").await;

        let mut other_values = (proof.clone(), own.clone());
        other_values.0.proof.public_values.swap(0, 40);
        verifier.refuses(other_values, "invalid").await;

        let mut no_values = (proof.clone(), own.clone());
        no_values.0.proof.public_values.clear();
        verifier.refuses(no_values, "invalid public values length").await;

        let mut shortened = (proof.clone(), own.clone());
        shortened.0.proof.logup_gkr_proof.round_proofs.truncate(1);
        verifier.refuses(shortened, "").await;
    }

    #[tokio::test]
    async fn a_mock_proof_is_valid_only_for_a_mock_prover_and_with_its_own_key() {
        let verifier = Verifier(LightNode::start().await);
        let (ours, other) = (fibonacci::VERIFYING_KEY, aggregation::VERIFYING_KEY);
        let valid = verifier.verify(vec![mock(ours, ours)], true).await.unwrap();
        assert_eq!(valid.digest(), None);
        let refused = verifier.verify(vec![mock(ours, ours)], false).await.err().unwrap();
        assert_eq!(refused.class, FailureClass::Request);
        assert!(refused.message.ends_with("it is a mock proof"), "{refused}");
        verifier.refuses(mock(other, ours), "invalid public values length").await;
    }
}
