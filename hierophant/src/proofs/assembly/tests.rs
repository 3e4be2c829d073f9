//! Assembled proofs, compared with what SP1's types encode to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hierophant_model::clients::Clients;
use hierophant_store::sqlite;
use network_lib::ids::LeaseId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use sp1_primitives::io::SP1PublicValues;
use sp1_verifier::{Groth16Bn254Proof, PlonkBn254Proof, ProofFromNetwork, SP1Proof};
use tempfile::TempDir;

use super::*;
use crate::artifacts::actor::ArtifactsActor;
use crate::artifacts::budget::DiskBudget;
use crate::artifacts::retention::Rules;
use crate::metrics::Metrics;

const JOB: JobId = JobId([1; 16]);

/// A real Core proof of two shards; see `tests/proofs/README.md`.
const RECORDED: &[u8] = include_bytes!("../../../tests/proofs/core.zst");

/// A real Compressed proof.
const COMPRESSED: &[u8] = include_bytes!("../../../tests/proofs/compressed.zst");

struct Supervisor;

#[ractor::async_trait]
impl Actor for Supervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// An assembler with all that it needs in this folder.
pub(in crate::proofs) async fn assembler(folder: &Path) -> Assembler {
    let store = sqlite::open(&folder.join("hierophant.db"), ()).await.expect("opens");
    let blobs = Blobs::open(&folder.join("artifacts")).expect("opens");
    let tasks = TaskBlobs::open(&folder.join("tasks")).expect("opens");
    let time = Duration::from_secs(3600);
    let rules = Rules {
        proofs_after_delivery: time,
        proofs_undelivered: time,
        inputs_after_end: time,
        unused_uploads: time,
    };
    let (supervisor, _) = Actor::spawn(None, Supervisor, ()).await.expect("starts");
    let artifacts = ArtifactsActor::start(
        Arc::clone(&store) as Arc<_>,
        blobs.clone(),
        rules,
        DiskBudget::new(folder, 0, None, 0),
        Clients::default(),
        Metrics::new(),
        supervisor.get_cell(),
    );
    Assembler { tasks, blobs, artifacts: artifacts.await.expect("starts") }
}

async fn keep(assembler: &Assembler, bytes: Vec<u8>) -> BlobInfo {
    let mut writer = assembler.tasks.begin(Some(bytes.len() as u64));
    writer.write(bytes.into()).await.expect("writes");
    let staged = writer.finish().await.expect("staged");
    let info = staged.info();
    assembler.tasks.adopt(JOB, staged).await.expect("adopts");
    info
}

fn assembly(parts: Vec<BlobInfo>, public_values: BlobInfo) -> Assembly {
    Assembly {
        lease: LeaseId([3; 16]),
        job: JOB,
        mode: ProofMode::Core,
        parts,
        public_values,
        circuit_version: "v6.1.0".into(),
        is_mock: false,
    }
}

/// Bytes of an assembled and kept proof.
async fn assembled(assembler: &Assembler, assembly: &Assembly) -> Vec<u8> {
    let (artifact, info) = assembler.assemble(assembly).await.expect("assembles");
    let bytes = assembler.blobs.read_head(artifact, usize::MAX).await.expect("reads");
    let sha256 = Sha256Digest(Sha256::digest(&bytes).into());
    assert_eq!(info, BlobInfo { size: bytes.len() as u64, sha256 });
    bytes
}

#[tokio::test]
async fn the_parts_of_a_real_proof_give_its_bytes() {
    let folder = TempDir::new().expect("temp dir");
    let assembler = assembler(folder.path()).await;
    let recorded = zstd::decode_all(RECORDED).expect("decompresses");
    let proof: ProofFromNetwork = bincode::deserialize(&recorded).expect("decodes");
    let SP1Proof::Core(shards) = &proof.proof else { panic!("not a Core proof") };
    assert!(shards.len() > 1);
    let mut parts = Vec::new();
    for shard in shards {
        parts.push(keep(&assembler, bincode::serialize(shard).expect("encodes")).await);
    }
    let public_values = keep(&assembler, proof.public_values.to_vec()).await;
    let bytes = assembled(&assembler, &assembly(parts, public_values)).await;
    assert!(bytes == bincode::serialize(&proof).expect("encodes"), "the bytes differ");
}

