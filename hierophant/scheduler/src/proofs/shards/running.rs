//! Limits of a job, and the state of a running execution.

use std::collections::BTreeMap;

use hierophant_model::records::TaskLease;
use network_lib::ids::{LeaseId, TaskId, WorkerId};
use shard_plan::MarkerOrder;

/// Limits of sharded jobs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of failures by the fault of workers after which a task ends its job.
    pub max_attempts: u32,
    /// Number of repeated tasks after which the job is proved as a whole.
    pub max_retries: u32,
    /// Number of times that all tasks may be discarded.
    pub max_restarts: u32,
    /// Factor by which an attempt is expected to last longer than a second one when that is begun; 0 for never.
    pub race_after: f64,
    /// Greatest number of bytes of records of announced shards that are not done.
    pub window_bytes: u64,
}

/// A running execution. It is not stored: after a start the worker announces its shards again.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) lease: LeaseId,
    pub(super) worker: WorkerId,
    pub(super) window: u32,
    pub(super) window_bytes: u64,
    pub(super) announced: Announced,
    /// Announced shards that were never done in this execution, with the sizes of their records.
    open: BTreeMap<TaskId, u64>,
    /// Sum of these sizes.
    open_bytes: u64,
    /// Traced core shards in the order of clocks, with their numbers.
    pub(super) markers: MarkerOrder<u32>,
}

impl Execution {
    /// An execution for provers that prove `prove_slots` shards at once.
    ///
    /// For each of them the window has a shard that it proves and one that it fetches meanwhile. The others wait, so that
    /// a prover that has ended one need not wait for the announcement of another.
    pub(super) fn new(row: TaskLease, prove_slots: u32, window_bytes: u64) -> Self {
        let waiting = (prove_slots / 4).saturating_add(8);
        Self {
            lease: row.lease,
            worker: row.worker,
            window: prove_slots.saturating_mul(2).saturating_add(waiting),
            window_bytes,
            announced: Announced::default(),
            open: BTreeMap::new(),
            open_bytes: 0,
            markers: MarkerOrder::default(),
        }
    }

    /// Whether the window has room for one more shard. A record larger than the window is taken alone.
    pub(super) fn has_room(&self, record_bytes: u64) -> bool {
        let has_place = u32::try_from(self.open.len()).is_ok_and(|open| open < self.window);
        let bytes = self.open_bytes.saturating_add(record_bytes);
        has_place && (bytes <= self.window_bytes || self.open_bytes == 0)
    }

    /// A shard is announced that is not done.
    pub(super) fn open(&mut self, task: TaskId, record_bytes: u64) {
        self.close(task);
        self.open.insert(task, record_bytes);
        self.open_bytes = self.open_bytes.saturating_add(record_bytes);
    }

    /// A shard is done.
    pub(super) fn close(&mut self, task: TaskId) {
        let bytes = self.open.remove(&task).unwrap_or_default();
        self.open_bytes = self.open_bytes.saturating_sub(bytes);
    }
}

/// Shards that an execution has announced, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Announced {
    tasks: Vec<TaskId>,
    numbers: BTreeMap<TaskId, u32>,
}

impl Announced {
    /// Adds the next shard.
    pub(super) fn push(&mut self, task: TaskId) {
        self.numbers.insert(task, u32::try_from(self.tasks.len()).unwrap_or(u32::MAX));
        self.tasks.push(task);
    }

    pub(super) const fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The shard with this number.
    pub(super) fn get(&self, number: usize) -> Option<TaskId> {
        self.tasks.get(number).copied()
    }

    /// The number of a shard.
    pub(super) fn number(&self, task: TaskId) -> Option<u32> {
        self.numbers.get(&task).copied()
    }

    pub(super) fn contains(&self, task: TaskId) -> bool {
        self.numbers.contains_key(&task)
    }

    /// All shards in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.tasks.iter().copied()
    }
}
