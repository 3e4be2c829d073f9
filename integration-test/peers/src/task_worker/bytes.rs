//! Pseudo bytes of a proof, which depend on its job and the number of the shard alone.

use anyhow::Result;
use bytes::Bytes;
use network_lib::ids::{JobId, Sha256Digest};
use network_lib::job::BlobInfo;
use network_lib::shard::NewShard;
use sha2::{Digest, Sha256};
use shard_plan::{Key, ShardKind, ShardRange};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Engine of these workers.
pub const ENGINE: &str = "pseudo 1";

/// Clocks of a shard.
const WIDTH: u64 = 1_000;

/// Bytes of this kind and number, of this length or of eight more.
pub(super) fn pseudo(job: JobId, kind: u8, number: u32, length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length + 32);
    bytes.extend_from_slice(&job.0);
    bytes.push(kind);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.resize(length.max(bytes.len()), kind);
    bytes.into()
}

pub(super) fn info(bytes: &[u8]) -> BlobInfo {
    let sha256 = Sha256Digest(Sha256::digest(bytes).into());
    BlobInfo { size: bytes.len() as u64, sha256 }
}

/// Digest and size, computed beside everything else that the workers do.
pub(super) async fn info_aside(bytes: Bytes) -> Result<BlobInfo> {
    aside(move || info(&bytes)).await
}

/// The core shard with this number, likewise.
pub(super) async fn shard(job: JobId, no: u32, record_bytes: usize) -> Result<NewShard> {
    aside(move || shard_of(job, no, record_bytes)).await
}

/// Computes one thing at a time: the workers share few cores with Hierophant.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    static TURN: Semaphore = Semaphore::const_new(1);
    let _turn = TURN.acquire().await?;
    Ok(spawn_blocking(work).await?)
}

fn shard_of(job: JobId, no: u32, record_bytes: usize) -> NewShard {
    let record = info(&pseudo(job, b'r', no, record_bytes));
    let clocks = (1 + u64::from(no) * WIDTH, 1 + (u64::from(no) + 1) * WIDTH);
    NewShard {
        no,
        key: Sha256Digest(Key::core(ENGINE, record.sha256.0).0),
        kind: ShardKind::Core,
        range: ShardRange { timestamp_range: clocks, ..ShardRange::PRECOMPILE },
        record,
        named: Vec::new(),
    }
}
