//! Main memory of tasks: what is learnt from their reports, and which tasks a worker's memory is enough for.

use std::collections::BTreeMap;

use network_lib::ids::WorkerId;
use network_lib::job::{Memory, OutOfMemory};
use network_lib::shard::TaskKind;

use crate::proofs::fleet::Workers;
use crate::proofs::lease::Worker;
use crate::proofs::memory::OomHistory;

/// Maximum number of engines in [`TaskDemand`], and of entries for each of them.
const MAX_DEMANDS: usize = 64;

/// Main memory that one task takes at most, by engine, and by trace area of its job's shards and kind. Lost on restart; the
/// next task of each kind records it again.
#[derive(Debug, Default)]
pub(super) struct TaskDemand(BTreeMap<String, BTreeMap<(u64, TaskKind), u64>>);

impl TaskDemand {
    /// Records what a task has taken.
    pub(super) fn record(&mut self, (engine, elements): (&str, u64), kind: TaskKind, bytes: u64) {
        if self.0.len() >= MAX_DEMANDS && !self.0.contains_key(engine) {
            self.0.pop_first();
        }
        let of_engine = self.0.entry(engine.to_owned()).or_default();
        if of_engine.len() >= MAX_DEMANDS && !of_engine.contains_key(&(elements, kind)) {
            of_engine.pop_first();
        }
        let known = of_engine.entry((elements, kind)).or_default();
        *known = bytes.max(*known);
    }

    /// Most bytes that a task of these kinds takes; `None` if none has ended.
    fn of(&self, (engine, elements): (&str, u64), kinds: &[TaskKind]) -> Option<u64> {
        let of_engine = self.0.get(engine)?;
        kinds.iter().filter_map(|kind| of_engine.get(&(elements, *kind)).copied()).max()
    }

    /// Number of tasks of these kinds for which a worker's memory is enough, of `places`: at least one of them.
    pub(super) fn limit(
        &self,
        places: usize,
        worker: &Worker,
        job: (&str, u64),
        kinds: &[TaskKind],
    ) -> usize {
        let demand = self.of(job, kinds).filter(|bytes| *bytes > 0);
        let Some((memory, demand)) = worker.memory(Memory::Main).zip(demand) else { return places };
        let enough = usize::try_from(memory / demand).unwrap_or(usize::MAX);
        places.min(enough.max(1))
    }

    /// Most bytes that a task of each kind takes, of any engine.
    pub(super) fn by_kind(&self) -> BTreeMap<TaskKind, u64> {
        let mut by_kind = BTreeMap::<_, u64>::new();
        for ((_, kind), bytes) in self.0.values().flatten() {
            let most = by_kind.entry(*kind).or_default();
            *most = (*bytes).max(*most);
        }
        by_kind
    }
}

/// Memory that attempts at the tasks of one job have exhausted, by kind.
#[derive(Debug, Default)]
pub(super) struct TaskShortages(BTreeMap<TaskKind, OomHistory>);

impl TaskShortages {
    /// Records an attempt that ran out of memory. A worker cannot have exhausted more than it has.
    pub(super) fn record(
        &mut self,
        kind: TaskKind,
        (id, worker): (WorkerId, &Worker),
        what: OutOfMemory,
    ) {
        let what = worker.exhausted(what);
        self.0.entry(kind).or_default().record(id, worker.backend(), what);
    }

    /// The kinds of `kinds` that a worker may get: of a kind that ran out of memory, only if no other worker of the job has
    /// more memory compared with what was exhausted.
    pub(super) fn allowed(
        &self,
        mut kinds: Vec<TaskKind>,
        (id, worker): (WorkerId, &Worker),
        fleet: &Workers,
        of_job: (&str, u64),
    ) -> Vec<TaskKind> {
        kinds.retain(|kind| {
            let Some(history) = self.0.get(kind) else { return true };
            let fit = history.fit(id, worker);
            let mut others =
                fleet.takers(of_job).filter(|(.., sharding)| sharding.kinds.contains(kind));
            others.all(|(other, peer, _)| history.fit(other, peer) <= fit)
        });
        kinds
    }
}
