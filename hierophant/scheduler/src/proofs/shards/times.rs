//! Times that tasks of one job have taken.

use std::collections::{BTreeMap, VecDeque};

use network_lib::ids::WorkerId;
use network_lib::shard::TaskKind;

/// Number of recent times that are kept for each kind and worker.
const MAX_TIMES: usize = 15;

/// Recent times of finished tasks, in milliseconds from their leases. In memory only.
#[derive(Debug, Default)]
pub(super) struct TaskTimes {
    by_kind: BTreeMap<TaskKind, VecDeque<u64>>,
    by_worker: BTreeMap<(TaskKind, WorkerId), VecDeque<u64>>,
}

impl TaskTimes {
    pub(super) fn note(&mut self, kind: TaskKind, worker: WorkerId, millis: u64) {
        let of_kind = self.by_kind.entry(kind).or_default();
        let of_worker = self.by_worker.entry((kind, worker)).or_default();
        for times in [of_kind, of_worker] {
            if times.len() == MAX_TIMES {
                times.pop_front();
            }
            times.push_back(millis);
        }
    }

    /// Expected time on a worker: its own median, or that of all workers if it has finished none of this kind.
    pub(super) fn expected(&self, kind: TaskKind, worker: WorkerId) -> Option<u64> {
        let own = self.by_worker.get(&(kind, worker));
        own.and_then(median).or_else(|| self.usual(kind))
    }

    /// Median of all workers.
    pub(super) fn usual(&self, kind: TaskKind) -> Option<u64> {
        self.by_kind.get(&kind).and_then(median)
    }
}

fn median(times: &VecDeque<u64>) -> Option<u64> {
    let mut sorted: Vec<_> = times.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
