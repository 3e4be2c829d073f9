//! Main memory of tasks: what is learnt from their reports, and which tasks a worker's memory is enough for.

use std::collections::BTreeMap;

use network_lib::ids::WorkerId;
use network_lib::job::{Memory, OutOfMemory, ProofMode};
use network_lib::shard::TaskKind;

use crate::proofs::fleet::{TaskShape, Workers};
use crate::proofs::lease::Worker;
use crate::proofs::memory::OomHistory;

/// Maximum number of engines in [`TaskDemand`].
const MAX_ENGINES: usize = 64;

/// Maximum number of reports of each engine.
const MAX_REPORTS: usize = 10_000;

/// Main memory that one task takes at most, by engine. Lost on restart; the next task of each kind records it again.
#[derive(Debug, Default)]
pub(super) struct TaskDemand(BTreeMap<String, EngineDemand>);

/// Trace area of a job's shards in cells, whether they are proved in recursive form, and kind of a task.
type Size = (u64, bool, TaskKind);

const fn size(shape: TaskShape<'_>, kind: TaskKind) -> Size {
    (shape.max_elements, !matches!(shape.mode, ProofMode::Core), kind)
}

#[derive(Debug, Default)]
struct EngineDemand {
    of_all: BTreeMap<Size, u64>,
    by_worker: BTreeMap<(WorkerId, Size), u64>,
}

impl TaskDemand {
    /// Records what a task has taken on a worker.
    pub(super) fn record(
        &mut self,
        worker: WorkerId,
        shape: TaskShape<'_>,
        kind: TaskKind,
        bytes: u64,
    ) {
        let engine = shape.engine;
        if self.0.len() >= MAX_ENGINES && !self.0.contains_key(engine) {
            self.0.pop_first();
        }
        let size = size(shape, kind);
        let EngineDemand { of_all, by_worker } = self.0.entry(engine.to_owned()).or_default();
        raise(of_all, size, bytes);
        raise(by_worker, (worker, size), bytes);
    }

    /// Most bytes that a task of these kinds takes on a worker: by its own reports, or by those of all workers if it has
    /// made none. So a false report limits no worker that has ended a task itself.
    fn of(&self, worker: WorkerId, shape: TaskShape<'_>, kinds: &[TaskKind]) -> Option<u64> {
        let EngineDemand { of_all, by_worker } = self.0.get(shape.engine)?;
        let of_kind = |kind: &TaskKind| {
            let size = size(shape, *kind);
            by_worker.get(&(worker, size)).or_else(|| of_all.get(&size)).copied()
        };
        kinds.iter().filter_map(of_kind).max()
    }

    /// Number of tasks that a worker gets of `places`. If its memory is enough for less than it proves at once, as many as that,
    /// and at least one. Inputs that are fetched ahead take no memory of the prover.
    pub(super) fn limit(
        &self,
        places: usize,
        (id, worker): (WorkerId, &Worker),
        shape: TaskShape<'_>,
        kinds: &[TaskKind],
    ) -> usize {
        let slots = worker.capabilities.sharding.as_ref().map_or(0, |offer| offer.prove_slots);
        let demand = self.of(id, shape, kinds).filter(|bytes| *bytes > 0);
        let fitting = worker.memory(Memory::Main).zip(demand).map(|(all, each)| all / each);
        match fitting {
            Some(fitting) if fitting < u64::from(slots) => {
                places.min(usize::try_from(fitting).unwrap_or(usize::MAX).max(1))
            }
            _ => places,
        }
    }

    /// Most bytes that a task of each kind takes, of any engine.
    pub(super) fn by_kind(&self) -> BTreeMap<TaskKind, u64> {
        let mut by_kind = BTreeMap::new();
        for ((.., kind), bytes) in self.0.values().flat_map(|engine| &engine.of_all) {
            let most = by_kind.entry(*kind).or_insert(*bytes);
            *most = (*bytes).max(*most);
        }
        by_kind
    }
}

/// Raises a report to `bytes`, unless it is greater.
fn raise<K: Ord>(reports: &mut BTreeMap<K, u64>, key: K, bytes: u64) {
    if reports.len() >= MAX_REPORTS && !reports.contains_key(&key) {
        reports.pop_first();
    }
    let known = reports.entry(key).or_default();
    *known = bytes.max(*known);
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
        shape: TaskShape<'_>,
    ) -> Vec<TaskKind> {
        kinds.retain(|kind| {
            let Some(history) = self.0.get(kind) else { return true };
            let fit = history.fit(id, worker);
            let mut others = fleet
                .takers(shape)
                .filter(|(.., sharding)| sharding.kinds_of(shape.mode).contains(kind));
            others.all(|(other, peer, _)| history.fit(other, peer) <= fit)
        });
        kinds
    }
}
