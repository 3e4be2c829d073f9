//! Waiting jobs and the order in which they are assigned.
//!
//! Priority classes come first. Within a class the requester with the fewest running jobs is next, so that one
//! requester's backlog does not delay another's request. Ties go to requesters that have not had a turn in this
//! round, which prevents starvation even with a single worker; then to the earliest deadline, then to the oldest
//! job.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use hierophant_model::records::Millis;
use network_lib::ids::JobId;
use network_lib::job::ProofMode;

/// Properties of a waiting job that decide its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Priority class, from the job or its mode; 0 is assigned first.
    pub class: u8,
    /// Kind of proof.
    pub mode: ProofMode,
    /// Requester of the job's oldest request.
    pub requester: Address,
    /// Earliest deadline of its requests, Unix seconds.
    pub deadline: u64,
    /// Creation time.
    pub created_at: Millis,
    /// The job.
    pub job: JobId,
}

/// Sort key among the jobs of one requester: deadline, age, id.
type QueueKey = (u64, Millis, JobId);

/// Queue of waiting jobs.
#[derive(Debug, Default)]
pub struct Queue {
    order: BTreeMap<u8, Class>,
    ranks: BTreeMap<JobId, Rank>,
    ages: BTreeSet<(Millis, JobId)>,
    modes: BTreeMap<ProofMode, usize>,
}

/// Waiting jobs of one priority class.
///
/// Each requester has one turn per round. A requester that has had its turn takes part again in the next round. A
/// round ends when no requester with a remaining turn is waiting.
#[derive(Debug, Default)]
struct Class {
    requesters: BTreeMap<Address, BTreeSet<QueueKey>>,
    round: u64,
    /// Next round of each requester that has had its turn in this one, whether or not it is waiting.
    had_turn: BTreeMap<Address, u64>,
}

impl Class {
    fn remove(&mut self, rank: &Rank) {
        if let Some(keys) = self.requesters.get_mut(&rank.requester) {
            keys.remove(&queue_key(rank));
            if keys.is_empty() {
                self.requesters.remove(&rank.requester);
            }
        }
        // Usually true for the first requester.
        if self.requesters.keys().any(|requester| self.round_of(requester) == self.round) {
            return;
        }
        let rounds = self.requesters.keys().map(|requester| self.round_of(requester));
        self.round = rounds.min().unwrap_or(u64::MAX);
        self.had_turn.retain(|_, round| *round > self.round);
        if self.requesters.is_empty() {
            self.round = 0;
        }
    }

    fn round_of(&self, requester: &Address) -> u64 {
        self.had_turn.get(requester).copied().unwrap_or(self.round)
    }
}

impl Queue {
    /// Inserts a job, or moves it if it is already waiting.
    pub fn insert(&mut self, rank: Rank) {
        self.remove(rank.job);
        let class = self.order.entry(rank.class).or_default();
        class.requesters.entry(rank.requester).or_default().insert(queue_key(&rank));
        self.ages.insert((rank.created_at, rank.job));
        *self.modes.entry(rank.mode).or_default() += 1;
        self.ranks.insert(rank.job, rank);
    }

    /// Removes a job. Has no effect if it is not waiting.
    pub fn remove(&mut self, job: JobId) {
        let Some(rank) = self.detach(job) else { return };
        if let Some(class) = self.order.get_mut(&rank.class) {
            class.remove(&rank);
        }
    }

    /// Removes a job that is being assigned, which uses up its requester's turn. Has no effect if it is not
    /// waiting.
    pub fn dequeue(&mut self, job: JobId) {
        let Some(rank) = self.detach(job) else { return };
        if let Some(class) = self.order.get_mut(&rank.class) {
            let next = class.round_of(&rank.requester) + 1;
            class.had_turn.insert(rank.requester, next);
            class.remove(&rank);
        }
    }

    fn detach(&mut self, job: JobId) -> Option<Rank> {
        let rank = self.ranks.remove(&job)?;
        self.ages.remove(&(rank.created_at, job));
        if let Some(count) = self.modes.get_mut(&rank.mode) {
            *count -= 1;
            if *count == 0 {
                self.modes.remove(&rank.mode);
            }
        }
        Some(rank)
    }

    /// Whether a job is waiting.
    #[must_use]
    pub fn contains(&self, job: JobId) -> bool {
        self.ranks.contains_key(&job)
    }

    /// Waiting jobs in arbitrary order.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.ranks.keys().copied()
    }

    /// Number of waiting jobs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Number of waiting jobs by kind of proof.
    #[must_use]
    pub const fn by_mode(&self) -> &BTreeMap<ProofMode, usize> {
        &self.modes
    }

    /// Creation time of the oldest waiting job.
    #[must_use]
    pub fn oldest(&self) -> Option<Millis> {
        self.ages.first().map(|(created_at, _)| *created_at)
    }

    /// Whether no job is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// Waiting jobs in the order of assignment. `running` is the number of running jobs by requester.
    pub fn iter<'a>(
        &'a self,
        running: &'a BTreeMap<Address, usize>,
    ) -> impl Iterator<Item = Rank> + 'a {
        self.order.values().flat_map(move |class| {
            let mut turns: Vec<_> = class.requesters.iter().collect();
            turns.sort_by_key(|(requester, keys)| {
                let busy = running.get(*requester).copied().unwrap_or(0);
                (busy, class.round_of(requester), keys.first().copied())
            });
            let keys = turns.into_iter().flat_map(|(_, keys)| keys);
            keys.filter_map(|(_, _, job)| self.ranks.get(job).copied())
        })
    }
}

