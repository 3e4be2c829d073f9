//! Finished proofs of shards that are kept for another attempt at the same job.

use anyhow::{Context, ensure};
use shard_plan::Key;

/// Name of the software that cuts, encodes and proves shards here. What was kept by another one is of no use.
pub const ENGINE: &str = "sp1-6.10.0 native";

/// Storage of the finished proofs of one job. Its functions block, and report their own errors: a proof that cannot be
/// kept or found is only made again.
pub trait KeptShards: Send + Sync {
    /// The bytes that were kept under this key, unchanged.
    fn find(&self, key: Key) -> Option<Vec<u8>>;

    /// Keeps these bytes.
    fn keep(&self, key: Key, bytes: &[u8]);
}

/// A finished proof as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeptShard {
    /// Whether the shard defers precompile events to other shards, which the execution needs again.
    pub(crate) defers: bool,
    /// The proof, as SP1's engine wrote it.
    pub(crate) proof: Vec<u8>,
}

impl KeptShard {
    /// One byte that says whether the shard defers events, then the proof.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.proof.len());
        bytes.push(u8::from(self.defers));
        bytes.extend_from_slice(&self.proof);
        bytes
    }

    pub(crate) fn decode(mut bytes: Vec<u8>) -> anyhow::Result<Self> {
        let defers = *bytes.first().context("a kept shard is empty: expected a proof")?;
        ensure!(defers <= 1, "a kept shard begins with {defers}: expected 0 or 1");
        bytes.remove(0);
        Ok(Self { defers: defers == 1, proof: bytes })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_shard_round_trips_and_another_format_is_refused() {
        for defers in [false, true] {
            let kept = KeptShard { defers, proof: vec![7, 8] };
            assert_eq!(KeptShard::decode(kept.encode()).unwrap(), kept);
        }
        assert!(KeptShard::decode(vec![2, 7]).is_err());
        assert!(KeptShard::decode(Vec::new()).is_err());
    }
}
