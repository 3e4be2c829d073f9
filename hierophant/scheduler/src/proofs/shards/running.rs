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
    /// Announced shards by number.
    pub(super) announced: Vec<TaskId>,
    /// Announced shards that were never done in this execution, with the sizes of their records.
    pub(super) open: BTreeMap<TaskId, u64>,
    /// Traced core shards in the order of clocks, with their numbers.
    pub(super) markers: MarkerOrder<u32>,
}

impl Execution {
    pub(super) fn new(row: TaskLease, window: u32, window_bytes: u64) -> Self {
        Self {
            lease: row.lease,
            worker: row.worker,
            window,
            window_bytes,
            announced: Vec::new(),
            open: BTreeMap::new(),
            markers: MarkerOrder::default(),
        }
    }
}
