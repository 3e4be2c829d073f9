//! Pseudo blobs, whose digests say what they are.

use network_lib::ids::Sha256Digest;
use network_lib::job::BlobInfo;
use network_lib::shard::{Named, NewShard};
use shard_plan::{Key, ShardKind, ShardRange};

/// Engine of all machines.
pub(crate) const ENGINE: &str = "model";

/// Number of clocks of a shard.
const CLOCKS: u64 = 1_000;

/// The blob of a proof of this kind and number.
pub(crate) fn blob(proof: usize, kind: u8, number: u64, size: u64) -> BlobInfo {
    let mut digest = [0; 32];
    digest[0] = kind;
    digest[8..16].copy_from_slice(&number.to_be_bytes());
    digest[16..24].copy_from_slice(&(proof as u64).to_be_bytes());
    BlobInfo { size, sha256: Sha256Digest(digest) }
}

/// Number of a blob among those of its kind and proof.
pub(crate) fn number_of(blob: Sha256Digest) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&blob.0[8..16]);
    u64::from_be_bytes(number)
}

/// The list of the precompile events of a shard.
pub(crate) fn events(proof: usize, number: u64, size: u64) -> Named<BlobInfo> {
    Named { id: format!("events-{proof}-{number}"), blob: blob(proof, b'e', number, size) }
}

/// A core shard.
pub(crate) fn shard(proof: usize, number: u64, record_bytes: u64) -> NewShard {
    let record = blob(proof, b'r', number, record_bytes);
    let clocks = (1 + number * CLOCKS, 1 + (number + 1) * CLOCKS);
    NewShard {
        no: u32::try_from(number).unwrap_or(u32::MAX),
        key: Sha256Digest(Key::core(ENGINE, record.sha256.0).0),
        kind: ShardKind::Core,
        range: ShardRange { timestamp_range: clocks, ..ShardRange::PRECOMPILE },
        record,
        named: Vec::new(),
    }
}
