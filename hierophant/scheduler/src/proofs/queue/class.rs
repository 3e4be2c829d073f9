//! Waiting jobs of one priority class.
//!
//! The order is that of [`Turn`]s, one for each requester. It is kept for all jobs and for each [`Group`] of jobs that
//! the same workers can take, so that the next job for a free slot is found without a walk over those that no free
//! worker can take.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use hierophant_model::clients::ClientKey;
use network_lib::ids::VkHash;

use super::group::{Group, GroupKey, Part, Place, QueueKey, Turn};
use crate::proofs::need::{Need, SharedNeed};

/// Position of a requester, and what it has waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    turn: Turn,
    /// Number of running jobs, and of those that are leased ahead.
    engaged: usize,
    /// Number of waiting jobs.
    waiting: usize,
}

impl Standing {
    /// Position if jobs that are leased ahead count as running.
    const fn by_engaged(&self) -> Turn {
        let Turn { round, first, requester, .. } = self.turn;
        Turn { busy: self.engaged, round, first, requester }
    }
}

/// Number of jobs of a requester that are in progress in any class.
#[derive(Debug, Clone, Copy)]
pub(super) struct InProgress {
    pub(super) running: usize,
    pub(super) ahead: usize,
}

/// Waiting jobs of one priority class.
///
/// Each requester has one turn per round. A requester that has had its turn takes part again in the next round. A
/// round ends when no requester with a remaining turn is waiting.
#[derive(Debug, Default)]
pub struct Class {
    all: Group,
    /// Groups of the jobs that can be assigned now.
    groups: BTreeMap<GroupKey, Group>,
    /// Groups of each requester.
    groups_of: BTreeSet<(ClientKey, GroupKey)>,
    requesters: BTreeMap<ClientKey, Standing>,
    /// Requesters with jobs that are leased ahead, by number of these and of running ones.
    holders: BTreeSet<(usize, ClientKey)>,
    /// Requesters of which a job that is not leased ahead precedes one that is.
    inverted: BTreeSet<ClientKey>,
    /// Number of jobs that are leased ahead.
    pub(super) ahead: usize,
    pub(super) round: u64,
    /// Number of waiting requesters by their next round.
    rounds: BTreeMap<u64, usize>,
    /// Next round of each requester that has had its turn in this one, whether or not it is waiting.
    pub(super) had_turn: BTreeMap<ClientKey, u64>,
    /// The same, by round.
    next_rounds: BTreeSet<(u64, ClientKey)>,
}

impl Class {
    /// Adds a job.
    pub(super) fn insert(&mut self, requester: ClientKey, key: QueueKey, progress: InProgress) {
        let is_new = self.all.jobs.insert((requester, key));
        self.change(requester, progress, isize::from(is_new));
    }

    /// Removes a job that is in no group.
    pub(super) fn remove(&mut self, requester: ClientKey, key: QueueKey, progress: InProgress) {
        let was_there = self.all.jobs.remove(&(requester, key));
        self.change(requester, progress, -isize::from(was_there));
        self.end_round();
    }

    /// Uses up a requester's turn.
    pub(super) fn take_turn(&mut self, requester: ClientKey, progress: InProgress) {
        let next = self.round_of(requester) + 1;
        if let Some(before) = self.had_turn.insert(requester, next) {
            self.next_rounds.remove(&(before, requester));
        }
        self.next_rounds.insert((next, requester));
        self.refresh(requester, progress);
    }

    /// Adds a job to a group: it can be assigned now.
    pub(super) fn join_group(&mut self, group: GroupKey, requester: ClientKey, key: QueueKey) {
        let Some(standing) = self.requesters.get(&requester) else { return };
        let part = group.1;
        let jobs = self.groups.entry(group.clone()).or_default();
        jobs.jobs.insert((requester, key));
        jobs.order.insert(standing.turn);
        if part == Part::NOT_AHEAD {
            jobs.by_engaged.insert(standing.by_engaged());
        }
        self.groups_of.insert((requester, group));
        self.find_inversion(requester, part);
    }

    /// Removes a job from a group.
    pub(super) fn leave_group(&mut self, group: GroupKey, requester: ClientKey, key: QueueKey) {
        let Some(jobs) = self.groups.get_mut(&group) else { return };
        let part = group.1;
        jobs.jobs.remove(&(requester, key));
        if jobs.first_of(requester).is_none() {
            if let Some(standing) = self.requesters.get(&requester) {
                jobs.order.remove(&standing.turn);
                jobs.by_engaged.remove(&standing.by_engaged());
            }
            if jobs.jobs.is_empty() {
                self.groups.remove(&group);
            }
            self.groups_of.remove(&(requester, group));
        }
        self.find_inversion(requester, part);
    }