#[tokio::test]
async fn a_proof_that_is_one_part_has_its_bytes() {
    let folder = TempDir::new().expect("temp dir");
    let assembler = assembler(folder.path()).await;
    let recorded = zstd::decode_all(COMPRESSED).expect("decompresses");
    let compressed: ProofFromNetwork = bincode::deserialize(&recorded).expect("decodes");
    let (plonk, groth16) = (PlonkBn254Proof::default(), Groth16Bn254Proof::default());
    let of = |proof| ProofFromNetwork { proof, ..compressed.clone() };
    for (mode, proof) in [
        (ProofMode::Compressed, compressed.clone()),
        (ProofMode::Plonk, of(SP1Proof::Plonk(plonk))),
        (ProofMode::Groth16, of(SP1Proof::Groth16(groth16))),
    ] {
        let part = match &proof.proof {
            SP1Proof::Core(_) => panic!("a Core proof"),
            SP1Proof::Compressed(proof) => bincode::serialize(proof),
            SP1Proof::Plonk(proof) => bincode::serialize(proof),
            SP1Proof::Groth16(proof) => bincode::serialize(proof),
        };
        let part = keep(&assembler, part.expect("encodes")).await;
        let public_values = keep(&assembler, proof.public_values.to_vec()).await;
        for is_mock in [false, true] {
            let assembly = Assembly { mode, is_mock, ..assembly(vec![part], public_values) };
            let bytes = assembled(&assembler, &assembly).await;
            assert!(bytes == bincode::serialize(&proof).expect("encodes"), "{mode}");
        }
    }
}

#[tokio::test]
async fn a_mock_core_proof_has_no_parts() {
    let folder = TempDir::new().expect("temp dir");
    let assembler = assembler(folder.path()).await;
    let part = keep(&assembler, b"not a shard".to_vec()).await;
    for values in [&b"values"[..], &[]] {
        let public_values = keep(&assembler, values.to_vec()).await;
        let assembly = Assembly { is_mock: true, ..assembly(vec![part], public_values) };
        let expected = ProofFromNetwork {
            proof: SP1Proof::Core(vec![]),
            public_values: SP1PublicValues::from(values),
            sp1_version: "v6.1.0".into(),
        };
        let bytes = assembled(&assembler, &assembly).await;
        assert_eq!(bytes, bincode::serialize(&expected).expect("encodes"));
    }
}

#[tokio::test]
async fn a_missing_or_damaged_part_is_named_and_removed() {
    let folder = TempDir::new().expect("temp dir");
    let assembler = assembler(folder.path()).await;
    let (first, second) =
        (keep(&assembler, vec![1; 100_000]).await, keep(&assembler, vec![2; 100_000]).await);
    let values = keep(&assembler, b"values".to_vec()).await;
    let whole = assembly(vec![first, second], values);
    let file = |blob: BlobInfo| folder.path().join(format!("tasks/{JOB}/{}", blob.sha256));

    let mut damaged = vec![2; 100_000];
    damaged[99_999] ^= 1;
    std::fs::write(file(second), damaged).expect("writes");
    let lost = Err(AssemblyError::Lost(second.sha256));
    assert_eq!(assembler.assemble(&whole).await, lost, "wrong digest");
    assert!(!file(second).exists());
    assert_eq!(assembler.assemble(&whole).await, lost, "missing");
    keep(&assembler, vec![2; 100_000]).await;
    std::fs::write(file(values), b"value").expect("writes");
    let lost = Err(AssemblyError::Lost(values.sha256));
    assert_eq!(assembler.assemble(&whole).await, lost, "wrong size");
    keep(&assembler, b"values".to_vec()).await;
    assembler.assemble(&whole).await.expect("all parts are there again");
    let left = std::fs::read_dir(folder.path().join("artifacts/tmp")).expect("lists");
    assert_eq!(left.count(), 0, "staged files are left");
}
