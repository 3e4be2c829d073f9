//! Proofs handed in by Contemplants: only what was asked for passes. The real proofs are in
//! `tests/proofs`, whose README says how they were made.

mod contained;

use std::sync::Arc;

use hierophant::artifacts::blobs::Blobs;
use hierophant::config::Config;
use hierophant::verify::{CIRCUIT_VERSION, ProofChecker};
use hierophant_model::records::{Change, Claim, Millis, ProgramRecord, ProgramState};
use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use hierophant_store::JobStore;
use hierophant_store::sqlite;
use network_lib::handshake::Backend;
use network_lib::ids::{ArtifactId, Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass, ProofMode};
use pb::FulfillmentStatus;
use prost::Message as _;
use sha2::{Digest, Sha256};
use sp1_hypercube::SP1VerifyingKey;
use sp1_primitives::io::SP1PublicValues;
use sp1_verifier::{ProofFromNetwork, SP1Proof, blake3_hash};
use tempfile::TempDir;
use tonic::Code;

use crate::support::proofs::{encoded, key_of, mock, registered};
use crate::support::{self, Client, Network, Worker, assert_code, execution_with, hello};

/// What the mock proofs of these tests commit to.
const VALUES: &[u8] = b"values of a mock proof";

/// The kinds of which there is a real proof that this build can check.
const REAL: &[ProofMode] = if cfg!(feature = "core-verification") {
    &[ProofMode::Core, ProofMode::Compressed]
} else {
    &[ProofMode::Compressed]
};

/// A file of `tests/proofs`; Cargo starts tests in their package's folder.
fn fixture(name: &str) -> Vec<u8> {
    let path = format!("tests/proofs/{name}.zst");
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    zstd::decode_all(file).expect("zstd")
}

/// The real proof of this kind.
fn real(mode: ProofMode) -> Vec<u8> {
    fixture(mode.as_str())
}

fn decoded(proof: &[u8]) -> ProofFromNetwork {
    bincode::deserialize(proof).expect("a proof")
}

/// The key of the program that the real proofs are of.
fn real_key() -> SP1VerifyingKey {
    bincode::deserialize(&fixture("verifying-key")).expect("a key")
}

fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

/// Checks bytes against claims, as Hierophant does with what a Contemplant handed in.
struct Bench {
    folder: TempDir,
    blobs: Blobs,
    store: Arc<dyn JobStore>,
    checker: ProofChecker,
}

impl Bench {
    async fn new(mock_mode: bool) -> Self {
        Self::with(|config| config.mock_mode = mock_mode).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("temp dir");
        let blobs = Blobs::open(&folder.path().join("artifacts")).expect("opens");
        Self::on(folder, blobs, change).await
    }

    async fn on(folder: TempDir, blobs: Blobs, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::for_test(folder.path().join("data"));
        config.check_program = Some(env!("CARGO_BIN_EXE_hierophant").into());
        change(&mut config);
        let store = sqlite::open(&folder.path().join("db"), ()).await.expect("opens");
        let checker =
            ProofChecker::open(&config, blobs.clone(), Arc::clone(&store)).expect("opens");
        Self { folder, blobs, store, checker }
    }

    async fn register(&self, vk_hash: [u8; 32], vk: Vec<u8>) -> VkHash {
        let program = ProgramRecord {
            vk_hash: VkHash(vk_hash),
            vk,
            artifact: ArtifactId::random(),
            blob: support::blob(b"a program"),
            owner: alloy_primitives::Address::ZERO,
            client: None,
            state: ProgramState::Claimed,
            created_at: Millis::now(),
        };
        self.store.commit(&[Change::Program(program)]).await.expect("stores");
        VkHash(vk_hash)
    }

    async fn store_proof(&self, bytes: &[u8]) -> ArtifactId {
        let mut writer = self.blobs.begin(None);
        writer.write(bytes.to_vec().into()).await.expect("writes");
        let staged = writer.finish().await.expect("finishes");
        let id = ArtifactId::random();
        self.blobs.adopt(staged, id).await.expect("adopts");
        id
    }

