//! Waiting tasks in the order in which they are leased, and what those lack that cannot begin.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::TaskRecord;
use network_lib::ids::{Sha256Digest, TaskId};
use network_lib::shard::TaskKind;
use shard_plan::ShardBoundary;

/// Urgency of a task; the most urgent class comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Executions.
    Execution,
    /// Wraps and the last reduce.
    Last,
    /// Shards.
    Shard,
    /// Other reduces.
    Reduce,
}

impl Class {
    /// All classes in their order.
    pub(super) const ALL: [Self; 4] = [Self::Execution, Self::Last, Self::Shard, Self::Reduce];

    const fn of(record: &TaskRecord) -> Self {
        match record.kind {
            TaskKind::Execute | TaskKind::Measure => Self::Execution,
            TaskKind::ShrinkWrap | TaskKind::Plonk | TaskKind::Groth16 => Self::Last,
            TaskKind::Reduce if record.complete => Self::Last,
            TaskKind::ProveShard | TaskKind::Deferred | TaskKind::Retrace => Self::Shard,
            TaskKind::Reduce => Self::Reduce,
        }
    }
}

/// Something without which a task cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    /// The common input of all shards.
    Common,
    /// A record or precompile events.
    Blob(Sha256Digest),
    /// The result of another task.
    Output(TaskId),
    /// The verdict on a result that may be false.
    Verdict(Sha256Digest),
}

/// Place among the tasks of a class: by clock.
type Place = (ShardBoundary, TaskId);

/// Waiting tasks.
///
/// A task that was found to lack something is not looked at again until that has arrived. What a task lacks is found when
/// it is its turn, so nothing has to be reported that is lost.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    places: BTreeMap<TaskId, (Class, Place, Option<Missing>)>,
    /// Those of which nothing is known to be missing.
    open: BTreeMap<Class, BTreeSet<Place>>,
    blocked: BTreeMap<Missing, BTreeSet<TaskId>>,
}

impl Waiting {
    /// Whether something is known to be missing of every waiting task.
    pub(super) fn is_blocked(&self) -> bool {
        self.open.values().all(BTreeSet::is_empty)
    }

    /// Adds a task, or the same one with other inputs.
    pub(super) fn insert(&mut self, record: &TaskRecord) {
        self.remove(record.id);
        let clock = record.range.map_or(ShardBoundary::INITIAL, |range| range.start());
        let (class, place) = (Class::of(record), (clock, record.id));
        self.places.insert(record.id, (class, place, None));
        self.open.entry(class).or_default().insert(place);
    }

    /// Removes a task, if it waits.
    pub(super) fn remove(&mut self, task: TaskId) {
        let Some((class, place, missing)) = self.places.remove(&task) else { return };
        let Some(missing) = missing else {
            self.open.entry(class).or_default().remove(&place);
            return;
        };
        if let Some(tasks) = self.blocked.get_mut(&missing) {
            tasks.remove(&task);
            if tasks.is_empty() {
                self.blocked.remove(&missing);
            }
        }
    }

    /// The tasks of a class of which nothing is known to be missing, in their order.
    pub(super) fn open(&self, class: Class) -> impl Iterator<Item = TaskId> + '_ {
        self.open.get(&class).into_iter().flatten().map(|(_, task)| *task)
    }

    /// A waiting task lacks something.
    pub(super) fn block(&mut self, task: TaskId, missing: Missing) {
        let Some((class, place, now)) = self.places.get_mut(&task) else { return };
        if now.replace(missing).is_none() {
            self.open.entry(*class).or_default().remove(place);
        }
        self.blocked.entry(missing).or_default().insert(task);
    }

    /// Something has arrived that tasks may lack.
    pub(super) fn arrived(&mut self, what: Missing) {
        for task in self.blocked.remove(&what).unwrap_or_default() {
            if let Some((class, place, missing)) = self.places.get_mut(&task) {
                *missing = None;
                self.open.entry(*class).or_default().insert(*place);
            }
        }
    }
}
