//! Waiting jobs and the order in which they are assigned.
//!
//! A requester is a client: all addresses and tokens of a named one together, or an address without a name.
//!
//! Priority classes come first. Within a class the requester with the fewest running jobs is next, so that one
//! requester's backlog does not delay another's request. Ties go to requesters that have not had a turn in this
//! round, which prevents starvation even with a single worker; then to the earliest deadline, then to the oldest
//! job.

mod class;
mod group;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hierophant_model::clients::ClientKey;
use hierophant_model::records::Millis;
use network_lib::ids::{JobId, VkHash};
use network_lib::job::ProofMode;

pub use class::Class;
use class::InProgress;
pub use group::{Group, Place, QueueKey, Turn};
use group::{GroupKey, Part};

use super::need::{Need, SharedNeed};

/// Properties of a waiting job that decide its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Priority class, from the job or its mode; 0 is assigned first.
    pub class: u8,
    /// Client of the job's oldest request.
    pub requester: ClientKey,
    /// Earliest deadline of its requests, Unix seconds.
    pub deadline: u64,
    /// Creation time.
    pub created_at: Millis,
    /// The job.
    pub job: JobId,
}

/// Waiting job.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// What decides its position.
    pub rank: Rank,
    /// What it needs of its worker.
    pub need: Need,
    /// Program.
    pub program: VkHash,
    /// Time before which it cannot be assigned.
    pub not_before: Millis,
    /// Whether it is assigned differently from others of its need, for example because it avoids a worker.
    pub is_choosy: bool,
    /// Whether it is leased ahead.
    pub is_ahead: bool,
}

/// The same as kept by the queue, in less memory.
#[derive(Debug)]
struct Entry {
    requester: ClientKey,
    deadline: u64,
    created_at: Millis,
    kind: Arc<Kind>,
    not_before: Millis,
    class: u8,
    is_choosy: bool,
    is_ahead: bool,
}

/// What jobs of the same groups have in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    need: SharedNeed,
    program: VkHash,
}

/// Queue of waiting jobs, and the number of running jobs by requester, on which its order depends.
///
/// A job that must not be assigned yet keeps its position. [`Queue::wake`] makes it assignable when its time has come.
#[derive(Debug, Default)]
pub struct Queue {
    classes: BTreeMap<u8, Class>,
    entries: BTreeMap<JobId, Entry>,
    ages: BTreeSet<(Millis, JobId)>,
    modes: BTreeMap<ProofMode, usize>,
    needs: BTreeMap<SharedNeed, usize>,
    kinds: BTreeMap<Arc<Kind>, usize>,
    /// Jobs that cannot be assigned yet, by the time at which they can.
    resting: BTreeSet<(Millis, JobId)>,
    running: BTreeMap<ClientKey, usize>,
    /// Number of jobs that are leased ahead by requester.
    ahead: BTreeMap<ClientKey, usize>,
}

impl Queue {
    /// Inserts a job, or moves it if it is already waiting. It can be assigned after the next [`Queue::wake`].
    pub fn insert(&mut self, waiting: Waiting) {
        let Waiting { rank, need, program, not_before, is_choosy, is_ahead } = waiting;
        self.remove(rank.job);
        let need = self
            .needs
            .get_key_value(&need)
            .map_or_else(|| SharedNeed::new(need.clone()), |(shared, _)| SharedNeed::clone(shared));
        *self.modes.entry(need.mode).or_default() += 1;
        *self.needs.entry(SharedNeed::clone(&need)).or_default() += 1;
        let kind = Kind { need, program };
        let kind = match self.kinds.get_key_value(&kind) {
            Some((shared, _)) => Arc::clone(shared),
            None => Arc::new(kind),
        };
        *self.kinds.entry(Arc::clone(&kind)).or_default() += 1;
        self.ages.insert((rank.created_at, rank.job));
        self.resting.insert((not_before, rank.job));
        self.count_ahead(rank.requester, rank.class, false, is_ahead);
        let progress = self.progress(rank.requester);
        let class = self.classes.entry(rank.class).or_default();
        class.insert(rank.requester, queue_key(&rank), progress);
        let Rank { class, requester, deadline, created_at, job } = rank;
        let entry =
            Entry { requester, deadline, created_at, kind, not_before, class, is_choosy, is_ahead };
        self.entries.insert(job, entry);
    }