    /// Moves a requester to its current position.
    pub(super) fn refresh(&mut self, requester: ClientKey, progress: InProgress) {
        self.change(requester, progress, 0);
    }

    /// The same, after a change of the number of its waiting jobs.
    fn change(&mut self, requester: ClientKey, progress: InProgress, waiting: isize) {
        let InProgress { running: busy, ahead } = progress;
        let before = self.requesters.get(&requester).copied();
        let round = self.round_of(requester);
        let now = self.all.first_of(requester).map(|first| Standing {
            turn: Turn { busy, round, first, requester },
            engaged: busy.saturating_add(ahead),
            waiting: before.map_or(0, |before| before.waiting).saturating_add_signed(waiting),
        });
        if now == before {
            return;
        }
        let Self { all, groups, groups_of, rounds, holders, .. } = self;
        let (from, to) = (before.map(|it| it.turn), now.map(|it| it.turn));
        if from != to {
            all.move_turn(from, to);
        }
        for key in of_requester(groups_of, requester) {
            let Some(group) = groups.get_mut(key) else { continue };
            if from != to {
                group.move_turn(from, to);
            }
            if key.1 == Part::NOT_AHEAD {
                if let Some(before) = &before {
                    group.by_engaged.remove(&before.by_engaged());
                }
                group.by_engaged.extend(now.as_ref().map(Standing::by_engaged));
            }
        }
        if let Some(before) = before {
            holders.remove(&(before.engaged, requester));
            if let Some(count) = rounds.get_mut(&before.turn.round) {
                *count -= 1;
                if *count == 0 {
                    rounds.remove(&before.turn.round);
                }
            }
        }
        match now {
            Some(now) => {
                if now.engaged > busy {
                    holders.insert((now.engaged, requester));
                }
                *rounds.entry(round).or_default() += 1;
                self.requesters.insert(requester, now);
            }
            None => {
                self.requesters.remove(&requester);
            }
        }
    }

    /// Finds out whether a job of a requester precedes one that is leased ahead, after a change of such a group.
    fn find_inversion(&mut self, requester: ClientKey, changed: Part) {
        if !matches!(changed, Part::Open(_, None)) {
            return;
        }
        let has_ahead = self.requesters.get(&requester).is_some_and(|it| it.engaged > it.turn.busy);
        let mut is_inverted = false;
        if has_ahead {
            let of = |part| {
                let keys = self.groups_of(requester).filter(move |(_, of)| *of == part);
                keys.filter_map(|key| self.groups.get(key))
            };
            let first = of(Part::NOT_AHEAD).filter_map(|it| it.first_of(requester)).min();
            let last = of(Part::Open(true, None)).filter_map(|it| it.last_of(requester)).max();
            is_inverted = first.zip(last).is_some_and(|(first, last)| first < last);
        }
        if is_inverted {
            self.inverted.insert(requester);
        } else {
            self.inverted.remove(&requester);
        }
    }