    async fn check(&self, bytes: &[u8], claim: &Claim) -> Result<(), Failure> {
        let proof = self.store_proof(bytes).await;
        self.checker.check(proof, claim.clone()).await
    }

    /// What the real proof of this kind is, with its program registered.
    async fn real_claim(&self, mode: ProofMode) -> Claim {
        let (vk_hash, vk) = registered(&real_key());
        let vk_hash = self.register(vk_hash, vk).await;
        let values = decoded(&real(mode)).public_values.to_vec();
        let circuit_version = CIRCUIT_VERSION.to_owned();
        let public_values_hash = sha256(&values);
        Claim { vk_hash, mode, circuit_version, public_values_hash, backend: Backend::Cpu }
    }

    /// What a mock proof for `key` is, with its program registered.
    async fn mock_claim(&self, mode: ProofMode, key: &SP1VerifyingKey) -> Claim {
        let (vk_hash, vk) = registered(key);
        let vk_hash = self.register(vk_hash, vk).await;
        let circuit_version = CIRCUIT_VERSION.to_owned();
        let public_values_hash = sha256(VALUES);
        Claim { vk_hash, mode, circuit_version, public_values_hash, backend: Backend::Mock }
    }
}

#[track_caller]
fn assert_refused(verdict: Result<(), Failure>, class: FailureClass, text: &str) {
    let failure = verdict.expect_err(text);
    assert_eq!(failure.class, class, "{failure}");
    assert!(failure.message.contains(text), "{failure:?} does not say {text:?}");
}

#[tokio::test]
async fn real_proofs_pass() {
    // Whatever the setting: it allows mock proofs, it does not ask for them.
    for mock_mode in [false, true] {
        let bench = Bench::new(mock_mode).await;
        for &mode in REAL {
            let claim = bench.real_claim(mode).await;
            let proof = real(mode);
            bench.check(&proof, &claim).await.expect("a real proof");
            bench.check(&[&proof[..], &[0]].concat(), &claim).await.expect("as SP1 saves it");
        }
    }
}

#[tokio::test]
async fn a_real_proof_is_of_one_program_and_of_one_execution() {
    let bench = Bench::new(false).await;
    for &mode in REAL {
        let claim = bench.real_claim(mode).await;
        let (proof, worker) = (real(mode), FailureClass::Worker);

        let others = Claim { public_values_hash: sha256(b"others"), ..claim.clone() };
        assert_refused(bench.check(&proof, &others).await, worker, "other public values");
        let mut changed = decoded(&proof);
        changed.public_values = SP1PublicValues::from(b"others");
        let verdict = bench.check(&encoded(&changed), &others).await;
        assert_refused(verdict, worker, "does not commit to its public values");
        let hash = blake3_hash(changed.public_values.as_slice());
        let blake3 = Claim { public_values_hash: Sha256Digest(hash), ..claim.clone() };
        let verdict = bench.check(&encoded(&changed), &blake3).await;
        assert_refused(verdict, worker, "does not commit to its public values");

        // Another program altogether, and one that differs in its code alone.
        let (vk_hash, vk) = registered(&key_of(1));
        let other = Claim { vk_hash: bench.register(vk_hash, vk).await, ..claim.clone() };
        assert_refused(bench.check(&proof, &other).await, worker, "of another program");
        let mut key = real_key();
        key.vk.preprocessed_commit = key_of(1).vk.preprocessed_commit;
        let (vk_hash, vk) = registered(&key);
        let other = Claim { vk_hash: bench.register(vk_hash, vk).await, ..claim.clone() };
        let text = if mode == ProofMode::Core { "does not verify" } else { "of another program" };
        assert_refused(bench.check(&proof, &other).await, worker, text);
    }
}

