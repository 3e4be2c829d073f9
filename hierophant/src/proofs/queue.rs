//! Jobs that wait for a Contemplant, in the order in which they are given out.

use std::collections::{BTreeMap, BTreeSet};

use network_lib::ids::JobId;
use network_lib::job::ProofMode;

use crate::records::Millis;

/// Place of a waiting job. Smaller goes first: aggregations before ranges (a rollup's aggregation
/// waits for nothing but itself), then the earliest deadline, then age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: u8,
    deadline: u64,
    created_at: Millis,
    job: JobId,
}

impl Rank {
    /// The place of a job whose most urgent request ends at `deadline` (Unix seconds).
    #[must_use]
    pub fn new(mode: ProofMode, deadline: u64, created_at: Millis, job: JobId) -> Self {
        let class = match mode {
            ProofMode::Plonk | ProofMode::Groth16 => 0,
            ProofMode::Core | ProofMode::Compressed => 1,
        };
        Self { class, deadline, created_at, job }
    }
}

/// The waiting jobs.
#[derive(Debug, Default)]
pub struct Queue {
    order: BTreeSet<Rank>,
    ranks: BTreeMap<JobId, Rank>,
}

impl Queue {
    /// Puts a job in its place; a job that waits already moves.
    pub fn insert(&mut self, job: JobId, rank: Rank) {
        self.remove(job);
        self.order.insert(rank);
        self.ranks.insert(job, rank);
    }

    /// Takes a job out; nothing happens if it does not wait.
    pub fn remove(&mut self, job: JobId) {
        if let Some(rank) = self.ranks.remove(&job) {
            self.order.remove(&rank);
        }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The waiting jobs, the next one first.
    pub fn iter(&self) -> impl Iterator<Item = JobId> + '_ {
        self.order.iter().map(|rank| rank.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u8) -> JobId {
        JobId([n; 16])
    }

    #[test]
    fn aggregations_then_deadlines_then_age_decide() {
        let mut queue = Queue::default();
        queue.insert(job(1), Rank::new(ProofMode::Compressed, 50, Millis(1), job(1)));
        queue.insert(job(2), Rank::new(ProofMode::Compressed, 40, Millis(2), job(2)));
        queue.insert(job(3), Rank::new(ProofMode::Plonk, 90, Millis(3), job(3)));
        queue.insert(job(4), Rank::new(ProofMode::Core, 40, Millis(1), job(4)));
        assert_eq!(queue.iter().collect::<Vec<_>>(), [job(3), job(4), job(2), job(1)]);
    }

    #[test]
    fn reinserting_moves_and_removing_twice_is_harmless() {
        let mut queue = Queue::default();
        queue.insert(job(1), Rank::new(ProofMode::Core, 50, Millis(1), job(1)));
        queue.insert(job(1), Rank::new(ProofMode::Core, 10, Millis(1), job(1)));
        assert_eq!(queue.len(), 1);
        queue.remove(job(1));
        queue.remove(job(1));
        assert!(queue.is_empty());
    }
}
