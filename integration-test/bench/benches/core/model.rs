//! Which job comes next, as plainly as possible: what is measured is also right.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

/// Requests by number, all of one class and of deadlines in this order, which every busy worker can take.
#[derive(Debug, Default)]
pub(crate) struct Model {
    waiting: BTreeMap<Address, BTreeSet<u64>>,
    running: BTreeMap<Address, usize>,
    round: u64,
    had_turn: BTreeMap<Address, u64>,
    requesters: BTreeMap<u64, Address>,
}

impl Model {
    /// A request waits.
    pub(crate) fn wait(&mut self, number: u64, requester: Address) {
        self.requesters.insert(number, requester);
        self.waiting.entry(requester).or_default().insert(number);
    }

    /// A request is assigned.
    ///
    /// # Panics
    ///
    /// When another one comes first.
    pub(crate) fn begin(&mut self, number: u64) {
        let turn = |requester: &Address| {
            let busy = self.running.get(requester).copied().unwrap_or(0);
            (busy, self.round_of(requester), self.waiting[requester].first().copied())
        };
        let next = self.waiting.keys().min_by_key(|requester| turn(requester)).copied();
        let requester = next.expect("a request waits");
        let first = self.waiting[&requester].first().copied();
        assert_eq!(first, Some(number), "the next job of the queue");
        self.had_turn.insert(requester, self.round_of(&requester) + 1);
        *self.running.entry(requester).or_default() += 1;
        let theirs = self.waiting.entry(requester).or_default();
        theirs.remove(&number);
        if theirs.is_empty() {
            self.waiting.remove(&requester);
        }
        if !self.waiting.keys().any(|requester| self.round_of(requester) == self.round) {
            let rounds = self.waiting.keys().map(|requester| self.round_of(requester));
            self.round = rounds.min().unwrap_or(u64::MAX);
            self.had_turn.retain(|_, round| *round > self.round);
            if self.waiting.is_empty() {
                self.round = 0;
            }
        }
    }

    /// The attempt of a request has ended.
    pub(crate) fn end(&mut self, number: u64) {
        let running = self.requesters.remove(&number).and_then(|it| self.running.get_mut(&it));
        *running.expect("it runs") -= 1;
    }

    fn round_of(&self, requester: &Address) -> u64 {
        self.had_turn.get(requester).copied().unwrap_or(self.round)
    }
}
