//! Proofs that are made as tasks of many workers: `[sharding]`.

use std::num::NonZeroU32;

use hierophant_scheduler::proofs::shards::policy::ShardingMode;
use network_lib::config::Faults;
use serde::{Deserialize, Serialize};

/// Minimum of the size limits: the record of a usual shard takes up to 60 MB.
const MIN_BYTES: u64 = 64 << 20;

/// Section `[sharding]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ShardingConfig {
    /// When a proof is made as tasks of many workers. Default `auto`: if that is expected to be faster.
    pub mode: ShardingMode,
    /// Maximum size of the records of one execution whose shards are not proved yet, in bytes. The execution waits at
    /// the limit. Default 8 GiB.
    pub window_bytes: u64,
    /// Maximum sum of the sizes of the blobs that one attempt at a task hands in, in bytes. Default 2 GiB.
    pub max_blob_bytes: u64,
    /// Number of failures of a task with class `worker` after which one worker makes the whole proof. Default 3.
    pub max_attempts: NonZeroU32,
    /// Number of repeated tasks of a job after which one worker makes the whole proof. Default 200.
    pub max_retries: u32,
    /// Number of times that all tasks of a job may be discarded, because two executions announced different shards.
    /// Default 3.
    pub max_restarts: u32,
    /// Factor by which an attempt at a task is expected to last longer than a second one on an idle worker when that is
    /// begun. 0.0 = never. Default 1.25.
    pub race_after: f64,
}

impl Default for ShardingConfig {
    fn default() -> Self {
        Self {
            mode: ShardingMode::Auto,
            window_bytes: 8 << 30,
            max_blob_bytes: 2 << 30,
            max_attempts: const { NonZeroU32::new(3).expect("not zero") },
            max_retries: 200,
            max_restarts: 3,
            race_after: 1.25,
        }
    }
}

impl ShardingConfig {
    /// Checks the section.
    pub(super) fn validate(&self, faults: &mut Faults) {
        for (key, bytes) in [
            ("sharding.window_bytes", self.window_bytes),
            ("sharding.max_blob_bytes", self.max_blob_bytes),
        ] {
            if bytes < MIN_BYTES {
                let fault = format!(
                    "is {bytes}, which is less than the record of a usual shard: expected at least {MIN_BYTES}"
                );
                faults.add(key, fault);
            }
        }
        // Written so that "not a number" is a fault too.
        if self.race_after != 0.0 && !(1.0..=1000.0).contains(&self.race_after) {
            let found = self.race_after;
            let expected = "expected 0 (never) or a number from 1 to 1000, such as 1.25";
            faults.add("sharding.race_after", format!("invalid factor {found}: {expected}"));
        }
        if self.max_blob_bytes > self.window_bytes {
            faults.add(
                "sharding.max_blob_bytes",
                "is larger than `window_bytes`, so the largest records would never be announced: expected at \
                 most `window_bytes`",
            );
        }
    }
}
