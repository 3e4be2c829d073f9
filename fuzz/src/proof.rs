//! Proofs as Contemplants hand them in.

use std::sync::LazyLock;

use hierophant::verify::{CIRCUIT_VERSION, check_bytes, will_be_verifiable};
use hierophant_model::records::{Claim, Millis, ProgramRecord, ProgramState};
use network_lib::handshake::Backend;
use network_lib::ids::{ArtifactId, Sha256Digest, VkHash};
use network_lib::job::{BlobInfo, ProofMode};
use sha2::{Digest, Sha256};

/// The verifying key that the seeds' proofs are made for, after its hash.
const KEY: &[u8] = include_bytes!("../seeds/key");

/// What the seeds' proofs commit to.
const PUBLIC_VALUES: &[u8] = b"fuzz";

static VALUES_HASH: LazyLock<Sha256Digest> =
    LazyLock::new(|| Sha256Digest(Sha256::digest(PUBLIC_VALUES).into()));

/// The first byte says what the proof is claimed to be, the rest is its file. Any verdict will do; only mock
/// proofs may pass, and these only if they come from a mock prover.
pub(crate) fn handed_in(bytes: &[u8]) -> bool {
    let Some((first, proof)) = bytes.split_first() else { return false };
    let mode = ProofMode::ALL[usize::from(first & 3)];
    let backend = if first & 4 == 0 { Backend::Mock } else { Backend::Cpu };
    let (vk_hash, vk) = KEY.split_first_chunk().expect("a hash and a key");
    let claim = Claim {
        vk_hash: VkHash(*vk_hash),
        mode,
        circuit_version: CIRCUIT_VERSION.to_owned(),
        public_values_hash: *VALUES_HASH,
        backend,
    };
    let passed = check_bytes(proof, &claim, vk).is_ok();
    assert!(!passed || backend == Backend::Mock, "a proof was made from nothing");
    passed
}

/// A verifying key as a client registers it, after the hash that it claims. Only the key that hashes to it passes.
pub(crate) fn verifying_key(bytes: &[u8]) -> bool {
    let Some((vk_hash, vk)) = bytes.split_first_chunk() else { return false };
    let program = ProgramRecord {
        vk_hash: VkHash(*vk_hash),
        vk: vk.to_vec(),
        artifact: ArtifactId([0; 16]),
        blob: BlobInfo { size: 0, sha256: *VALUES_HASH },
        owner: Default::default(),
        client: None,
        state: ProgramState::Claimed,
        created_at: Millis(0),
    };
    match will_be_verifiable(&program, ProofMode::Compressed, CIRCUIT_VERSION) {
        Ok(()) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "refused without a reason");
            false
        }
    }
}
