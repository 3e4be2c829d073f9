//! The next task for a worker, found by looking at all tasks.

use std::cmp::Reverse;

use hierophant_model::records::{TaskRecord, TaskState};
use network_lib::ids::TaskId;
use network_lib::shard::TaskKind;
use shard_plan::ShardBoundary;

use super::super::{Offer, ShardedJob};

/// What [`ShardedJob::next_for`] has to find.
pub(super) fn next_for(job: &ShardedJob, offer: &Offer<'_>) -> Option<TaskId> {
    if offer.engine != job.record.engine
        || offer.max_elements < job.record.max_elements
        || job.has_ended()
    {
        return None;
    }
    let held = || job.leases.values().filter(|lease| lease.row.worker == offer.worker);
    let executes = held().any(|lease| lease.row.task == job.execute);
    let has_slot = held().filter(|lease| lease.row.task != job.execute).count() < offer.slots;
    let may_have = |record: &TaskRecord| {
        let avoids = &job.tasks[&record.id].avoids;
        let others = offer.others.iter().filter(|peer| peer.kinds.contains(&record.kind));
        !avoids.contains(&offer.worker)
            || others.filter(|peer| !avoids.contains(&peer.worker)).count() == 0
    };
    let is_candidate = |record: &&TaskRecord| {
        let has_place = if record.kind == TaskKind::Execute { !executes } else { has_slot };
        record.state == TaskState::Waiting
            && has_place
            && offer.kinds.contains(&record.kind)
            && may_have(record)
            && job.missing(record).is_none()
    };
    let urgency = |record: &&TaskRecord| {
        let class = match record.kind {
            TaskKind::Execute | TaskKind::Measure => 0,
            TaskKind::ShrinkWrap | TaskKind::Plonk | TaskKind::Groth16 => 1,
            TaskKind::Reduce if record.complete => 1,
            TaskKind::ProveShard | TaskKind::Deferred | TaskKind::Retrace => 2,
            TaskKind::Reduce => 3,
        };
        let is_own = |sha256| job.holders.is_held_by(sha256, offer.worker);
        let is_own = record.record.is_some_and(|blob| is_own(blob.sha256));
        let place = record.range.map_or(ShardBoundary::INITIAL, |range| range.start());
        (class, Reverse(is_own), place, record.id)
    };
    job.tasks().filter(is_candidate).min_by_key(urgency).map(|record| record.id)
}
