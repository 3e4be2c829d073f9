//! The order of waiting jobs.

use std::collections::VecDeque;

use alloy_primitives::Address;
use arbtest::arbtest;

use super::*;

const ALICE: ClientKey = of(0xa1);
const BOB: ClientKey = of(0xb0);

const fn of(address: u8) -> ClientKey {
    ClientKey::Address(Address::repeat_byte(address))
}

fn job(n: u8, class: u8, requester: ClientKey, deadline: u64, created_at: i64) -> Waiting {
    let created_at = Millis(created_at);
    Waiting {
        rank: Rank { class, requester, deadline, created_at, job: JobId([n; 16]) },
        need: Need { mode: ProofMode::Core, version: "v6.1.0".into(), private: false },
        program: VkHash([1; 32]),
        not_before: Millis(0),
        is_choosy: false,
        is_ahead: false,
    }
}

/// The order when these numbers of jobs run.
fn order(queue: &mut Queue, running: &[(ClientKey, usize)]) -> Vec<u8> {
    let counted = queue.running_by_requester().clone();
    for (requester, count) in &counted {
        (0..*count).for_each(|_| queue.count_running(*requester, false));
    }
    for (requester, count) in running {
        (0..*count).for_each(|_| queue.count_running(*requester, true));
    }
    queue.iter().map(|job| job.0[0]).collect()
}

#[test]
fn urgent_modes_then_deadlines_then_age_decide() {
    let mut queue = Queue::default();
    queue.insert(job(1, 1, ALICE, 50, 1));
    queue.insert(job(2, 1, ALICE, 40, 2));
    queue.insert(job(3, 0, ALICE, 90, 3));
    queue.insert(job(4, 1, ALICE, 40, 1));
    assert_eq!(order(&mut queue, &[]), [3, 4, 2, 1]);
}

#[test]
fn the_requester_with_the_fewest_running_jobs_is_next() {
    let mut queue = Queue::default();
    queue.insert(job(1, 1, ALICE, 10, 1));
    queue.insert(job(2, 1, ALICE, 11, 1));
    queue.insert(job(3, 1, BOB, 99, 9));
    assert_eq!(order(&mut queue, &[]), [1, 2, 3]);
    assert_eq!(order(&mut queue, &[(ALICE, 1)]), [3, 1, 2]);
    assert_eq!(order(&mut queue, &[(ALICE, 1), (BOB, 1)]), [1, 2, 3]);
}

/// The queue as plainly as possible: every order is sorted from the start.
#[derive(Debug, Default)]
struct Plain {
    jobs: BTreeMap<JobId, Waiting>,
    running: BTreeMap<ClientKey, usize>,
    rounds: BTreeMap<u8, u64>,
    had_turn: BTreeMap<(u8, ClientKey), u64>,
}

impl Plain {
    fn round_of(&self, class: u8, requester: ClientKey) -> u64 {
        let round = self.rounds.get(&class).copied().unwrap_or(0);
        self.had_turn.get(&(class, requester)).copied().unwrap_or(round)
    }

    fn remove(&mut self, job: JobId, uses_turn: bool) {
        let Some(Waiting { rank, .. }) = self.jobs.remove(&job) else { return };
        let class = rank.class;
        if uses_turn {
            let next = self.round_of(class, rank.requester) + 1;
            self.had_turn.insert((class, rank.requester), next);
        }
        let waiting = || self.jobs.values().filter(|it| it.rank.class == class);
        let rounds = waiting().map(|it| self.round_of(class, it.rank.requester));
        let round = rounds.min().unwrap_or(0);
        if waiting().next().is_none() {
            self.had_turn.retain(|(of, _), _| *of != class);
        } else if round > self.rounds.get(&class).copied().unwrap_or(0) {
            self.had_turn.retain(|(of, _), next| *of != class || *next > round);
        }
        self.rounds.insert(class, round);
    }

    fn insert(&mut self, waiting: Waiting) {
        self.remove(waiting.rank.job, false);
        self.jobs.insert(waiting.rank.job, waiting);
    }

    fn order(&self) -> Vec<JobId> {
        let key = |waiting: &Waiting| queue_key(&waiting.rank);
        let turn = |waiting: &Waiting| {
            let Rank { class, requester, .. } = waiting.rank;
            let theirs = self
                .jobs
                .values()
                .filter(|other| (other.rank.class, other.rank.requester) == (class, requester));
            let busy = self.running.get(&requester).copied().unwrap_or(0);
            (class, busy, self.round_of(class, requester), theirs.map(key).min())
        };
        let mut jobs: Vec<&Waiting> = self.jobs.values().collect();
        jobs.sort_by_key(|waiting| (turn(waiting), key(waiting)));
        jobs.into_iter().map(|waiting| waiting.rank.job).collect()
    }
}