    /// Removes a job. Has no effect if it is not waiting.
    pub fn remove(&mut self, job: JobId) {
        self.take(job, false);
    }

    /// Removes a job that is being assigned, which uses up its requester's turn. Has no effect if it is not
    /// waiting.
    pub fn dequeue(&mut self, job: JobId) {
        self.take(job, true);
    }

    fn take(&mut self, job: JobId, uses_turn: bool) {
        let Some(entry) = self.entries.remove(&job) else { return };
        let rank = entry.rank(job);
        self.ages.remove(&(rank.created_at, job));
        count_down(&mut self.modes, &entry.kind.need.mode);
        count_down(&mut self.needs, &entry.kind.need);
        count_down(&mut self.kinds, &entry.kind);
        let was_resting = self.resting.remove(&(entry.not_before, job));
        if let Some(class) = self.classes.get_mut(&rank.class).filter(|_| !was_resting) {
            for group in entry.groups() {
                class.leave_group(group, rank.requester, queue_key(&rank));
            }
        }
        self.count_ahead(rank.requester, rank.class, entry.is_ahead, false);
        let progress = self.progress(rank.requester);
        let Some(class) = self.classes.get_mut(&rank.class) else { return };
        if uses_turn {
            class.take_turn(rank.requester, progress);
        }
        class.remove(rank.requester, queue_key(&rank), progress);
    }

    /// Makes jobs assignable whose time has come.
    pub fn wake(&mut self, now: Millis) {
        while let Some((at, job)) = self.resting.first().copied()
            && at <= now
        {
            self.resting.pop_first();
            let Some(entry) = self.entries.get(&job) else { continue };
            let Some(class) = self.classes.get_mut(&entry.class) else { continue };
            for group in entry.groups() {
                class.join_group(group, entry.requester, queue_key(&entry.rank(job)));
            }
        }
    }

    /// Records whether a waiting job is leased ahead, and whether it is assigned differently from others of its need.
    /// Its position stays.
    pub fn regroup(&mut self, job: JobId, is_ahead: bool, is_choosy: bool) {
        let Some(entry) = self.entries.get_mut(&job) else { return };
        let (before, rank) = (entry.is_ahead, entry.rank(job));
        let is_resting = self.resting.contains(&(entry.not_before, job));
        let groups: Vec<GroupKey> = entry.groups().filter(|_| !is_resting).collect();
        (entry.is_ahead, entry.is_choosy) = (is_ahead, is_choosy);
        let new_groups: Vec<GroupKey> = entry.groups().filter(|_| !is_resting).collect();
        if let Some(class) = self.classes.get_mut(&rank.class) {
            for group in groups {
                class.leave_group(group, rank.requester, queue_key(&rank));
            }
        }
        self.count_ahead(rank.requester, rank.class, before, is_ahead);
        if let Some(class) = self.classes.get_mut(&rank.class) {
            for group in new_groups {
                class.join_group(group, rank.requester, queue_key(&rank));
            }
        }
    }

    /// Counts a job that is leased ahead, or is so no longer.
    fn count_ahead(&mut self, requester: ClientKey, class: u8, before: bool, now: bool) {
        if before == now {
            return;
        }
        if now {
            *self.ahead.entry(requester).or_default() += 1;
        } else {
            count_down(&mut self.ahead, &requester);
        }
        let class = self.classes.entry(class).or_default();
        class.ahead = if now { class.ahead + 1 } else { class.ahead - 1 };
        self.refresh(requester);
    }

    fn progress(&self, requester: ClientKey) -> InProgress {
        let ahead = self.ahead.get(&requester).copied().unwrap_or(0);
        InProgress { running: self.running(requester), ahead }
    }

