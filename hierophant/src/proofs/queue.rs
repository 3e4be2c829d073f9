//! Jobs that wait for a Contemplant, and in which order they are given out.
//!
//! Urgent modes first; within them, the requester with the least work in progress, so that nobody's
//! backlog holds up another's request; within one requester's, the earliest deadline, then age.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use network_lib::ids::JobId;

use crate::records::Millis;

/// Place of a waiting job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Priority of the mode: 0 goes first.
    pub class: u8,
    /// Who asked first.
    pub requester: Address,
    /// Unix seconds at which its most urgent request ends.
    pub deadline: u64,
    /// When it was created.
    pub created_at: Millis,
    /// The job.
    pub job: JobId,
}

/// The order of one requester's jobs: deadline, age, id.
type Place = (u64, Millis, JobId);

/// The waiting jobs.
#[derive(Debug, Default)]
pub struct Queue {
    order: BTreeMap<u8, BTreeMap<Address, BTreeSet<Place>>>,
    ranks: BTreeMap<JobId, Rank>,
}

impl Queue {
    /// Puts a job in its place; a job that waits already moves.
    pub fn insert(&mut self, rank: Rank) {
        self.remove(rank.job);
        let requesters = self.order.entry(rank.class).or_default();
        requesters.entry(rank.requester).or_default().insert(place(&rank));
        self.ranks.insert(rank.job, rank);
    }

    /// Takes a job out; nothing happens if it does not wait.
    pub fn remove(&mut self, job: JobId) {
        let Some(rank) = self.ranks.remove(&job) else { return };
        let Some(requesters) = self.order.get_mut(&rank.class) else { return };
        if let Some(places) = requesters.get_mut(&rank.requester) {
            places.remove(&place(&rank));
            if places.is_empty() {
                requesters.remove(&rank.requester);
            }
        }
    }

    /// Whether a job waits.
    #[must_use]
    pub fn holds(&self, job: JobId) -> bool {
        self.ranks.contains_key(&job)
    }

    /// The waiting jobs, in no order that matters.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.ranks.keys().copied()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// The waiting jobs, the next one first; `running` says how many jobs of each requester are being
    /// worked on.
    pub fn iter<'a>(
        &'a self,
        running: &'a BTreeMap<Address, usize>,
    ) -> impl Iterator<Item = Rank> + 'a {
        self.order.values().flat_map(move |requesters| {
            let mut turns: Vec<_> = requesters.iter().collect();
            turns.sort_by_key(|(requester, places)| {
                (running.get(*requester).copied().unwrap_or(0), places.first().copied())
            });
            let places = turns.into_iter().flat_map(|(_, places)| places);
            places.filter_map(|(_, _, job)| self.ranks.get(job).copied())
        })
    }
}

const fn place(rank: &Rank) -> Place {
    (rank.deadline, rank.created_at, rank.job)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Address = Address::repeat_byte(0xa1);
    const BOB: Address = Address::repeat_byte(0xb0);

    fn rank(n: u8, class: u8, requester: Address, deadline: u64, created_at: i64) -> Rank {
        Rank { class, requester, deadline, created_at: Millis(created_at), job: JobId([n; 16]) }
    }

    fn order(queue: &Queue, running: &[(Address, usize)]) -> Vec<u8> {
        let running = running.iter().copied().collect();
        queue.iter(&running).map(|rank| rank.job.0[0]).collect()
    }

    #[test]
    fn urgent_modes_then_deadlines_then_age_decide() {
        let mut queue = Queue::default();
        queue.insert(rank(1, 1, ALICE, 50, 1));
        queue.insert(rank(2, 1, ALICE, 40, 2));
        queue.insert(rank(3, 0, ALICE, 90, 3));
        queue.insert(rank(4, 1, ALICE, 40, 1));
        assert_eq!(order(&queue, &[]), [3, 4, 2, 1]);
    }

    #[test]
    fn whoever_has_least_in_progress_is_next() {
        let mut queue = Queue::default();
        queue.insert(rank(1, 1, ALICE, 10, 1));
        queue.insert(rank(2, 1, ALICE, 11, 1));
        queue.insert(rank(3, 1, BOB, 99, 9));
        assert_eq!(order(&queue, &[]), [1, 2, 3]);
        assert_eq!(order(&queue, &[(ALICE, 1)]), [3, 1, 2]);
        assert_eq!(order(&queue, &[(ALICE, 1), (BOB, 1)]), [1, 2, 3]);
    }

    #[test]
    fn reinserting_moves_and_removing_twice_is_harmless() {
        let mut queue = Queue::default();
        queue.insert(rank(1, 1, ALICE, 50, 1));
        queue.insert(rank(1, 0, BOB, 10, 1));
        assert_eq!(order(&queue, &[]), [1]);
        queue.remove(JobId([1; 16]));
        queue.remove(JobId([1; 16]));
        assert!(queue.is_empty() && !queue.holds(JobId([1; 16])));
        assert_eq!(order(&queue, &[]), [0_u8; 0]);
    }
}