/// For any history: the order is that of the plain queue, and each group contains exactly its jobs, in this order.
#[test]
fn the_order_is_that_of_a_sorted_queue() {
    arbtest(|input| {
        let (mut queue, mut plain, mut now) = (Queue::default(), Plain::default(), Millis(5));
        for _ in 0..input.int_in_range(0..=80)? {
            let requester = of(input.int_in_range(1..=4)?);
            let n = input.int_in_range(0..=20)?;
            match input.int_in_range(0..=7)? {
                0..=2 => {
                    let (deadline, age) = (input.int_in_range(1..=5)?, input.int_in_range(1..=3)?);
                    let mut new = job(n, input.int_in_range(0..=1)?, requester, deadline, age);
                    new.need.mode = *input.choose(&[ProofMode::Core, ProofMode::Plonk])?;
                    new.need.private = input.ratio(1, 4)?;
                    new.program = VkHash([input.int_in_range(1..=2)?; 32]);
                    new.not_before = Millis(now.0 + input.int_in_range(-1..=2)?);
                    (new.is_choosy, new.is_ahead) = (input.ratio(1, 5)?, input.ratio(1, 5)?);
                    queue.insert(new.clone());
                    plain.insert(new);
                }
                3 => {
                    queue.remove(JobId([n; 16]));
                    plain.remove(JobId([n; 16]), false);
                }
                4 => {
                    let first = plain.order().first().copied().unwrap_or(JobId([n; 16]));
                    queue.dequeue(first);
                    plain.remove(first, true);
                }
                5 => {
                    let count = plain.running.entry(requester).or_default();
                    let is_more = *count == 0 || input.arbitrary()?;
                    *count = if is_more { *count + 1 } else { *count - 1 };
                    queue.count_running(requester, is_more);
                }
                6 => {
                    let (is_ahead, is_choosy) = (input.arbitrary()?, input.arbitrary()?);
                    queue.regroup(JobId([n; 16]), is_ahead, is_choosy);
                    if let Some(waiting) = plain.jobs.get_mut(&JobId([n; 16])) {
                        (waiting.is_ahead, waiting.is_choosy) = (is_ahead, is_choosy);
                    }
                }
                _ => now.0 += 1,
            }
            queue.wake(now);
            let order = plain.order();
            assert_eq!(queue.iter().collect::<Vec<_>>(), order);
            assert_eq!(queue.len(), plain.jobs.len());
            for (place, waiting) in order.iter().enumerate() {
                assert_eq!(queue.jobs_ahead_of(*waiting), place);
            }
            groups_are_right(&queue, &plain, &order, now);
        }
        Ok(())
    })
    .size_min(500)
    .size_max(5_000);
}

fn groups_are_right(queue: &Queue, plain: &Plain, order: &[JobId], now: Millis) {
    let expected = |class: u8, is_in: &dyn Fn(&Waiting) -> bool| -> Vec<JobId> {
        let waiting = order.iter().map(|job| &plain.jobs[job]);
        let ready = waiting.filter(|it| it.rank.class == class && it.not_before <= now);
        ready.filter(|it| is_in(it)).map(|it| it.rank.job).collect()
    };
    for (number, class) in queue.classes() {
        for need in queue.needs() {
            let open = |it: &Waiting| it.need == **need && !it.is_choosy;
            let choosy: Vec<JobId> = class.choosy(need).map(|place| place.job()).collect();
            assert_eq!(choosy, expected(number, &|it| it.need == **need && it.is_choosy));
            let first = class.first(need).map(|place| place.job());
            assert_eq!(first, expected(number, &open).first().copied());
            let not_ahead = class.not_ahead(need, None).into_iter().flat_map(Group::iter);
            let not_ahead: Vec<JobId> = not_ahead.map(|place| place.job()).collect();
            assert_eq!(not_ahead, expected(number, &|it| open(it) && !it.is_ahead));
            for program in [VkHash([1; 32]), VkHash([2; 32])] {
                let of_program = class.first_by_program(need).filter(|(it, _)| *it == program);
                let first = of_program.map(|(_, place)| place).min().map(|place| place.job());
                let theirs = expected(number, &|it| open(it) && it.program == program);
                assert_eq!(first, theirs.first().copied());
            }
        }
    }
}

/// A single request competes with requesters whose backlogs never end and whose deadlines may be nearer: it
/// waits for at most one turn of each, even with one worker.
#[test]
fn nobody_starves_beside_endless_backlogs() {
    arbtest(|input| {
        let slots: usize = input.int_in_range(1..=3)?;
        let others: u8 = input.int_in_range(1..=4)?;
        let mut queue = Queue::default();
        let mut in_progress = VecDeque::new();
        let came_at = input.int_in_range(0..=10)?;
        let mut number = 1;
        for now in 0..=came_at + others {
            for n in 1..=others {
                let deadline = input.int_in_range(1..=30)?;
                if now == 0 || input.arbitrary()? {
                    let requester = of(n);
                    queue.insert(job(number, 1, requester, deadline, 1));
                    number += 1;
                }
            }
            if now == came_at {
                queue.insert(job(0, 1, BOB, 99, 2));
            }
            if in_progress.len() == slots
                && let Some(done) = in_progress.pop_front()
            {
                queue.count_running(done, false);
            }
            let Some(next) = queue.iter().next() else { continue };
            let (_, place) = queue.place(next).expect("it waits");
            queue.dequeue(next);
            queue.count_running(place.requester(), true);
            in_progress.push_back(place.requester());
        }
        assert!(!queue.contains(JobId([0; 16])), "{others} others, {slots} slots: {queue:?}");
        Ok(())
    });
}

#[test]
fn a_round_that_is_over_leaves_nothing_behind() {
    let mut queue = Queue::default();
    for n in 1..=100 {
        queue.insert(job(n, 1, of(n), 10, 1));
    }
    for n in 1..=100 {
        queue.dequeue(JobId([n; 16]));
    }
    let class = &queue.classes[&1];
    assert_eq!((class.round, class.had_turn.len(), class.len()), (0, 0, 0));
}

#[test]
fn reinserting_moves_and_removing_twice_is_harmless() {
    let mut queue = Queue::default();
    queue.insert(job(1, 1, ALICE, 50, 1));
    queue.insert(job(1, 0, BOB, 10, 1));
    assert_eq!(order(&mut queue, &[]), [1]);
    queue.remove(JobId([1; 16]));
    queue.remove(JobId([1; 16]));
    assert!(queue.is_empty() && !queue.contains(JobId([1; 16])));
    assert_eq!(order(&mut queue, &[]), [0_u8; 0]);
}
