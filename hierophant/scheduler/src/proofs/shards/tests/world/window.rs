//! The window of the running execution, computed from rows and announcements alone.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{TaskRecord, TaskState};
use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::shard::NewShard;

use super::Fault;

/// Shards that the running execution has announced and that were not done since.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) lease: LeaseId,
    shards: usize,
    bytes: u64,
    announced: BTreeSet<Sha256Digest>,
    /// Sizes of records by key.
    open: BTreeMap<Sha256Digest, u64>,
}

impl Window {
    pub(super) fn new(lease: LeaseId, shards: usize, bytes: u64) -> Self {
        Self { lease, shards, bytes, announced: BTreeSet::new(), open: BTreeMap::new() }
    }

    /// After a start of the coordinator the execution announces everything again.
    pub(super) fn restart(&mut self) {
        self.announced.clear();
        self.open.clear();
    }

    pub(super) fn announce(&mut self, shard: &NewShard, is_done: bool) {
        if self.announced.insert(shard.key) && !is_done {
            self.open.insert(shard.key, shard.record.size);
        }
    }

    pub(super) fn stored(&mut self, task: &TaskRecord) {
        if task.state == TaskState::Done {
            self.open.remove(&Sha256Digest(task.key.0));
        }
    }

    /// Number and bytes of the open shards.
    pub(super) fn fill(&self) -> (usize, u64) {
        (self.open.len(), self.open.values().sum())
    }

    /// One shard is allowed, however large it is.
    pub(super) fn check(&self) -> Fault {
        let (shards, bytes) = self.fill();
        if shards > self.shards || bytes > self.bytes && shards > 1 {
            return Err(format!("more than the window: {self:?}"));
        }
        Ok(())
    }
}
