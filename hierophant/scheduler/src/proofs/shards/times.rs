//! Times that tasks of one job have taken.

use std::collections::{BTreeMap, VecDeque};

use network_lib::ids::WorkerId;
use network_lib::shard::TaskKind;

/// Number of recent times that are kept for each kind and worker.
const MAX_TIMES: usize = 15;

/// Recent times of finished tasks, in milliseconds from their leases. In memory only.
#[derive(Debug, Default)]
pub(super) struct TaskTimes {
    by_kind: BTreeMap<TaskKind, Recent>,
    by_worker: BTreeMap<(TaskKind, WorkerId), Recent>,
}

/// Recent times with their median, which is read far more often than it changes.
#[derive(Debug, Default)]
struct Recent {
    times: VecDeque<u64>,
    median: u64,
}

impl Recent {
    fn note(&mut self, millis: u64) {
        if self.times.len() == MAX_TIMES {
            self.times.pop_front();
        }
        self.times.push_back(millis);
        let mut sorted: Vec<_> = self.times.iter().copied().collect();
        sorted.sort_unstable();
        self.median = sorted[sorted.len() / 2];
    }
}

impl TaskTimes {
    pub(super) fn note(&mut self, kind: TaskKind, worker: WorkerId, millis: u64) {
        self.by_kind.entry(kind).or_default().note(millis);
        self.by_worker.entry((kind, worker)).or_default().note(millis);
    }

    /// Expected time on a worker: its own median, or that of all workers if it has finished none of this kind.
    pub(super) fn expected(&self, kind: TaskKind, worker: WorkerId) -> Option<u64> {
        let own = self.by_worker.get(&(kind, worker)).map(|recent| recent.median);
        own.or_else(|| self.usual(kind))
    }

    /// Median of all workers.
    pub(super) fn usual(&self, kind: TaskKind) -> Option<u64> {
        self.by_kind.get(&kind).map(|recent| recent.median)
    }
}