#[tokio::test]
async fn a_proof_of_another_kind_or_version_is_refused() {
    let bench = Bench::new(false).await;
    for &mode in REAL {
        let claim = bench.real_claim(mode).await;
        let proof = real(mode);
        for other in ProofMode::ALL.into_iter().filter(|&other| other != mode) {
            let verdict = bench.check(&proof, &Claim { mode: other, ..claim.clone() }).await;
            let text = format!("a {mode} proof was handed in: expected a {other} proof");
            assert_refused(verdict, FailureClass::Worker, &text);
        }
        let mut old = decoded(&proof);
        old.sp1_version = "v5.0.0".into();
        let verdict = bench.check(&encoded(&old), &claim).await;
        assert_refused(verdict, FailureClass::Worker, "circuit version \"v5.0.0\"");
        let wanted = Claim { circuit_version: "v5.0.0".into(), ..claim };
        let verdict = bench.check(&encoded(&old), &wanted).await;
        assert_refused(
            verdict,
            FailureClass::Request,
            "cannot verify proofs of circuit version v5.0.0",
        );
    }
}

#[tokio::test]
async fn a_damaged_proof_is_refused_wherever_the_damage_is() {
    let bench = Bench::new(false).await;
    for &mode in REAL {
        let claim = bench.real_claim(mode).await;
        let proof = real(mode);
        // Seventeen places, from the kind at the beginning to the version at the end.
        for part in 0..=16 {
            let place = (proof.len() - 1) * part / 16;
            let mut damaged = proof.clone();
            damaged[place] ^= 0x10;
            let failure = bench.check(&damaged, &claim).await.expect_err("damaged");
            assert_eq!(failure.class, FailureClass::Worker, "byte {place}: {failure}");

            let verdict = bench.check(&proof[..place], &claim).await;
            let text = if place == 0 { "empty" } else { "truncated" };
            assert_refused(verdict, FailureClass::Worker, text);
        }
        let verdict = bench.check(&[&proof[..], b"and more"].concat(), &claim).await;
        assert_refused(verdict, FailureClass::Worker, "8 unexpected bytes after the proof");
    }
}

#[tokio::test]
async fn bytes_that_are_no_proof_are_refused() {
    let bench = Bench::new(true).await;
    let noise: Vec<u8> = (0..100_000_u64).flat_map(|n| Sha256::digest(n.to_le_bytes())).collect();
    for mode in ProofMode::ALL {
        let claim = bench.mock_claim(mode, &key_of(1)).await;
        let kind = &encoded(&mock(mode, &key_of(1), VALUES))[..4];
        let lengths = [kind, &[0xff; 4096]].concat();
        let zeros = [kind, &[0; 1 << 20]].concat();
        let after_kind = [kind, &noise].concat();
        let cases = [&[][..], b"x", b"no proof at all", &noise, &lengths, &zeros, &after_kind];
        for bytes in cases {
            let failure = bench.check(bytes, &claim).await.expect_err("no proof");
            assert_eq!(failure.class, FailureClass::Worker, "{mode}: {failure}");
        }
    }
}

#[tokio::test]
async fn hostile_changes_of_a_real_proof_never_pass_and_never_stop_the_checker() {
    let bench = Bench::new(false).await;
    for &mode in REAL {
        let claim = bench.real_claim(mode).await;
        let proof = real(mode);
        // Lengths live in the first kilobytes as much as anywhere: each is tried as too large and as
        // too small.
        for place in (4..400).step_by(12) {
            for value in [[0xff; 8], [0; 8], [1, 0, 0, 0, 0, 0, 0, 0]] {
                let mut hostile = proof.clone();
                if hostile[place..place + 8] == value {
                    continue;
                }
                hostile[place..place + 8].copy_from_slice(&value);
                let failure = bench.check(&hostile, &claim).await.expect_err("hostile");
                assert_eq!(failure.class, FailureClass::Worker, "byte {place}: {failure}");
            }
        }
        bench.check(&proof, &claim).await.expect("the checker still works");
    }
}

