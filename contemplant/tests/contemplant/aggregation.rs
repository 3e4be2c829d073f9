//! Programs whose input carries proofs of another program, on the mock backend.

use std::sync::Arc;
use std::time::Duration;

use aggregation::CompressedProof;
use contemplant::executor::keys::KeyFiles;
use contemplant::executor::mock::MockExecutor;
use contemplant::executor::{EventSink, Executor, ProveJob, Proved};
use network_lib::ids::{LeaseId, Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass, JobSpec, ProofMode};
use sp1_core_machine::io::SP1Stdin;
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::SP1VerifyingKey;
use sp1_verifier::{ProofFromNetwork, SP1Proof};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::mock_backend::helper;

/// A real proof of the Fibonacci program with input 1000; see the README beside it.
const RECORDED: &[u8] = include_bytes!("../../../hierophant/tests/proofs/compressed.zst");

/// A program, with what a client knows of it.
#[derive(Clone, Copy)]
struct Guest {
    digest: Sha256Digest,
    elf: &'static [u8],
    key: &'static [u8],
    vk_hash: VkHash,
}

const FIBONACCI: Guest = Guest {
    digest: Sha256Digest([1; 32]),
    elf: fibonacci::ELF,
    key: fibonacci::VERIFYING_KEY,
    vk_hash: VkHash(fibonacci::VK_HASH),
};

const AGGREGATION: Guest = Guest {
    digest: Sha256Digest([2; 32]),
    elf: aggregation::ELF,
    key: aggregation::VERIFYING_KEY,
    vk_hash: VkHash(aggregation::VK_HASH),
};

impl Guest {
    fn verifying_key(self) -> SP1VerifyingKey {
        bincode::deserialize(self.key).unwrap()
    }
}

/// A mock executor to which both programs are known.
struct Mock {
    executor: MockExecutor,
    _folder: TempDir,
}

impl Mock {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFiles::new(&folder.path().join("keys"));
        for guest in [FIBONACCI, AGGREGATION] {
            keys.save(guest.digest, guest.key);
        }
        let modes = ProofMode::ALL.to_vec();
        let executor = MockExecutor::new(Duration::ZERO, modes, helper(folder.path()), keys);
        Self { executor, _folder: folder }
    }

    async fn prove(&self, guest: Guest, stdin: &SP1Stdin) -> Result<Proved, Failure> {
        let job = ProveJob {
            spec: JobSpec {
                vk_hash: guest.vk_hash,
                circuit_version: "v6.1.0".to_owned(),
                mode: ProofMode::Compressed,
                cycle_limit: u64::MAX,
                gas_limit: 0,
            },
            program_digest: guest.digest,
            elf: Arc::new(guest.elf.to_vec()),
            stdin: bincode::serialize(stdin).unwrap(),
        };
        let (sender, _events) = mpsc::unbounded_channel();
        let sink = EventSink::new(LeaseId::random(), sender);
        self.executor.prove(job, sink, CancellationToken::new()).await
    }

    /// Expects a refusal as the request's fault with these words.
    async fn refuses(&self, stdin: &SP1Stdin, words: &[&str]) {
        let failure = self.prove(AGGREGATION, stdin).await.unwrap_err();
        assert_eq!((failure.class, failure.cause), (FailureClass::Request, None), "{failure}");
        for words in words {
            assert!(failure.message.contains(words), "{words:?} is not in {failure}");
        }
    }
}

fn decoded(proof: &[u8]) -> (CompressedProof, SP1PublicValues) {
    let ProofFromNetwork { proof, public_values, .. } = bincode::deserialize(proof).unwrap();
    let SP1Proof::Compressed(proof) = proof else { panic!("not a Compressed proof") };
    (*proof, public_values)
}

fn recorded() -> (CompressedProof, SP1PublicValues) {
    decoded(&zstd::decode_all(RECORDED).unwrap())
}

#[tokio::test]
async fn recorded_proofs_are_aggregated() {
    let (mock, key) = (Mock::start(), FIBONACCI.verifying_key());
    let proofs = [recorded(), recorded()];
    let proved = mock.prove(AGGREGATION, &aggregation::input(&key, &proofs)).await.unwrap();
    let (_, values) = decoded(&proved.proof);
    assert_eq!(values.as_slice(), aggregation::public_values(&key, &proofs));
}

#[tokio::test]
async fn a_wrong_proof_is_refused_as_the_request_s_fault() {
    let (mock, key) = (Mock::start(), FIBONACCI.verifying_key());
    let right = aggregation::input(&key, &[recorded()]);
    let expected = format!(
        "invalid proof 1 of 1 in the input: expected a Compressed proof of the program with verifying key {}",
        FIBONACCI.vk_hash
    );

    let mut tampered = right.clone();
    tampered.proofs[0].0.proof.public_values.swap(0, 40);
    mock.refuses(&tampered, &[&expected]).await;

    let mut other_key = right.clone();
    other_key.proofs[0].1 = AGGREGATION.verifying_key().vk;
    let other = AGGREGATION.vk_hash.to_string();
    mock.refuses(&other_key, &[&other, "vk hash mismatch"]).await;

    // The executor serves the next job.
    mock.prove(AGGREGATION, &right).await.unwrap();
}

#[tokio::test]
async fn claims_of_other_proofs_than_those_in_the_input_are_refused() {
    let (mock, key) = (Mock::start(), FIBONACCI.verifying_key());
    let (proof, values) = recorded();
    let listed =
        format!("proof 1: key {}, public values {}", FIBONACCI.vk_hash, hex::encode(values.hash()));

    let other_values = SP1PublicValues::from(&fibonacci::public_values(999));
    let other_values = aggregation::input(&key, &[(proof.clone(), other_values)]);
    mock.refuses(&other_values, &["claims other proofs than the 1 in its input", &listed]).await;

    // Claimed as a proof of the aggregation program, but with its own key.
    let mut other_key =
        aggregation::input(&AGGREGATION.verifying_key(), &[(proof.clone(), values.clone())]);
    other_key.proofs[0].1 = key.vk.clone();
    mock.refuses(&other_key, &["claims other proofs than the 1 in its input", &listed]).await;

    let right = aggregation::input(&key, &[(proof, values)]);
    let mut missing = right.clone();
    missing.proofs.clear();
    mock.refuses(&missing, &["claims other proofs than the 0 in its input"]).await;

    let mut one_too_many = right.clone();
    one_too_many.proofs.push(right.proofs[0].clone());
    mock.refuses(&one_too_many, &["claims other proofs than the 2 in its input"]).await;
}

#[tokio::test]
async fn a_chain_of_mock_proofs_is_proved() {
    let (mock, key) = (Mock::start(), FIBONACCI.verifying_key());
    let mut stdin = SP1Stdin::new();
    stdin.write(&10_u32);
    let inner = decoded(&mock.prove(FIBONACCI, &stdin).await.unwrap().proof);
    // A real proof may be beside a mock one.
    let proofs = [inner, recorded()];
    let proved = mock.prove(AGGREGATION, &aggregation::input(&key, &proofs)).await.unwrap();
    let (_, values) = decoded(&proved.proof);
    assert_eq!(values.as_slice(), aggregation::public_values(&key, &proofs));

    // As a proof of another program.
    let (proof, values) = proofs[0].clone();
    let other = aggregation::input(&AGGREGATION.verifying_key(), &[(proof, values)]);
    mock.refuses(&other, &["invalid proof 1 of 1 in the input"]).await;
}
