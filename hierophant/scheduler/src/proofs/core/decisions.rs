//! Decisions about the places ahead within one event.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::clients::ClientKey;
use network_lib::ids::{JobId, LeaseId, VkHash, WorkerId};

use crate::proofs::need::SharedNeed;
use crate::proofs::queue::{Class, Group, Queue, QueueKey, Turn};

/// Order in which jobs must begin: class, and whether the job was not overtaken too often.
pub(super) type Urgency = (u8, bool);

/// Position in the order in which places are given out: class, and position there.
pub(super) type Position = (u8, (Turn, QueueKey));

/// Jobs of a class that are walked through: need and program.
type Walk<'a> = (&'a SharedNeed, Option<VkHash>);

/// Which places ahead are decided. A requester's decided jobs count as running, so that its position moves back with
/// each of them.
#[derive(Debug, Default, Clone)]
pub(super) struct Decisions {
    /// Number of decided jobs by requester.
    decided: BTreeMap<ClientKey, usize>,
    /// Jobs with a place that is not decided yet, by class and requester.
    undecided: BTreeMap<(u8, ClientKey), BTreeMap<QueueKey, LeaseId>>,
    /// Positions of their requesters.
    heads: BTreeSet<(u8, Turn)>,
    /// Their requesters by number of running and decided jobs, with the number of these jobs.
    holders: BTreeMap<(usize, ClientKey), usize>,
    /// Largest number of running and decided jobs of a requester, once all jobs keep their places.
    most_busy_kept: Option<usize>,
    /// Positions of requesters with decided jobs.
    moved: BTreeMap<u8, BTreeSet<Turn>>,
    /// Positions before which all requesters of a walk have decided jobs.
    passed: BTreeMap<(u8, SharedNeed, Option<VkHash>), Turn>,
    /// Urgency of the most urgent waiting job that a worker could take, of the workers in question.
    pub(super) most_urgent: BTreeMap<WorkerId, Option<Urgency>>,
    /// Jobs that were overtaken too often.
    pub(super) overdue: Vec<JobId>,
}

impl Decisions {
    /// Adds a job that is leased ahead.
    pub(super) fn add_undecided(&mut self, queue: &Queue, job: JobId, lease: LeaseId) {
        let Some((class, place)) = queue.place(job) else { return };
        let requester = place.requester();
        let theirs = self.undecided.entry((class, requester)).or_default();
        if theirs.is_empty() {
            self.heads.insert((class, place.turn));
        }
        theirs.insert(place.key, lease);
        *self.holders.entry((queue.running(requester), requester)).or_default() += 1;
    }

    /// Position of a requester in a class.
    pub(super) fn turn(&self, queue: &Queue, class: u8, requester: ClientKey) -> Option<Turn> {
        let turn = queue.class(class)?.turn(requester)?;
        Some(Turn { busy: self.busy(queue, requester), ..turn })
    }

    fn busy(&self, queue: &Queue, requester: ClientKey) -> usize {
        queue.running(requester) + self.decided.get(&requester).copied().unwrap_or(0)
    }

    /// Position of the first job whose place is not decided.
    pub(super) fn first_undecided(&self) -> Option<(Position, JobId)> {
        let (class, turn) = *self.heads.first()?;
        let theirs = self.undecided.get(&(class, turn.requester))?;
        let key = *theirs.first_key_value()?.0;
        Some(((class, (turn, key)), key.2))
    }

    /// Largest number of running and decided jobs of a requester with an undecided one.
    pub(super) fn most_busy_undecided(&self) -> Option<usize> {
        self.holders.last_key_value().map(|((busy, _), _)| *busy)
    }

    /// The same once all jobs keep their places.
    pub(super) const fn most_busy_kept(&self) -> Option<usize> {
        self.most_busy_kept
    }

    /// Undecided attempts whose place a job of this requester takes: its own, and those of requesters with more jobs in
    /// progress.
    pub(super) fn yielding_to(&self, queue: &Queue, requester: ClientKey) -> Vec<LeaseId> {
        let busy = self.busy(queue, requester);
        let busier = self.holders.range((busy + 1, ClientKey::LOWEST)..).map(|((_, it), _)| *it);
        let own = self.holders.contains_key(&(busy, requester)).then_some(requester);
        let leases = busier.chain(own).flat_map(|holder| {
            let of_class = move |(class, _)| self.undecided.get(&(class, holder));
            queue.classes().filter_map(of_class).flat_map(BTreeMap::values)
        });
        leases.copied().collect()
    }

    /// Records that a job has its place.
    pub(super) fn decide(&mut self, queue: &Queue, job: JobId, requester: ClientKey) {
        let busy = self.busy(queue, requester);
        let place = queue.place(job);
        let was_undecided =
            place.is_some_and(|(class, place)| self.take_undecided(class, requester, &place.key));
        *self.decided.entry(requester).or_default() += 1;
        if let Some(left) = self.holders.remove(&(busy, requester)) {
            let left = left - usize::from(was_undecided);
            if left > 0 {
                self.holders.insert((busy + 1, requester), left);
            }
        }
        self.move_back(queue, requester, busy);
    }

