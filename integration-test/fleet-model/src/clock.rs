//! Virtual time, and what happens in it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hierophant_model::records::Millis;

/// Microseconds since the beginning.
pub(crate) type Micros = u64;

/// A second.
pub(crate) const SECOND: Micros = 1_000_000;

/// The wall clock at the beginning, as the scheduler sees it.
const EPOCH: i64 = 1_800_000_000_000;

/// The clock, with the events to come. Those of the same time happen in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    now: Micros,
    next: u64,
    times: BinaryHeap<Reverse<(Micros, u64)>>,
    events: BTreeMap<u64, E>,
}

impl<E> Clock<E> {
    /// A clock at the beginning.
    pub(crate) const fn new() -> Self {
        Self { now: 0, next: 0, times: BinaryHeap::new(), events: BTreeMap::new() }
    }

    /// The time now.
    pub(crate) const fn now(&self) -> Micros {
        self.now
    }

    /// The time now, as the scheduler sees it.
    pub(crate) fn wall(&self) -> Millis {
        Millis(EPOCH.saturating_add_unsigned(self.now / 1_000))
    }

    /// Adds an event after a time.
    pub(crate) fn after(&mut self, wait: Micros, event: E) {
        self.at(self.now + wait, event);
    }

    /// Adds an event at a time that is not past.
    pub(crate) fn at(&mut self, time: Micros, event: E) {
        self.next += 1;
        self.times.push(Reverse((time.max(self.now), self.next)));
        self.events.insert(self.next, event);
    }

    /// The next event, at its time.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse((time, number)) = self.times.pop()?;
        self.now = time;
        self.events.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_in_their_order() {
        let mut clock = Clock::new();
        for (wait, name) in [(7, "c"), (3, "a"), (3, "b")] {
            clock.after(wait, name);
        }
        let mut seen = Vec::new();
        while let Some(name) = clock.next() {
            seen.push((clock.now(), name));
        }
        assert_eq!(seen, [(3, "a"), (3, "b"), (7, "c")]);
    }
}
