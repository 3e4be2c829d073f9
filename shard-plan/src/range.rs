//! Ranges: the part of the execution that a proof covers.

use serde::{Deserialize, Serialize};

use crate::ShardKind;

/// One end of a range, by SP1's `ShardBoundary` (sp1-hypercube, `air/public_values.rs`). The order of the fields is the
/// order of the execution: boundaries compare by the first field that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardBoundary {
    /// Clock.
    pub timestamp: u64,
    /// Last initialised address.
    pub initialized_address: u64,
    /// Last finalised address.
    pub finalized_address: u64,
    /// Last initialised page.
    pub initialized_page_index: u64,
    /// Last finalised page.
    pub finalized_page_index: u64,
    /// Number of proofs of the input that are verified so far.
    pub deferred_proof: u64,
}

impl ShardBoundary {
    /// Beginning of a whole proof.
    pub const INITIAL: Self = Self {
        timestamp: 1,
        initialized_address: 0,
        finalized_address: 0,
        initialized_page_index: 0,
        finalized_page_index: 0,
        deferred_proof: 0,
    };
}

/// Range that a proof covers, with the fields, their order and the names in JSON of SP1's `ShardRange` (sp1-hypercube,
/// `air/public_values.rs`), so that a worker passes it on as it is. Each pair is beginning and end.
///
/// Its order is the one in which SP1's controller sorts the shard proofs of a Core proof
/// (sp1-prover, `worker/controller/mod.rs`, `collect_core_proofs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardRange {
    /// Clock.
    pub timestamp_range: (u64, u64),
    /// Initialised addresses.
    pub initialized_address_range: (u64, u64),
    /// Finalised addresses.
    pub finalized_address_range: (u64, u64),
    /// Initialised pages.
    pub initialized_page_index_range: (u64, u64),
    /// Finalised pages.
    pub finalized_page_index_range: (u64, u64),
    /// Verified proofs of the input.
    pub deferred_proof_range: (u64, u64),
}

/// Why a range cannot be that of a shard, or ranges cannot be those of one proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The range does not fit the kind of shard.
    #[error("range of a {kind} shard out of bounds: expected {expected}")]
    Kind {
        /// The kind.
        kind: ShardKind,
        /// What such a range looks like.
        expected: &'static str,
    },
    /// Two ranges of a proof overlap.
    #[error("two shards overlap at clock {at}: expected ranges that follow each other")]
    Overlap {
        /// Clock at the beginning of the second one.
        at: u64,
    },
    /// A part of the execution is covered by no range.
    #[error("a shard is missing at clock {at}: expected ranges without a gap")]
    Gap {
        /// Clock at the beginning of the gap.
        at: u64,
    },
    /// There are no ranges.
    #[error("a proof without shards: expected at least one")]
    Nothing,
}

impl ShardRange {
    /// Range of every precompile shard: empty, at the beginning.
    pub const PRECOMPILE: Self = Self::between(ShardBoundary::INITIAL, ShardBoundary::INITIAL);

    /// Range from one boundary to another.
    #[must_use]
    pub const fn between(start: ShardBoundary, end: ShardBoundary) -> Self {
        Self {
            timestamp_range: (start.timestamp, end.timestamp),
            initialized_address_range: (start.initialized_address, end.initialized_address),
            finalized_address_range: (start.finalized_address, end.finalized_address),
            initialized_page_index_range: (
                start.initialized_page_index,
                end.initialized_page_index,
            ),
            finalized_page_index_range: (start.finalized_page_index, end.finalized_page_index),
            deferred_proof_range: (start.deferred_proof, end.deferred_proof),
        }
    }

    /// Range of a shard that verifies the proofs from `first` up to `end` (excluded) of the input.
    #[must_use]
    pub const fn deferred(first: u64, end: u64) -> Self {
        let start = ShardBoundary { deferred_proof: first, ..ShardBoundary::INITIAL };
        Self::between(start, ShardBoundary { deferred_proof: end, ..ShardBoundary::INITIAL })
    }