    /// Records that an undecided job loses its place.
    pub(super) fn displace(&mut self, queue: &Queue, job: JobId, lease: LeaseId) {
        let Some((class, place)) = queue.place(job) else { return };
        let requester = place.requester();
        debug_assert!(
            self.undecided
                .get(&(class, requester))
                .is_some_and(|it| it.get(&place.key) == Some(&lease)),
            "only undecided places are taken"
        );
        let busy = self.busy(queue, requester);
        if self.take_undecided(class, requester, &place.key)
            && let Some(left) = self.holders.get_mut(&(busy, requester))
        {
            *left -= 1;
            if *left == 0 {
                self.holders.remove(&(busy, requester));
            }
        }
        let is_empty = !self.undecided.contains_key(&(class, requester));
        if is_empty && let Some(turn) = self.turn(queue, class, requester) {
            self.heads.remove(&(class, turn));
        }
        // It waits without a place again.
        self.passed.clear();
        if self.decided.contains_key(&requester)
            && let Some(turn) = self.turn(queue, class, requester)
        {
            self.moved.entry(class).or_default().insert(turn);
        }
    }

    fn take_undecided(&mut self, class: u8, requester: ClientKey, key: &QueueKey) -> bool {
        let Some(theirs) = self.undecided.get_mut(&(class, requester)) else { return false };
        let was_there = theirs.remove(key).is_some();
        if theirs.is_empty() {
            self.undecided.remove(&(class, requester));
        }
        was_there
    }

    /// Moves a requester to its position after one more of its jobs was decided.
    fn move_back(&mut self, queue: &Queue, requester: ClientKey, before: usize) {
        for (number, class) in queue.classes() {
            let Some(turn) = class.turn(requester) else { continue };
            let (from, to) = (Turn { busy: before, ..turn }, Turn { busy: before + 1, ..turn });
            self.heads.remove(&(number, from));
            if self.undecided.contains_key(&(number, requester)) {
                self.heads.insert((number, to));
            }
            let moved = self.moved.entry(number).or_default();
            moved.remove(&from);
            if class.has_not_ahead(requester) {
                moved.insert(to);
            }
        }
    }

    /// Records that all jobs keep their places.
    pub(super) fn keep_all(&mut self, queue: &Queue) {
        let undecided = std::mem::take(&mut self.undecided);
        self.heads.clear();
        self.holders.clear();
        for ((_, requester), theirs) in &undecided {
            *self.decided.entry(*requester).or_default() += theirs.len();
        }
        for requester in self.decided.keys().copied().collect::<Vec<_>>() {
            let busy = self.busy(queue, requester);
            self.most_busy_kept = self.most_busy_kept.max(Some(busy));
            for (number, class) in queue.classes().filter(|(_, it)| it.has_not_ahead(requester)) {
                if let Some(turn) = class.turn(requester) {
                    self.moved.entry(number).or_default().insert(Turn { busy, ..turn });
                }
            }
        }
    }

    /// Whether a requester's job without a place precedes one of its own that has one.
    pub(super) fn is_before_a_kept_one(&self, class: u8, group: &Group) -> bool {
        let mut holders = self.undecided.iter();
        holders.any(|((kept, requester), theirs)| {
            let Some(first) = group.first_of(*requester) else { return false };
            let last = theirs.last_key_value().map(|(key, _)| *key);
            (class, Some(first)) < (*kept, last)
        })
    }

    /// The first job of a group whose requester has at least this number of jobs in progress.
    pub(super) fn first_in(
        &mut self,
        number: u8,
        class: &Class,
        group: &Group,
        walk: Walk<'_>,
        busy: usize,
    ) -> Option<(Turn, QueueKey)> {
        let key = (number, SharedNeed::clone(walk.0), walk.1);
        let passed = self.passed.get(&key).copied().unwrap_or(Turn::lowest(0));
        let from = passed.max(Turn::lowest(busy));
        let still = group.turns(from).find(|turn| !self.decided.contains_key(&turn.requester));
        if busy <= passed.busy {
            self.passed.insert(key, still.unwrap_or(Turn::lowest(usize::MAX)));
        }
        let moved = self.moved.get(&number).into_iter();
        let mut moved = moved.flat_map(|moved| moved.range(Turn::lowest(busy)..));
        let moved = moved.find(|turn| group.first_of(turn.requester).is_some()).copied();
        debug_assert!(moved.is_none_or(|it| class.turn(it.requester).is_some()), "it waits");
        let turn = still.into_iter().chain(moved).min()?;
        group.first_of(turn.requester).map(|first| (turn, first))
    }
}
