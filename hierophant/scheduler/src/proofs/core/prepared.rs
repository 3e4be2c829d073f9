//! Attempts that are leased ahead, by age.

use std::collections::BTreeMap;

use hierophant_model::records::Millis;
use network_lib::ids::{JobId, LeaseId};

/// Attempts that are leased ahead.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    by_age: BTreeMap<(Millis, LeaseId), Waiting>,
    leased_at: BTreeMap<LeaseId, Millis>,
    /// Upper bound of how often a job was overtaken.
    most_overtaken: usize,
}

/// Job of such an attempt.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    job: JobId,
    /// Number of jobs that were leased ahead later and have begun before it.
    overtaken: usize,
}

impl Prepared {
    /// Adds an attempt. `overtaken` is the count of its job from earlier leases.
    pub(super) fn insert(&mut self, at: Millis, lease: LeaseId, job: JobId, overtaken: usize) {
        if self.leased_at.is_empty() {
            self.most_overtaken = 0;
        }
        self.most_overtaken = self.most_overtaken.max(overtaken);
        self.leased_at.insert(lease, at);
        self.by_age.insert((at, lease), Waiting { job, overtaken });
    }

    /// Removes an attempt and returns how often its job was overtaken.
    pub(super) fn remove(&mut self, lease: LeaseId) -> Option<usize> {
        let at = self.leased_at.remove(&lease)?;
        self.by_age.remove(&(at, lease)).map(|waiting| waiting.overtaken)
    }

    /// Records that an attempt begins: it overtakes all older ones.
    pub(super) fn overtake(&mut self, lease: LeaseId) {
        let Some(at) = self.leased_at.get(&lease).copied() else { return };
        for (_, waiting) in self.by_age.range_mut(..(at, LeaseId([0; 16]))) {
            waiting.overtaken = waiting.overtaken.saturating_add(1);
            self.most_overtaken = self.most_overtaken.max(waiting.overtaken);
        }
    }

    /// How often the job of an attempt was overtaken.
    pub(super) fn overtaken(&self, lease: LeaseId) -> Option<usize> {
        let at = *self.leased_at.get(&lease)?;
        self.by_age.get(&(at, lease)).map(|waiting| waiting.overtaken)
    }

    /// Number of attempts.
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Attempts with their jobs, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseId, JobId)> + '_ {
        self.by_age.iter().map(|((_, lease), waiting)| (*lease, waiting.job))
    }

    /// Jobs that were overtaken at least `limit` times.
    pub(super) fn overtaken_by(&self, limit: usize) -> impl Iterator<Item = JobId> + '_ {
        let any = (self.most_overtaken >= limit).then_some(&self.by_age);
        let all = any.into_iter().flat_map(BTreeMap::values);
        all.filter(move |waiting| waiting.overtaken >= limit).map(|waiting| waiting.job)
    }

    /// Adjusts all times to a wall clock that was set by `by` milliseconds.
    pub(super) fn clock_set(&mut self, by: i64) {
        let before = std::mem::take(self);
        for ((mut at, lease), waiting) in before.by_age {
            at.shift(by);
            self.insert(at, lease, waiting.job, waiting.overtaken);
        }
    }
}
