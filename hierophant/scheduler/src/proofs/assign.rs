//! Choice of the worker for a job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::Millis;
use network_lib::ids::WorkerId;
use network_lib::job::JobSpec;

use super::fleet::{Offer, Workers};
use super::lease::Worker;
use super::memory::{MemoryDemand, MemoryFit, OomHistory};
use super::need::{Need, Wanted};

/// Longest time for which a job waits before it returns to a worker on which it failed.
const MAX_REST_MS: i64 = 600_000;

/// Number of infrastructure failures of a job on a worker after which it waits for another one.
const AVOIDED_AFTER: u32 = 2;

/// Failure history of a job.
#[derive(Debug, Clone, Default)]
pub struct FailureHistory {
    /// Workers at fault for a failed attempt. Their number is what the retry budget limits.
    pub workers: BTreeSet<WorkerId>,
    /// Number of further failures by the fault of these workers.
    pub repeats: u32,
    /// Time before which none of these workers gets the job.
    pub not_before: Millis,
    /// Worker of the latest failure, whether or not it was at fault.
    pub last: Option<WorkerId>,
    /// Attempts that ran out of memory.
    pub oom: OomHistory,
    /// Number of infrastructure failures by worker. Forgotten at a restart.
    infrastructure: BTreeMap<WorkerId, u32>,
    /// Whether an operator has queued it again since: it may go to any worker.
    forgiven: bool,
}

impl FailureHistory {
    /// Records a failure by a worker's fault.
    ///
    /// The first one on a worker costs no time. After each further one the job waits before it returns to any worker
    /// on which it failed; the wait doubles from a second to ten minutes. A broken machine that is the only one thus
    /// gets its chance again, and a job that no machine can prove leaves most of their time to other jobs.
    pub fn blame(&mut self, now: Millis, worker: WorkerId) {
        self.forgiven = false;
        if self.workers.insert(worker) {
            return;
        }
        let rest = (1000_i64 << self.repeats.min(10)).min(MAX_REST_MS);
        self.repeats = self.repeats.saturating_add(1);
        self.not_before = Millis(now.0.saturating_add(rest));
    }

    /// Records an infrastructure failure on a worker.
    pub fn interrupted_on(&mut self, worker: WorkerId) {
        let count = self.infrastructure.entry(worker).or_default();
        *count = count.saturating_add(1);
    }

    /// Forgets what keeps the job from any worker, and its rest. The retry budget stays. Returns whether there was
    /// anything.
    pub fn forgive(&mut self, now: Millis) -> bool {
        let kept = self.avoids_any() || self.not_before > now;
        self.oom = OomHistory::default();
        self.infrastructure.clear();
        self.forgiven = true;
        self.not_before = self.not_before.min(now);
        kept
    }

    /// Whether the job waits for another worker than this one.
    #[must_use]
    pub fn avoids(&self, worker: WorkerId) -> bool {
        let failed = !self.forgiven && self.workers.contains(&worker);
        failed || self.infrastructure.get(&worker).is_some_and(|count| *count >= AVOIDED_AFTER)
    }

    /// Workers that the job avoids.
    pub fn avoided(&self) -> impl Iterator<Item = WorkerId> + '_ {
        let interrupted = self.infrastructure.keys().filter(|id| !self.workers.contains(id));
        self.workers.iter().chain(interrupted).copied().filter(|id| self.avoids(*id))
    }

    /// Whether the job avoids any worker, and is therefore assigned differently from others of its need.
    #[must_use]
    pub fn avoids_any(&self) -> bool {
        self.avoided().next().is_some() || !self.oom.is_empty()
    }

    /// Number of failures by a worker's fault.
    #[must_use]
    pub fn count(&self) -> usize {
        self.workers.len().saturating_add(self.repeats as usize)
    }
}

/// Workers and the memory that proofs need of them.
#[derive(Debug, Clone, Copy)]
pub struct Fleet<'a> {
    /// The workers, with an index that is up to date.
    pub workers: &'a Workers,
    /// Known memory demand of proofs.
    pub demand: &'a MemoryDemand,
}

impl Fleet<'_> {
    /// Whether a worker has a free slot and enough memory for such a proof beside its running ones.
    #[must_use]
    pub fn has_room(&self, offer: &Offer, id: WorkerId, spec: &JobSpec) -> bool {
        let room = self.workers.get(&id).and_then(|worker| offer.room_of(id, worker));
        room.is_some_and(|(backend, room)| room.fits(self.demand.of(spec, backend)))
    }
}

