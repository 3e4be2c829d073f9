//! Records of shards: what their heads say, and their keys.

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use shard_plan::{Key, ShardRange, Slice};
use sp1_hypercube::air::ShardRange as Sp1Range;
use sp1_prover::worker::{PrecompileArtifactSlice, TraceData};
use sp1_prover_types::Artifact;

use crate::clock::clock_range;

/// What a record says about its shard.
#[derive(Debug)]
pub(crate) enum Record {
    /// A part of the execution, with its range of SP1's clock.
    Core { clocks: (u64, u64) },
    /// Events of precompiles.
    Precompile { slices: Vec<PrecompileArtifactSlice>, code: u32 },
    /// First and last values of memory.
    Memory,
}

impl Record {
    /// Reads the head of a core shard's record, and those of others as far as they matter.
    pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        // Number of the variant of SP1's `TraceData`, by bincode.
        Ok(match bytes.get(..4) {
            Some([0, 0, 0, 0]) => {
                let clocks = clock_range(bytes).context("a core shard's record has no clock")?;
                Self::Core { clocks }
            }
            Some([1, 0, 0, 0]) => match bincode::deserialize(bytes)? {
                TraceData::Precompile(slices, code) => {
                    Self::Precompile { slices, code: code as u32 }
                }
                _ => bail!("a precompile shard's record is that of another kind"),
            },
            Some([2, 0, 0, 0]) => Self::Memory,
            _ => bail!("a shard's record is of an unknown kind"),
        })
    }

    /// The shard's key. `digest_of` returns the digest of an artifact of events.
    pub(crate) fn key(
        &self,
        engine: &str,
        bytes: &[u8],
        digest_of: impl Fn(&Artifact) -> anyhow::Result<[u8; 32]>,
    ) -> anyhow::Result<Key> {
        Ok(match self {
            Self::Core { .. } => Key::core(engine, sha256(bytes)),
            Self::Memory => Key::memory(engine, sha256(bytes)),
            Self::Precompile { slices, code } => {
                let slices = slices.iter().map(|slice| {
                    let events = digest_of(&slice.artifact)?;
                    let (start, end) = (slice.start_idx as u64, slice.end_idx as u64);
                    Ok(Slice { events, start, end })
                });
                Key::precompile(engine, *code, &slices.collect::<anyhow::Result<Vec<_>>>()?)
            }
        })
    }
}

/// A range of SP1's.
pub(crate) const fn range_of(range: Sp1Range) -> ShardRange {
    ShardRange {
        timestamp_range: range.timestamp_range,
        initialized_address_range: range.initialized_address_range,
        finalized_address_range: range.finalized_address_range,
        initialized_page_index_range: range.initialized_page_index_range,
        finalized_page_index_range: range.finalized_page_index_range,
        deferred_proof_range: range.deferred_proof_range,
    }
}

/// SP1's form of a range.
pub(crate) const fn to_sp1(range: ShardRange) -> Sp1Range {
    Sp1Range {
        timestamp_range: range.timestamp_range,
        initialized_address_range: range.initialized_address_range,
        finalized_address_range: range.finalized_address_range,
        initialized_page_index_range: range.initialized_page_index_range,
        finalized_page_index_range: range.finalized_page_index_range,
        deferred_proof_range: range.deferred_proof_range,
    }
}

/// The digest of an artifact or a record.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The user under which SP1's shard of this slice is listed among those of the events.
pub(crate) fn user_of(slice: &PrecompileArtifactSlice) -> String {
    format!("{}_{}", slice.start_idx, slice.end_idx)
}
