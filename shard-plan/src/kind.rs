//! Kinds of leaves.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kind of a leaf of the proof: what its shard consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardKind {
    /// Events of precompiles, collected from many core shards.
    Precompile,
    /// Verification of proofs in the input; only from mode Compressed on.
    Deferred,
    /// Instructions of a part of the execution.
    Core,
    /// First and last values of a range of memory.
    Memory,
}

impl ShardKind {
    /// Every kind, in the order of their ranges.
    pub const ALL: [Self; 4] = [Self::Precompile, Self::Deferred, Self::Core, Self::Memory];

    /// Name in JSON, keys and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Precompile => "precompile",
            Self::Deferred => "deferred",
            Self::Core => "core",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for ShardKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