/// Chooses the worker for a job: one that supports it and has a free slot and enough memory. Ties go to a worker
/// other than that of the latest failure, then to the one with most free slots, then to the smallest id.
///
/// Returns `None` if the job must wait. The result is that of [`choose_by`], which a job that ran out of memory needs.
/// For others it takes no walk over the workers, except over those that have no memory for the proof.
#[must_use]
pub fn choose(
    now: Millis,
    wanted: Wanted<'_>,
    failures: &FailureHistory,
    fleet: Fleet<'_>,
) -> Option<WorkerId> {
    let offer = fleet.workers.offer_for(&Need::of(wanted)).filter(|offer| offer.is_free())?;
    let spec = wanted.spec;
    let has_room = |id: &WorkerId| fleet.has_room(offer, *id, spec);
    if !failures.oom.is_empty() {
        return choose_by(now, wanted, failures, fleet.workers, |id, worker| {
            has_room(&id).then(|| worker.free_slots())
        });
    }
    match nearest(failures, offer) {
        Nearest::Unavoided => {
            if !offer.has_room_for(|backend| fleet.demand.of(spec, backend)) {
                return None;
            }
            let free = offer.free().filter(|(_, id, backend, room)| {
                !failures.avoids(*id) && room.fits(fleet.demand.of(spec, *backend))
            });
            let mut free = free.map(|(_, id, ..)| id);
            let first = free.next()?;
            let is_latest = failures.last == Some(first);
            Some(if is_latest { free.next().unwrap_or(first) } else { first })
        }
        _ if now < failures.not_before => None,
        Nearest::Avoided => {
            let others = failures.avoided().filter(|id| failures.last != Some(*id));
            let free = others.filter(has_room);
            let slots = |id: &WorkerId| fleet.workers.get(id).map_or(0, Worker::free_slots);
            free.max_by_key(|id| (slots(id), Reverse(*id)))
        }
        Nearest::Latest => failures.last.filter(has_room),
    }
}

/// The workers to which a job that never ran out of memory may go.
enum Nearest {
    /// Those that it does not avoid.
    Unavoided,
    /// Those that it avoids, except that of the latest failure.
    Avoided,
    /// That of the latest failure.
    Latest,
}

fn nearest(failures: &FailureHistory, offer: &Offer) -> Nearest {
    let avoided = || failures.avoided().filter(|id| offer.able().contains(id));
    match avoided().count() {
        count if count < offer.able().len() => Nearest::Unavoided,
        1 if avoided().next() == failures.last => Nearest::Latest,
        _ => Nearest::Avoided,
    }
}

/// Whether a job could be assigned to this worker if it had a free slot.
#[must_use]
pub fn could_take(
    now: Millis,
    wanted: Wanted<'_>,
    failures: &FailureHistory,
    workers: &Workers,
    worker: WorkerId,
) -> bool {
    let Some(offer) = workers.offer_for(&Need::of(wanted)) else { return false };
    if !offer.able().contains(&worker) {
        return false;
    }
    if !failures.oom.is_empty() {
        let is_it = |id, _: &Worker| (id == worker).then_some(());
        return choose_by(now, wanted, failures, workers, is_it).is_some();
    }
    match nearest(failures, offer) {
        Nearest::Unavoided => !failures.avoids(worker),
        _ if now < failures.not_before => false,
        Nearest::Avoided => failures.last != Some(worker),
        Nearest::Latest => true,
    }
}

/// Chooses the worker for a job by `preference`, which is `None` for a worker without room. Ties go to a worker
/// other than that of the latest failure, then to the preferred one, then to the smallest id.
///
/// A job that ran out of memory is never assigned to a worker with less memory, and waits for a worker with more if
/// one is connected. A job that failed on a worker, or for reasons of its infrastructure twice, waits for another
/// capable worker, even a busy one. It returns to a worker on which it failed after a rest ([`FailureHistory::blame`]), and twice in a row only if there is no other.
/// Returns `None` if the job must wait.
#[must_use]
pub fn choose_by<P: Ord>(
    now: Millis,
    wanted: Wanted<'_>,
    failures: &FailureHistory,
    workers: &Workers,
    preference: impl Fn(WorkerId, &Worker) -> Option<P>,
) -> Option<WorkerId> {
    let offer = workers.offer_for(&Need::of(wanted))?;
    let able = offer.able().iter().filter_map(|id| Some((id, workers.get(id)?)));
    let able: Vec<_> =
        able.map(|(id, worker)| (id, worker, failures.oom.fit(*id, worker))).collect();
    let best = able.iter().map(|(_, _, fit)| *fit).max().filter(|fit| *fit > MemoryFit::Less)?;
    let fitting: Vec<_> = able.into_iter().filter(|(_, _, fit)| *fit == best).collect();
    let distance = |id: &WorkerId| match () {
        () if !failures.avoids(*id) => 0_u8,
        () if failures.last != Some(*id) => 1,
        () => 2,
    };
    let nearest = fitting.iter().map(|(id, _, _)| distance(id)).min()?;
    if nearest > 0 && now < failures.not_before {
        return None;
    }
    fitting
        .into_iter()
        .filter(|(id, _, _)| distance(id) == nearest)
        .filter_map(|(id, worker, _)| {
            let preferred = preference(*id, worker)?;
            Some((failures.last != Some(*id), preferred, Reverse(*id)))
        })
        .max()
        .map(|(_, _, Reverse(id))| id)
}

#[cfg(test)]
mod tests;
