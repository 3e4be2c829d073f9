//! The order in which precompile events are handed to the execution.

use std::collections::BTreeMap;

/// Clock at which every execution begins.
const FIRST_CLOCK: u64 = 1;

/// Markers of core shards in the order of the execution.
///
/// A marker says that a core shard is traced and where its precompile events are. SP1 packs precompile shards in the
/// order in which it receives markers, which would differ each time. Here a marker is released only when those of all
/// earlier shards are: each shard begins at the clock at which the one before ends. The packed shards, and so their
/// keys, are then the same in every execution. The price: they wait for the slowest trace, not for the slowest proof.
#[derive(Debug, Clone)]
pub struct MarkerOrder<M> {
    /// Clock up to which markers are released.
    released: u64,
    /// All markers, by the clocks at which their shards begin, with those at which they end.
    known: BTreeMap<u64, (u64, M)>,
}

/// Why a marker does not fit the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// The shard ends before or where it begins.
    #[error("shard from clock {from} to {to}: expected a clock that advances, from 1 on")]
    Backwards {
        /// Clock at which it begins.
        from: u64,
        /// Clock at which it ends.
        to: u64,
    },
    /// Another shard covers a part of the same clocks.
    #[error("shard from clock {from} to {to} overlaps the one from {other_from} to {other_to}")]
    Overlap {
        /// Clock at which it begins.
        from: u64,
        /// Clock at which it ends.
        to: u64,
        /// Clock at which the known one begins.
        other_from: u64,
        /// Clock at which the known one ends.
        other_to: u64,
    },
}

impl<M> Default for MarkerOrder<M> {
    fn default() -> Self {
        Self { released: FIRST_CLOCK, known: BTreeMap::new() }
    }
}

impl<M> MarkerOrder<M> {
    /// Adds the marker of the shard with this range of clocks. A repeated one has no effect: the first one stays.
    ///
    /// # Errors
    ///
    /// [`MarkerError`] if the clocks do not fit those of other shards. Nothing has changed then.
    pub fn add(&mut self, (from, to): (u64, u64), marker: M) -> Result<(), MarkerError> {
        if from < FIRST_CLOCK || to <= from {
            return Err(MarkerError::Backwards { from, to });
        }
        let before = self.known.range(..=from).next_back();
        let after = self.known.range(from..).next();
        for (&other_from, &(other_to, _)) in before.into_iter().chain(after) {
            if (other_from, other_to) == (from, to) {
                return Ok(());
            }
            if from < other_to && other_from < to {
                return Err(MarkerError::Overlap { from, to, other_from, other_to });
            }
        }
        self.known.insert(from, (to, marker));
        Ok(())
    }

    /// Forgets the marker of the shard that begins at this clock, because its events are lost. If it was released, it
    /// counts as released until [`MarkerOrder::rewind`].
    pub fn remove(&mut self, from: u64) -> Option<M> {
        self.known.remove(&from).map(|(_, marker)| marker)
    }

    /// Releases the next marker in the order of clocks; `None` if it is not known yet.
    pub fn release(&mut self) -> Option<&M> {
        let (end, marker) = self.known.get(&self.released)?;
        self.released = *end;
        Some(marker)
    }

    /// Clock up to which markers are released. At the end of the execution's last core shard all are.
    #[must_use]
    pub const fn released_to(&self) -> u64 {
        self.released
    }

    /// Begins again: an execution that is repeated gets all markers from the first one on.
    pub const fn rewind(&mut self) {
        self.released = FIRST_CLOCK;
    }

    /// Markers that are known, in the order of clocks.
    pub fn known(&self) -> impl Iterator<Item = &M> {
        self.known.values().map(|(_, marker)| marker)
    }
}

#[cfg(test)]
mod tests {
    use arbtest::arbtest;

    use super::*;

    fn released(order: &mut MarkerOrder<usize>) -> Vec<usize> {
        std::iter::from_fn(|| order.release().copied()).collect()
    }

    #[test]
    fn markers_are_released_in_the_order_of_clocks_in_whatever_order_they_arrive() {
        arbtest(|input| {
            let count = input.int_in_range(1..=12usize)?;
            let mut clocks = vec![1u64];
            for _ in 0..count {
                let last = clocks[clocks.len() - 1];
                clocks.push(last + input.int_in_range(1..=1_000u64)?);
            }
            let mut order = MarkerOrder::default();
            let mut seen = Vec::new();
            let mut waiting: Vec<usize> = (0..count).collect();
            // A shard may be announced again, by one execution or by several.
            waiting.extend((0..count).filter(|shard| shard % 2 == 0));
            while !waiting.is_empty() {
                let at = input.choose_index(waiting.len())?;
                let shard = waiting.swap_remove(at);
                order.add((clocks[shard], clocks[shard + 1]), shard).expect("fits");
                if input.ratio(1, 2)? {
                    seen.extend(released(&mut order));
                }
                if input.ratio(1, 10)? {
                    order.rewind();
                    seen.clear();
                }
            }
            seen.extend(released(&mut order));
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
            assert_eq!(order.released_to(), clocks[count]);
            Ok(())
        });
    }

    #[test]
    fn nothing_is_released_before_a_gap_is_closed() {
        let mut order = MarkerOrder::default();
        order.add((5, 9), 1).expect("fits");
        assert_eq!(order.release(), None);
        order.add((1, 5), 0).expect("fits");
        assert_eq!(released(&mut order), [0, 1]);
    }

    #[test]
    fn a_lost_marker_is_asked_for_again_only_by_another_execution() {
        let mut order = MarkerOrder::default();
        order.add((1, 5), 0).expect("fits");
        order.add((5, 9), 1).expect("fits");
        assert_eq!(order.release(), Some(&0));
        assert_eq!(order.remove(1), Some(0));
        assert_eq!(released(&mut order), [1]);
        order.rewind();
        assert_eq!(order.release(), None);
        order.add((1, 5), 7).expect("fits");
        assert_eq!(released(&mut order), [7, 1]);
    }

    #[test]
    fn shards_that_do_not_fit_are_refused() {
        let mut order = MarkerOrder::default();
        order.add((5, 9), 0).expect("fits");
        for clocks in [(5, 8), (4, 6), (8, 12), (6, 7), (1, 20)] {
            assert!(matches!(order.add(clocks, 1), Err(MarkerError::Overlap { .. })), "{clocks:?}");
        }
        for clocks in [(9, 9), (12, 10), (0, 3)] {
            assert!(matches!(order.add(clocks, 1), Err(MarkerError::Backwards { .. })));
        }
        assert_eq!(order.add((9, 12), 1), Ok(()));
        assert_eq!(order.add((1, 5), 2), Ok(()));
        assert_eq!(released(&mut order), [2, 0, 1]);
    }
}