    fn groups_of(&self, requester: ClientKey) -> impl Iterator<Item = &GroupKey> + '_ {
        of_requester(&self.groups_of, requester)
    }

    /// Ends the round if no requester with a remaining turn is waiting.
    fn end_round(&mut self) {
        if self.rounds.contains_key(&self.round) {
            return;
        }
        self.round = self.rounds.first_key_value().map_or(u64::MAX, |(round, _)| *round);
        while let Some((round, requester)) = self.next_rounds.first().copied() {
            if round > self.round {
                break;
            }
            self.next_rounds.pop_first();
            self.had_turn.remove(&requester);
        }
        if self.requesters.is_empty() {
            self.round = 0;
        }
    }

    fn round_of(&self, requester: ClientKey) -> u64 {
        self.had_turn.get(&requester).copied().unwrap_or(self.round)
    }

    /// Whether a requester has a waiting job.
    pub(super) fn contains(&self, requester: ClientKey) -> bool {
        self.requesters.contains_key(&requester)
    }

    /// Position of a waiting job.
    pub(super) fn place(&self, requester: ClientKey, key: QueueKey) -> Option<Place> {
        self.turn(requester).map(|turn| Place { turn, key })
    }

    /// Number of jobs before a place. Takes time in the number of requesters, and of jobs of this one.
    pub(super) fn jobs_before(&self, place: &Place) -> usize {
        let earlier = self.all.order.range(..place.turn).map(|turn| turn.requester);
        let theirs: usize = earlier.filter_map(|it| Some(self.requesters.get(&it)?.waiting)).sum();
        let own = self.all.of(place.requester()).take_while(|key| *key < place.key);
        theirs + own.count()
    }

    /// Number of waiting jobs.
    pub(super) fn len(&self) -> usize {
        self.all.jobs.len()
    }

    /// All jobs, whether or not they can be assigned now, in the order of assignment.
    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.all.iter()
    }

    /// The first job of a need that may go to any fitting worker.
    #[must_use]
    pub fn first(&self, need: &SharedNeed) -> Option<Place> {
        let first = |is_ahead| self.first_of(need, Part::Open(is_ahead, None));
        [true, false].into_iter().filter_map(first).min()
    }

    /// The first of them of each program. A program may occur twice.
    pub fn first_by_program(
        &self,
        need: &SharedNeed,
    ) -> impl Iterator<Item = (VkHash, Place)> + '_ {
        let others = self.programs(need, Part::NOT_AHEAD, Part::Open(true, None));
        others.chain(self.programs(need, Part::Open(true, None), Part::Choosy))
    }

    /// Those that are not leased ahead, of all programs or of one.
    #[must_use]
    pub fn not_ahead(&self, need: &SharedNeed, program: Option<VkHash>) -> Option<&Group> {
        self.groups.get(&(SharedNeed::clone(need), Part::Open(false, program)))
    }

    /// The programs of those that are not leased ahead.
    pub fn programs_not_ahead(&self, need: &SharedNeed) -> impl Iterator<Item = VkHash> + '_ {
        let programs = self.programs(need, Part::NOT_AHEAD, Part::Open(true, None));
        programs.map(|(program, _)| program)
    }

    /// Whether a requester has a job that can be assigned now and is not leased ahead.
    #[must_use]
    pub fn has_not_ahead(&self, requester: ClientKey) -> bool {
        self.groups_of(requester).any(|(_, part)| *part == Part::NOT_AHEAD)
    }

    /// Position of a requester with a waiting job.
    #[must_use]
    pub fn turn(&self, requester: ClientKey) -> Option<Turn> {
        self.requesters.get(&requester).map(|standing| standing.turn)
    }

    /// Number of jobs that are leased ahead.
    #[must_use]
    pub const fn ahead(&self) -> usize {
        self.ahead
    }

    /// Largest number of jobs in progress of a requester with jobs that are leased ahead.
    #[must_use]
    pub fn most_engaged(&self) -> Option<usize> {
        self.holders.last().map(|(engaged, _)| *engaged)
    }

    /// Whether a requester's job that is not leased ahead precedes one of its own that is.
    #[must_use]
    pub fn has_inversion(&self) -> bool {
        !self.inverted.is_empty()
    }

    /// Whether a job of this need can be assigned now, if a worker can take it.
    #[must_use]
    pub fn has_any_of(&self, need: &SharedNeed) -> bool {
        let from = (SharedNeed::clone(need), Part::NOT_AHEAD);
        self.groups.range(from..).next().is_some_and(|((of, _), _)| of == need)
    }

    fn first_of(&self, need: &SharedNeed, part: Part) -> Option<Place> {
        self.groups.get(&(SharedNeed::clone(need), part))?.first()
    }

    fn programs(
        &self,
        need: &SharedNeed,
        after: Part,
        before: Part,
    ) -> impl Iterator<Item = (VkHash, Place)> + '_ {
        let bound = |part| Bound::Excluded((SharedNeed::clone(need), part));
        let groups = self.groups.range((bound(after), bound(before)));
        groups.filter_map(|((_, part), group)| match part {
            Part::Open(_, Some(program)) => Some((*program, group.first()?)),
            _ => None,
        })
    }

    /// Jobs of a need that avoid a worker, in the order of assignment.
    pub fn choosy(&self, need: &SharedNeed) -> impl Iterator<Item = Place> + '_ {
        let group = self.groups.get(&(SharedNeed::clone(need), Part::Choosy));
        group.into_iter().flat_map(Group::iter)
    }

    /// Whether a job can be assigned now, if a worker can take it.
    #[must_use]
    pub fn has_assignable(&self) -> bool {
        !self.groups.is_empty()
    }
}

fn of_requester(
    groups: &BTreeSet<(ClientKey, GroupKey)>,
    requester: ClientKey,
) -> impl Iterator<Item = &GroupKey> {
    let lowest = (requester, (SharedNeed::new(Need::lowest()), Part::NOT_AHEAD));
    let theirs = groups.range(lowest..).take_while(move |(owner, _)| *owner == requester);
    theirs.map(|(_, group)| group)
}
