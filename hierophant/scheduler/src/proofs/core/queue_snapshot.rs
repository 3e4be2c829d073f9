//! Snapshot of the queue with estimated completion times.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::Millis;
use network_lib::ids::{LeaseId, VkHash, WorkerId};
use network_lib::job::{JobSpec, ProofMode};

use super::{LiveJob, ProofsCore};
use crate::proofs::QueuedJob;
use crate::proofs::fleet::Offer;
use crate::proofs::need::{Need, SharedNeed};

/// Number of waiting jobs whose completion is estimated. The page of a later one is found without estimates.
const MAX_ESTIMATED: usize = 10_000;

/// Properties of a job that decide its expected duration.
type Kind<'a> = (VkHash, ProofMode, &'a str);

/// Slot of a worker, and the time at which it is free.
type Slot = (Millis, WorkerId, usize);

/// Forecast of slot use if every proof takes its expected duration.
#[derive(Debug, Default)]
struct Forecast<'a> {
    /// Time at which each slot is free, where it can be estimated, by the needs that its worker can serve. The number
    /// distinguishes the slots of a worker.
    slots: BTreeMap<BTreeSet<SharedNeed>, BTreeSet<Slot>>,
    expected: BTreeMap<Kind<'a>, Option<u64>>,
}

impl ProofsCore {
    /// At most `limit` waiting jobs after the first `offset`, in the order of assignment. Completion times are those of
    /// the first ten thousand.
    #[must_use]
    pub fn queue_snapshot(&self, now: Millis, offset: usize, limit: usize) -> Vec<QueuedJob> {
        let most = offset.saturating_add(limit).min(self.queue.len());
        let estimated = if offset < MAX_ESTIMATED { most.min(MAX_ESTIMATED) } else { 0 };
        let mut forecast = Forecast { slots: self.slots(now, estimated), ..Forecast::default() };
        let waiting = self.queue.iter().take(most).enumerate();
        // The others only pass.
        let needed = waiting.filter(|(place, _)| *place < estimated || *place >= offset);
        let jobs = needed.filter_map(|(place, job)| Some((place, self.jobs.get(&job)?)));
        let expected = jobs.map(|(place, live)| {
            let estimate = (place < estimated).then(|| forecast.take(self, now, live));
            (place, live, estimate.flatten())
        });
        let page = expected.filter(|(place, ..)| *place >= offset);
        page.map(|(_, live, eta_ms)| QueuedJob {
            record: live.record.clone(),
            requests: live.requests.values().cloned().collect(),
            eta_ms,
        })
        .collect()
    }

    /// Times at which the slots of available workers are free, where they can be estimated. More than `most` free
    /// slots that serve the same needs make no difference.
    fn slots(&self, now: Millis, most: usize) -> BTreeMap<BTreeSet<SharedNeed>, BTreeSet<Slot>> {
        let mut served = BTreeMap::<WorkerId, BTreeSet<SharedNeed>>::new();
        for need in self.queue.needs() {
            let able = self.workers.offer_for(need).into_iter().flat_map(Offer::able);
            for id in able {
                served.entry(*id).or_default().insert(SharedNeed::clone(need));
            }
        }
        let mut slots = BTreeMap::<BTreeSet<SharedNeed>, BTreeSet<Slot>>::new();
        let mut free_slots = BTreeMap::<BTreeSet<SharedNeed>, usize>::new();
        let mut durations = BTreeMap::new();
        for (id, needs) in served {
            let Some(worker) = self.workers.get(&id) else { continue };
            let known = free_slots.entry(needs.clone()).or_default();
            let free = worker.free_slots().min(most.saturating_sub(*known));
            *known += free;
            let ends = worker.leases.iter().filter_map(|lease| {
                self.expected_end_by(now, *lease, |spec, cycles| {
                    let kind = (spec.vk_hash, spec.mode, spec.circuit_version.as_str(), cycles);
                    *durations.entry(kind).or_insert_with(|| self.durations.estimate(spec, cycles))
                })
            });
            let all = ends.chain(std::iter::repeat_n(now, free)).enumerate();
            slots.entry(needs).or_default().extend(all.map(|(slot, at)| (at, id, slot)));
        }
        slots
    }

    /// Expected end of an attempt, as its worker estimates it or from the expected duration.
    pub(super) fn expected_end(&self, now: Millis, lease: LeaseId) -> Option<Millis> {
        self.expected_end_by(now, lease, |spec, cycles| self.durations.estimate(spec, cycles))
    }

    /// The same with expected durations from `estimate`.
    fn expected_end_by<'a>(
        &'a self,
        now: Millis,
        lease: LeaseId,
        estimate: impl FnOnce(&'a JobSpec, Option<u64>) -> Option<u64>,
    ) -> Option<Millis> {
        let held = self.leases.get(&lease)?;
        if let Some(seconds) = held.progress.and_then(|progress| progress.eta_seconds) {
            return Some(after(now, seconds.saturating_mul(1000)));
        }
        let record = &self.jobs.get(&held.job)?.record;
        let cycles = record.execution.map(|found| found.cycles);
        Some(after(held.started_at, estimate(&record.spec, cycles)?).max(now))
    }
}

impl<'a> Forecast<'a> {
    /// Takes the first free slot for a job and returns the estimated time until it is proved, in milliseconds.
    fn take(&mut self, core: &'a ProofsCore, now: Millis, live: &'a LiveJob) -> Option<u64> {
        let spec = &live.record.spec;
        let need = Need::of(live.wanted());
        let fitting = self.slots.iter_mut().filter(|(needs, _)| needs.contains(&need));
        let with_first = fitting.filter_map(|(_, slots)| Some((slots.first().copied()?, slots)));
        let (slot, slots) = with_first.min_by_key(|(slot, _)| *slot)?;
        slots.remove(&slot);
        // Without it the slot's next free time is unknown.
        let kind = (spec.vk_hash, spec.mode, spec.circuit_version.as_str());
        let expected = self.expected.entry(kind);
        let expected = (*expected.or_insert_with(|| core.durations.estimate(spec, None)))?;
        let (free, worker, number) = slot;
        let end = after(free.max(live.not_before), expected);
        slots.insert((end, worker, number));
        Some(end.since(now))
    }
}

fn after(at: Millis, millis: u64) -> Millis {
    Millis(at.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
}
