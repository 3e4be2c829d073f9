//! Parts of recorded proofs.

use network_lib::ids::VkHash;
use sp1_verifier::{ProofFromNetwork, SP1Proof};

use super::super::part::check;
use super::*;

fn recorded(bytes: &[u8]) -> ProofFromNetwork {
    bincode::deserialize(&zstd::decode_all(bytes).expect("decompresses")).expect("decodes")
}

fn key() -> (Vec<u8>, VkHash) {
    let vk = zstd::decode_all(&include_bytes!("../../../tests/proofs/verifying-key.zst")[..]);
    let vk = vk.expect("decompresses");
    let key: SP1VerifyingKey = bincode::deserialize(&vk).expect("decodes");
    (vk, VkHash(key.hash_bytes()))
}

/// The shards of the recorded Core proof, with their ranges.
fn shards() -> Vec<(Vec<u8>, ShardRange)> {
    let proof = recorded(include_bytes!("../../../tests/proofs/core.zst"));
    let SP1Proof::Core(shards) = proof.proof else { panic!("not a Core proof") };
    let part = |shard: &ShardProof<_, _>| {
        let values: &PublicValues<[_; 4], [_; 3], [_; 4], _> =
            shard.public_values.as_slice().borrow();
        (bincode::serialize(shard).expect("encodes"), range_of(values.range()))
    };
    shards.iter().map(part).collect()
}

#[test]
fn a_shard_is_right_under_its_own_range_and_program_alone() {
    let (shards, (vk, hash), verifiers) = (shards(), key(), Verifiers::default());
    let of = |bytes: &[u8], range| check(bytes, PartKind::Shard(range), &vk, hash, &verifiers);
    for (bytes, range) in &shards {
        of(bytes, *range).expect("right");
    }
    let ((first, range), (_, other)) = (&shards[0], &shards[1]);
    assert!(matches!(of(first, *other), Err(Rejection::OtherRange)));
    assert!(matches!(of(&first[..100], *range), Err(Rejection::Undecodable(_))));
    // A byte in the middle is one of a commitment, an opening or a path.
    let mut changed = first.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    of(&changed, *range).expect_err("a byte is changed");
    let kind = PartKind::Recursive(*range);
    check(first, kind, &vk, hash, &verifiers).expect_err("another kind of proof");
}

#[test]
fn a_recursive_proof_is_right_under_its_own_range_alone() {
    let proof = recorded(include_bytes!("../../../tests/proofs/compressed.zst"));
    let SP1Proof::Compressed(proof) = proof.proof else { panic!("not a Compressed proof") };
    let values: &RecursionPublicValues<SP1Field> = proof.proof.public_values.as_slice().borrow();
    let (range, bytes) = (range_of(values.range()), bincode::serialize(&proof).expect("encodes"));
    let ((vk, hash), verifiers) = (key(), Verifiers::default());
    let of = |bytes: &[u8], range| check(bytes, PartKind::Recursive(range), &vk, hash, &verifiers);
    of(&bytes, range).expect("right");
    assert!(matches!(of(&bytes, ShardRange::PRECOMPILE), Err(Rejection::OtherRange)));
    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    of(&changed, range).expect_err("a byte is changed");
    check(&bytes, PartKind::Wrapped, &vk, hash, &verifiers).expect_err("not wrapped");
}

#[test]
fn a_common_input_begins_with_the_key_of_its_program() {
    use sp1_prover::worker::CommonProverInput;
    use sp1_prover_types::network_base_types::ProofMode;

    let (vk, _) = key();
    let common = CommonProverInput {
        vk: bincode::deserialize(&vk).expect("decodes"),
        mode: ProofMode::Core,
        deferred_digest: [0; 8],
        num_deferred_proofs: 0,
        nonce: [0; 4],
    };
    assert!(bincode::serialize(&common).expect("encodes").starts_with(&vk));
}