const fn queue_key(rank: &Rank) -> QueueKey {
    (rank.deadline, rank.created_at, rank.job)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use arbtest::arbtest;

    use super::*;

    const ALICE: Address = Address::repeat_byte(0xa1);
    const BOB: Address = Address::repeat_byte(0xb0);

    fn rank(n: u8, class: u8, requester: Address, deadline: u64, created_at: i64) -> Rank {
        let mode = ProofMode::Core;
        Rank {
            class,
            mode,
            requester,
            deadline,
            created_at: Millis(created_at),
            job: JobId([n; 16]),
        }
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
    fn the_requester_with_the_fewest_running_jobs_is_next() {
        let mut queue = Queue::default();
        queue.insert(rank(1, 1, ALICE, 10, 1));
        queue.insert(rank(2, 1, ALICE, 11, 1));
        queue.insert(rank(3, 1, BOB, 99, 9));
        assert_eq!(order(&queue, &[]), [1, 2, 3]);
        assert_eq!(order(&queue, &[(ALICE, 1)]), [3, 1, 2]);
        assert_eq!(order(&queue, &[(ALICE, 1), (BOB, 1)]), [1, 2, 3]);
    }

    /// For any queue and any running jobs: every job appears once, and each job that precedes another has a reason
    /// to.
    #[test]
    fn nobody_is_overtaken_without_a_reason() {
        arbtest(|input| {
            let mut queue = Queue::default();
            let mut expected = BTreeMap::new();
            for _ in 0..input.int_in_range(0..=40)? {
                let requester = Address::repeat_byte(input.int_in_range(1..=4)?);
                let (deadline, age) = (input.int_in_range(1..=5)?, input.int_in_range(1..=3)?);
                let job = input.int_in_range(0..=20)?;
                let rank = rank(job, input.int_in_range(0..=1)?, requester, deadline, age);
                if input.ratio(1, 4)? {
                    queue.remove(rank.job);
                    expected.remove(&rank.job);
                } else {
                    queue.insert(rank);
                    expected.insert(rank.job, rank);
                }
            }
            let mut running = BTreeMap::new();
            for n in 1..=4 {
                running.insert(Address::repeat_byte(n), input.int_in_range(0..=3)?);
            }
            let turns: Vec<Rank> = queue.iter(&running).collect();
            let jobs: BTreeMap<JobId, Rank> = turns.iter().map(|rank| (rank.job, *rank)).collect();
            assert_eq!((jobs, turns.len()), (expected, queue.len()));
            for pair in turns.windows(2) {
                let (first, second) = (pair[0], pair[1]);
                let busy = |rank: &Rank| (rank.class, running[&rank.requester]);
                assert!(busy(&first) <= busy(&second), "{first:?} before {second:?}");
                let same = first.requester == second.requester && first.class == second.class;
                assert!(
                    !same || queue_key(&first) < queue_key(&second),
                    "{first:?} before {second:?}"
                );
            }
            Ok(())
        });
    }

    /// A single request competes with requesters whose backlogs never end and whose deadlines may be nearer: it
    /// waits for at most one turn of each, even with one worker.
    #[test]
    fn nobody_starves_beside_endless_backlogs() {
        arbtest(|input| {
            let slots: usize = input.int_in_range(1..=3)?;
            let others: u8 = input.int_in_range(1..=4)?;
            let (mut queue, mut running) = (Queue::default(), BTreeMap::<Address, usize>::new());
            let mut in_progress = VecDeque::new();
            let came_at = input.int_in_range(0..=10)?;
            let mut number = 1;
            for now in 0..=came_at + others {
                for n in 1..=others {
                    let deadline = input.int_in_range(1..=30)?;
                    if now == 0 || input.arbitrary()? {
                        let requester = Address::repeat_byte(n);
                        queue.insert(rank(number, 1, requester, deadline, 1));
                        number += 1;
                    }
                }
                if now == came_at {
                    queue.insert(rank(0, 1, BOB, 99, 2));
                }
                if in_progress.len() == slots
                    && let Some(done) = in_progress.pop_front()
                {
                    running.entry(done).and_modify(|count| *count -= 1);
                }
                let Some(next) = queue.iter(&running).next() else { continue };
                queue.dequeue(next.job);
                *running.entry(next.requester).or_default() += 1;
                in_progress.push_back(next.requester);
            }
            assert!(!queue.contains(JobId([0; 16])), "{others} others, {slots} slots: {queue:?}");
            Ok(())
        });
    }

    #[test]
    fn a_round_that_is_over_leaves_nothing_behind() {
        let mut queue = Queue::default();
        for n in 1..=100 {
            queue.insert(rank(n, 1, Address::repeat_byte(n), 10, 1));
        }
        for n in 1..=100 {
            queue.dequeue(JobId([n; 16]));
        }
        let class = &queue.order[&1];
        assert_eq!((class.round, class.had_turn.len(), class.requesters.len()), (0, 0, 0));
    }

    #[test]
    fn reinserting_moves_and_removing_twice_is_harmless() {
        let mut queue = Queue::default();
        queue.insert(rank(1, 1, ALICE, 50, 1));
        queue.insert(rank(1, 0, BOB, 10, 1));
        assert_eq!(order(&queue, &[]), [1]);
        queue.remove(JobId([1; 16]));
        queue.remove(JobId([1; 16]));
        assert!(queue.is_empty() && !queue.contains(JobId([1; 16])));
        assert_eq!(order(&queue, &[]), [0_u8; 0]);
    }
}