    /// Beginning.
    #[must_use]
    pub const fn start(&self) -> ShardBoundary {
        ShardBoundary {
            timestamp: self.timestamp_range.0,
            initialized_address: self.initialized_address_range.0,
            finalized_address: self.finalized_address_range.0,
            initialized_page_index: self.initialized_page_index_range.0,
            finalized_page_index: self.finalized_page_index_range.0,
            deferred_proof: self.deferred_proof_range.0,
        }
    }

    /// End.
    #[must_use]
    pub const fn end(&self) -> ShardBoundary {
        ShardBoundary {
            timestamp: self.timestamp_range.1,
            initialized_address: self.initialized_address_range.1,
            finalized_address: self.finalized_address_range.1,
            initialized_page_index: self.initialized_page_index_range.1,
            finalized_page_index: self.finalized_page_index_range.1,
            deferred_proof: self.deferred_proof_range.1,
        }
    }

    /// Whether `next` begins where this range ends, so that one reduce may cover both.
    #[must_use]
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.end() == next.start()
    }

    /// Range of both together; `None` if `next` does not follow.
    #[must_use]
    pub fn joined(&self, next: &Self) -> Option<Self> {
        self.is_followed_by(next).then(|| Self::between(self.start(), next.end()))
    }

    /// Checks that a shard of this kind can have this range.
    ///
    /// # Errors
    ///
    /// [`RangeError::Kind`] with the expectation that the range does not meet.
    pub fn check(&self, kind: ShardKind) -> Result<(), RangeError> {
        let (start, end) = (self.start(), self.end());
        let (is_possible, expected) = match kind {
            ShardKind::Precompile => {
                (*self == Self::PRECOMPILE, "an empty range at the beginning of the execution")
            }
            ShardKind::Deferred => (
                *self == Self::deferred(start.deferred_proof, end.deferred_proof)
                    && start.deferred_proof < end.deferred_proof,
                "proofs of the input alone, at least one",
            ),
            ShardKind::Core => {
                let begin = ShardBoundary { timestamp: start.timestamp, ..start_of(start) };
                let last = ShardBoundary { timestamp: end.timestamp, ..start_of(start) };
                (
                    *self == Self::between(begin, last)
                        && 0 < start.timestamp
                        && start.timestamp < end.timestamp,
                    "a clock that advances, and nothing else",
                )
            }
            ShardKind::Memory => (
                start.timestamp == end.timestamp
                    && start.deferred_proof == end.deferred_proof
                    && start.initialized_address <= end.initialized_address
                    && start.finalized_address <= end.finalized_address
                    && start.initialized_page_index <= end.initialized_page_index
                    && start.finalized_page_index <= end.finalized_page_index
                    && start != end,
                "addresses or pages that advance, and a clock that does not",
            ),
        };
        if is_possible { Ok(()) } else { Err(RangeError::Kind { kind, expected }) }
    }
}

/// A boundary of the execution with the same number of verified proofs: no memory is initialised or finalised yet.
const fn start_of(boundary: ShardBoundary) -> ShardBoundary {
    ShardBoundary { deferred_proof: boundary.deferred_proof, ..ShardBoundary::INITIAL }
}

