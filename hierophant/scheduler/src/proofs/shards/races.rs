//! Second attempts at tasks of slow workers.

use hierophant_model::records::{Millis, TaskLease};
use network_lib::ids::{LeaseId, TaskId};
use network_lib::shard::TaskKind;

use super::choice::Offer;
use super::effect::Effect;
use super::job::ShardedJob;

/// Factor over the usual time of its kind after which an attempt may hang.
const HANG_FACTOR: u64 = 10;

/// The same in milliseconds while no time of the kind is known: an hour.
const HANG_UNKNOWN_MS: u64 = 3_600_000;

impl ShardedJob {
    /// The running task that an idle worker should try as well, because it is expected to end it sooner than the worker
    /// that has it; `None` if there is none. A task has two attempts at most, and an execution one.
    #[must_use]
    pub fn race_for(&self, now: Millis, offer: &Offer<'_>) -> Option<TaskId> {
        if self.has_ended
            || self.limits.race_after <= 0.0
            || !self.fits(offer)
            || !self.has_slot(offer)
        {
            return None;
        }
        let gains = self.leases.values().filter_map(|held| {
            let task = self.tasks.get(&held.row.task)?;
            let kind = task.record.kind;
            let may_race = kind != TaskKind::Execute
                && task.leases.len() == 1
                && held.row.worker != offer.worker
                && offer.kinds.contains(&kind)
                && !task.avoids.contains(&offer.worker)
                && self.missing(&task.record).is_none();
            if !may_race {
                return None;
            }
            let own = self.times.expected(kind, offer.worker)?;
            let left = self.expected_left(now, &held.row, kind)?;
            self.pays_off(left, own).then_some((left, task.record.id))
        });
        gains.max().map(|(_, task)| task)
    }

    /// Whether a task takes longer than most of its kind, or is expected to.
    #[must_use]
    pub fn has_late(&self, now: Millis) -> bool {
        !self.has_ended
            && self.limits.race_after > 0.0
            && self.leases.values().any(|held| {
                let kind = self.task(held.row.task).map(|record| record.kind);
                let kind = kind.filter(|kind| *kind != TaskKind::Execute);
                kind.is_some_and(|kind| {
                    let usual = self.times.usual(kind);
                    let left = self.expected_left(now, &held.row, kind);
                    usual.zip(left).is_some_and(|(usual, left)| self.pays_off(left, usual))
                })
            })
    }

    /// Whether an attempt has taken much longer than is usual, so that nothing should wait for it.
    #[must_use]
    pub fn may_hang(&self, now: Millis, lease: LeaseId) -> bool {
        let Some(row) = self.leases.get(&lease).map(|held| held.row) else { return false };
        let kind = self.task(row.task).map(|record| record.kind);
        let usual = kind.and_then(|kind| self.times.usual(kind));
        let limit = usual.map_or(HANG_UNKNOWN_MS, |usual| usual.saturating_mul(HANG_FACTOR));
        now.since(row.started_at) > limit
    }

    /// Whether a second attempt of `own` milliseconds is begun beside one that is expected to take `left`.
    fn pays_off(&self, left: u64, own: u64) -> bool {
        left as f64 > own as f64 * self.limits.race_after
    }

    /// Expected rest of an attempt in milliseconds. One that has taken longer than expected is expected to take as long
    /// again.
    fn expected_left(&self, now: Millis, row: &TaskLease, kind: TaskKind) -> Option<u64> {
        let taken = now.since(row.started_at);
        let expected = self.times.expected(kind, row.worker)?;
        Some(if taken < expected { expected - taken } else { taken })
    }

    /// Begins a second attempt at a running task. Without effect if [`ShardedJob::race_for`] would not give it.
    #[must_use]
    pub fn race(
        &mut self,
        now: Millis,
        (lease, task): (LeaseId, TaskId),
        offer: &Offer<'_>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.race_for(now, offer) == Some(task) && !self.leases.contains_key(&lease) {
            self.begin_attempt(now, (lease, task), offer.worker, &mut effects);
        }
        effects
    }
}