    /// Moves a requester to its current position.
    fn refresh(&mut self, requester: ClientKey) {
        let progress = self.progress(requester);
        for class in self.classes.values_mut().filter(|class| class.contains(requester)) {
            class.refresh(requester, progress);
        }
    }

    /// Adjusts all times to a wall clock that was set by `by` milliseconds.
    pub fn clock_set(&mut self, by: i64) {
        let resting = std::mem::take(&mut self.resting);
        for (mut at, job) in resting {
            at.shift(by);
            self.resting.insert((at, job));
            if let Some(entry) = self.entries.get_mut(&job) {
                entry.not_before = at;
            }
        }
    }

    /// Changes the number of running jobs of a requester by one.
    pub fn count_running(&mut self, requester: ClientKey, is_more: bool) {
        if is_more {
            *self.running.entry(requester).or_default() += 1;
        } else {
            count_down(&mut self.running, &requester);
        }
        self.refresh(requester);
    }

    /// Number of running jobs of a requester.
    #[must_use]
    pub fn running(&self, requester: ClientKey) -> usize {
        self.running.get(&requester).copied().unwrap_or(0)
    }

    /// Number of running jobs by requester.
    #[must_use]
    pub const fn running_by_requester(&self) -> &BTreeMap<ClientKey, usize> {
        &self.running
    }

    /// Whether a job is waiting.
    #[must_use]
    pub fn contains(&self, job: JobId) -> bool {
        self.entries.contains_key(&job)
    }

    /// What the waiting jobs need of their workers.
    pub fn needs(&self) -> impl Iterator<Item = &SharedNeed> + '_ {
        self.needs.keys()
    }

    /// Number of waiting jobs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
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
        self.entries.is_empty()
    }

    /// Priority classes, the most urgent first.
    pub fn classes(&self) -> impl Iterator<Item = (u8, &Class)> + '_ {
        self.classes.iter().map(|(class, jobs)| (*class, jobs))
    }

    /// Waiting jobs of a priority class.
    #[must_use]
    pub fn class(&self, class: u8) -> Option<&Class> {
        self.classes.get(&class)
    }

    /// Waiting jobs in the order of assignment.
    pub fn iter(&self) -> impl Iterator<Item = JobId> + '_ {
        self.classes.values().flat_map(Class::iter).map(|place| place.job())
    }

    /// Class of a waiting job, and its place there.
    #[must_use]
    pub fn place(&self, job: JobId) -> Option<(u8, Place)> {
        let rank = self.entries.get(&job)?.rank(job);
        let place = self.classes.get(&rank.class)?.place(rank.requester, queue_key(&rank))?;
        Some((rank.class, place))
    }

    /// Number of jobs ahead of a waiting one.
    #[must_use]
    pub fn jobs_ahead_of(&self, job: JobId) -> usize {
        let Some((class, place)) = self.place(job) else { return self.len() };
        let more_urgent: usize = self.classes.range(..class).map(|(_, jobs)| jobs.len()).sum();
        more_urgent + self.classes.get(&class).map_or(0, |jobs| jobs.jobs_before(&place))
    }
}

impl Entry {
    const fn rank(&self, job: JobId) -> Rank {
        Rank {
            class: self.class,
            requester: self.requester,
            deadline: self.deadline,
            created_at: self.created_at,
            job,
        }
    }

    /// Groups to which the job belongs while it can be assigned.
    fn groups(&self) -> impl Iterator<Item = GroupKey> + use<> {
        let parts = if self.is_choosy {
            [Some(Part::Choosy), None]
        } else {
            let part = |program| Some(Part::Open(self.is_ahead, program));
            [part(None), part(Some(self.kind.program))]
        };
        let need = SharedNeed::clone(&self.kind.need);
        parts.into_iter().flatten().map(move |part| (SharedNeed::clone(&need), part))
    }
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

const fn queue_key(rank: &Rank) -> QueueKey {
    (rank.deadline, rank.created_at, rank.job)
}

#[cfg(test)]
mod tests;