/// Checks that ranges, in any order, are those of one proof: sorted, each begins where the one before ends.
///
/// Returns the range of all of them together.
///
/// # Errors
///
/// [`RangeError`] for an overlap, a gap, or no ranges at all.
pub fn chain(ranges: impl IntoIterator<Item = ShardRange>) -> Result<ShardRange, RangeError> {
    let mut sorted: Vec<_> = ranges.into_iter().map(|range| (range.start(), range.end())).collect();
    sorted.sort_unstable();
    let &(first, mut reached) = sorted.first().ok_or(RangeError::Nothing)?;
    for &(start, end) in &sorted[1..] {
        if start < reached {
            return Err(RangeError::Overlap { at: start.timestamp });
        }
        if start > reached {
            return Err(RangeError::Gap { at: reached.timestamp });
        }
        reached = end;
    }
    Ok(ShardRange::between(first, reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(from: u64, to: u64) -> ShardRange {
        ShardRange { timestamp_range: (from, to), ..ShardRange::PRECOMPILE }
    }

    fn memory(clock: u64, from: u64, to: u64) -> ShardRange {
        ShardRange {
            timestamp_range: (clock, clock),
            initialized_address_range: (from, to),
            finalized_address_range: (from, to),
            ..ShardRange::PRECOMPILE
        }
    }

    #[test]
    fn the_json_has_the_names_of_sp1() {
        let json = serde_json::to_string(&memory(9, 2, 3)).expect("serializes");
        assert_eq!(
            json,
            "{\"timestamp_range\":[9,9],\"initialized_address_range\":[2,3],\"finalized_address_range\":[2,3],\
             \"initialized_page_index_range\":[0,0],\"finalized_page_index_range\":[0,0],\
             \"deferred_proof_range\":[0,0]}"
        );
        assert_eq!(serde_json::from_str::<ShardRange>(&json).expect("parses"), memory(9, 2, 3));
    }

    #[test]
    fn a_core_proof_is_sorted_as_sp1_sorts_it() {
        let sorted =
            [ShardRange::PRECOMPILE, core(1, 9), core(9, 20), memory(20, 0, 7), memory(20, 7, 8)];
        let mut ranges = sorted;
        ranges.reverse();
        ranges.sort_unstable();
        assert_eq!(ranges, sorted);
    }

    #[test]
    fn every_kind_has_ranges_of_its_own() {
        use ShardKind::{Core, Deferred, Memory, Precompile};
        let of = |kind| match kind {
            Precompile => ShardRange::PRECOMPILE,
            Deferred => ShardRange::deferred(0, 2),
            Core => core(1, 9),
            Memory => memory(20, 0, 7),
        };
        for kind in ShardKind::ALL {
            for other in ShardKind::ALL {
                assert_eq!(of(other).check(kind).is_ok(), kind == other, "{kind}, {other}");
            }
        }
    }

    #[test]
    fn a_range_that_goes_back_or_nowhere_is_refused() {
        for range in [core(9, 9), core(9, 3), core(0, 3)] {
            assert!(range.check(ShardKind::Core).is_err());
        }
        let mut moved = core(1, 9);
        moved.deferred_proof_range = (1, 1);
        assert_eq!(moved.check(ShardKind::Core), Ok(()));
        moved.deferred_proof_range = (1, 2);
        assert!(moved.check(ShardKind::Core).is_err());
        assert!(memory(9, 4, 4).check(ShardKind::Memory).is_err());
        assert!(memory(9, 4, 3).check(ShardKind::Memory).is_err());
        assert!(ShardRange::deferred(2, 2).check(ShardKind::Deferred).is_err());
    }

    #[test]
    fn a_chain_has_neither_gaps_nor_overlaps() {
        let precompile = ShardRange::PRECOMPILE;
        let whole = chain([memory(20, 0, 7), core(9, 20), precompile, core(1, 9), precompile]);
        let whole = whole.expect("a chain");
        assert_eq!((whole.start(), whole.end()), (ShardBoundary::INITIAL, memory(20, 0, 7).end()));
        assert_eq!(chain([core(1, 9), core(10, 20)]), Err(RangeError::Gap { at: 9 }));
        assert_eq!(chain([core(1, 9), core(8, 20)]), Err(RangeError::Overlap { at: 8 }));
        assert_eq!(chain([core(1, 9), core(1, 9)]), Err(RangeError::Overlap { at: 1 }));
        assert_eq!(chain([]), Err(RangeError::Nothing));
    }

    #[test]
    fn deferred_shards_are_between_precompiles_and_the_execution() {
        let mut first = core(1, 9);
        first.deferred_proof_range = (2, 2);
        let all =
            [first, ShardRange::deferred(1, 2), ShardRange::PRECOMPILE, ShardRange::deferred(0, 1)];
        assert_eq!(chain(all).map(|whole| whole.start()), Ok(ShardBoundary::INITIAL));
        assert!(ShardRange::deferred(0, 2).joined(&first).is_some());
        assert!(first.joined(&ShardRange::deferred(0, 2)).is_none());
    }
}