#[tokio::test]
async fn mock_proofs_pass_only_from_mock_backends_and_only_in_mock_mode() {
    let (allowing, strict) = (Bench::new(true).await, Bench::new(false).await);
    let key = key_of(7);
    for mode in ProofMode::ALL {
        let bytes = encoded(&mock(mode, &key, VALUES));
        let claim = allowing.mock_claim(mode, &key).await;
        allowing.check(&bytes, &claim).await.expect("mock proof of a mock backend");
        strict.mock_claim(mode, &key).await;
        let verdict = strict.check(&bytes, &claim).await;
        assert_refused(verdict, FailureClass::Worker, "`mock_mode` is off");
        for backend in [Backend::Cpu, Backend::Cuda] {
            for bench in [&allowing, &strict] {
                let verdict = bench.check(&bytes, &Claim { backend, ..claim.clone() }).await;
                let text =
                    format!("a mock proof, from a worker whose backend is {}", backend.as_str());
                assert_refused(verdict, FailureClass::Worker, &text);
            }
        }
    }
}

#[tokio::test]
async fn what_a_mock_proof_carries_is_compared() {
    let bench = Bench::new(true).await;
    let (key, worker) = (key_of(7), FailureClass::Worker);
    for mode in ProofMode::ALL {
        let claim = bench.mock_claim(mode, &key).await;
        let others = encoded(&mock(mode, &key, b"others"));
        assert_refused(bench.check(&others, &claim).await, worker, "other public values");
        let mut old = mock(mode, &key, VALUES);
        old.sp1_version = "v6.0.0".into();
        assert_refused(bench.check(&encoded(&old), &claim).await, worker, "v6.0.0");
        if mode != ProofMode::Core {
            let other = encoded(&mock(mode, &key_of(8), VALUES));
            assert_refused(bench.check(&other, &claim).await, worker, "of another program");
        }
    }
    let claim = bench.mock_claim(ProofMode::Plonk, &key).await;
    let changed = |number: usize, value: &str| {
        let mut proof = mock(ProofMode::Plonk, &key, VALUES);
        let SP1Proof::Plonk(plonk) = &mut proof.proof else { unreachable!("asked for PLONK") };
        plonk.public_inputs[number] = value.to_owned();
        encoded(&proof)
    };
    for (number, text) in [(1, "does not commit"), (2, "exit code 9")] {
        assert_refused(bench.check(&changed(number, "9"), &claim).await, worker, text);
        assert_refused(
            bench.check(&changed(number, "x"), &claim).await,
            worker,
            "a number of 256 bits",
        );
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_the_requests_fault_and_a_missing_proof_is_nobodys() {
    let bench = Bench::new(true).await;
    let key = key_of(7);
    let bytes = encoded(&mock(ProofMode::Compressed, &key, VALUES));
    let claim = bench.mock_claim(ProofMode::Compressed, &key).await;
    let (vk_hash, vk) = registered(&key);

    for (vk, text) in [
        (vec![1; 130], "130 bytes are not a verifying key"),
        (vec![0xff; 104], "key of program"),
        (vk[..50].to_vec(), "50 bytes are not a verifying key"),
        (vec![], "0 bytes are not a verifying key"),
        (registered(&key_of(8)).1, "key of program"),
    ] {
        bench.register(vk_hash, vk).await;
        assert_refused(bench.check(&bytes, &claim).await, FailureClass::Request, text);
    }
    bench.register(vk_hash, vk).await;
    bench.check(&bytes, &claim).await.expect("with its own key");

    let nobodys = FailureClass::Infrastructure;
    let verdict = bench.checker.check(ArtifactId::random(), claim.clone()).await;
    assert_refused(verdict, nobodys, "cannot read the stored proof");
    let unknown = Claim { vk_hash: VkHash([9; 32]), ..claim };
    assert_refused(bench.check(&bytes, &unknown).await, nobodys, "no longer registered");
}

#[tokio::test]
async fn many_checks_at_once_all_end() {
    let bench = Bench::new(false).await;
    let mode = ProofMode::Compressed;
    let claim = bench.real_claim(mode).await;
    let proof = real(mode);
    let (good, bad) = (bench.store_proof(&proof).await, bench.store_proof(&proof[..1000]).await);
    let checks = (0..8).map(|n| {
        let (checker, claim) = (bench.checker.clone(), claim.clone());
        async move { checker.check(if n % 2 == 0 { good } else { bad }, claim).await.is_ok() }
    });
    let verdicts = futures_util::future::join_all(checks).await;
    assert_eq!(verdicts, [true, false, true, false, true, false, true, false]);
}

#[cfg(not(feature = "core-verification"))]
#[tokio::test]
async fn without_the_feature_a_core_proof_is_never_accepted_unchecked() {
    let bench = Bench::new(false).await;
    let claim = bench.real_claim(ProofMode::Core).await;
    let verdict = bench.check(&real(ProofMode::Core), &claim).await;
    assert_refused(verdict, FailureClass::Request, "this build cannot verify core proofs");
}

/// A network that takes real proofs only, and a client with the program of the real proofs registered
/// and an input uploaded.
async fn strict_network(mode: pb::ProofMode) -> (Network, Client, support::Ask) {
    let network = Network::start_with(|config| config.mock_mode = false).await;
    let mut client = Client::connect(&network).await;
    let (vk_hash, vk) = registered(&real_key());
    client.register_key(vk_hash, vk).await;
    let mut ask = client.ask_for(vk_hash, b"input").await;
    ask.mode = mode as i32;
    (network, client, ask)
}

#[tokio::test]
async fn wrong_proofs_never_reach_a_client_and_the_right_one_does() {
    let (network, mut client, ask) = strict_network(pb::ProofMode::Compressed).await;
    let id = client.ask(&ask).await.expect("accepted");
    let proof = real(ProofMode::Compressed);
    let values = decoded(&proof).public_values.to_vec();
    let mut other_values = decoded(&proof);
    other_values.public_values = SP1PublicValues::from(b"others");
    let attempts = [
        (proof[..proof.len() / 2].to_vec(), execution_with(&values)),
        (encoded(&other_values), execution_with(b"others")),
        (proof.clone(), execution_with(&values)),
    ];
    let mut hello = hello();
    hello.capabilities.backend = Backend::Cpu;
    let mut worker = Worker::join(&network, hello).await;
    for (bytes, execution) in attempts {
        worker.prove_next_of(&bytes, execution).await;
        let status = client.status(&id).await;
        assert!(status.proof_uri.is_none() || bytes == proof, "a wrong proof is offered");
    }
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    let answer = client.http.get(status.proof_uri.expect("URI")).send().await.expect("sends");
    assert_eq!(answer.bytes().await.expect("bytes"), proof);
    let programs = network.json("/api/v1/programs").await;
    assert_eq!(programs[0]["state"], "confirmed", "a proof was accepted: {programs}");
}

#[tokio::test]
async fn a_request_whose_proof_could_not_be_checked_is_refused_before_any_work() {
    let (_network, mut client, ask) = strict_network(pb::ProofMode::Compressed).await;
    client.ask(&ask).await.expect("accepted");

    let mut old = ask.clone();
    old.version = "sp1-v5.0.0".into();
    let text = "cannot verify proofs of circuit version v5.0.0";
    assert_code(client.ask(&old).await, Code::FailedPrecondition, text);
    let program_uri = client.upload(ArtifactType::Program, &support::program_upload()).await;
    let (vk_hash, vk) = (vec![1; 32], vec![1; 130]);
    let no_key = pb::CreateProgramBody { nonce: 0, vk_hash, vk, program_uri }.encode_to_vec();
    let answer = client.network.create_program(client.envelope(no_key)).await;
    let text = "130 bytes are not a verifying key of SP1 v6.1.0";
    assert_code(answer, Code::InvalidArgument, text);

    let mut core = ask.clone();
    core.mode = pb::ProofMode::Core as i32;
    let answer = client.ask(&core).await;
    if cfg!(feature = "core-verification") {
        answer.expect("accepted");
    } else {
        let text = "this build cannot verify core proofs";
        assert_code(answer, Code::FailedPrecondition, text);
    }
}
