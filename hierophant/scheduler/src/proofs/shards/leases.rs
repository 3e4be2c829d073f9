//! Attempts at the tasks of one job.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use hierophant_model::records::TaskLease;
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};

/// Attempt with what is in memory only.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) row: TaskLease,
    /// What was handed in under it.
    pub(super) handed_in: BTreeMap<Sha256Digest, u64>,
}

/// Running attempts, with an index by worker. Read access is as to a map.
#[derive(Debug, Default)]
pub(super) struct Leases {
    all: BTreeMap<LeaseId, Lease>,
    by_worker: BTreeMap<WorkerId, BTreeSet<LeaseId>>,
}

impl Leases {
    /// Adds an attempt under which nothing was handed in yet.
    pub(super) fn insert(&mut self, row: TaskLease) {
        self.by_worker.entry(row.worker).or_default().insert(row.lease);
        self.all.insert(row.lease, Lease { row, handed_in: BTreeMap::new() });
    }

    pub(super) fn remove(&mut self, lease: LeaseId) -> Option<Lease> {
        let ended = self.all.remove(&lease)?;
        if let Some(theirs) = self.by_worker.get_mut(&ended.row.worker) {
            theirs.remove(&lease);
            if theirs.is_empty() {
                self.by_worker.remove(&ended.row.worker);
            }
        }
        Some(ended)
    }

    /// Mutable access to an attempt. Its row must not change.
    pub(super) fn get_mut(&mut self, lease: LeaseId) -> Option<&mut Lease> {
        self.all.get_mut(&lease)
    }

    /// Attempts of a worker.
    pub(super) fn of(&self, worker: WorkerId) -> impl Iterator<Item = &Lease> {
        let theirs = self.by_worker.get(&worker).into_iter().flatten();
        theirs.filter_map(|lease| self.all.get(lease))
    }
}

impl Deref for Leases {
    type Target = BTreeMap<LeaseId, Lease>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}
