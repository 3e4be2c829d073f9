//! Settings of the mock backend's shards.

use std::time::Duration;

use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Most shards of a proof, more than any real one has.
const MAX_COUNT: u32 = 100_000;

/// Most bytes of a record or a proof of a shard.
const MAX_BYTES: u64 = 1 << 30;

/// Pseudo shards of the `mock` backend, for trials of proofs that several workers make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MockShards {
    /// Shards of each proof. Default: 8, which is enough for two precompile shards.
    pub count: u32,
    /// Bytes of each record. Default: 4096.
    pub record_bytes: u64,
    /// Duration of the proof of a shard. Default: 100 ms.
    #[serde(with = "humantime_serde")]
    pub prove_time: Duration,
    /// Bytes of the proof of a shard. Default: 1024.
    pub part_bytes: u64,
}

impl Default for MockShards {
    fn default() -> Self {
        Self {
            count: 8,
            record_bytes: 4096,
            prove_time: Duration::from_millis(100),
            part_bytes: 1024,
        }
    }
}

/// Adds the faults of the section `[mock_shards]`.
pub(super) fn validate(shards: &MockShards, is_mock: bool, faults: &mut Faults) {
    if !is_mock && *shards != MockShards::default() {
        faults.add("mock_shards", "has no effect: expected `backend = \"mock\"`");
    }
    if !(1..=MAX_COUNT).contains(&shards.count) {
        faults.add("mock_shards.count", format!("must be 1 to {MAX_COUNT}"));
    }
    for (key, bytes) in [
        ("mock_shards.record_bytes", shards.record_bytes),
        ("mock_shards.part_bytes", shards.part_bytes),
    ] {
        if bytes > MAX_BYTES {
            faults.add(key, format!("must be at most {MAX_BYTES} (1 GiB)"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::load_text;

    #[test]
    fn pseudo_shards_are_read_with_the_mock_backend_alone() {
        let text = "[mock_shards]\ncount = 3\nprove_time = \"1s\"\n";
        let config = load_text(&format!("backend = \"mock\"\n{text}")).unwrap();
        assert_eq!((config.mock_shards.count, config.mock_shards.record_bytes), (3, 4096));
        let error = load_text(text).unwrap_err().to_string();
        assert!(error.contains("expected `backend = \"mock\"`"), "{error}");
        let text = "backend = \"mock\"\n[mock_shards]\ncount = 0\npart_bytes = 9999999999\n";
        assert_eq!(load_text(text).unwrap_err().faults.len(), 2);
    }
}
