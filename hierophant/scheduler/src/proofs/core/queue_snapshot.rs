//! Snapshot of the queue with estimated completion times.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::Millis;
use network_lib::ids::{LeaseId, VkHash, WorkerId};
use network_lib::job::{JobSpec, ProofMode};

use super::{LiveJob, ProofsCore};
use crate::proofs::QueuedJob;

/// Properties of a job that decide its expected duration.
type Kind<'a> = (VkHash, ProofMode, &'a str);

/// Forecast of slot use if every proof takes its expected duration.
#[derive(Debug, Default)]
struct Forecast<'a> {
    /// Time at which each slot is free, where it can be estimated. The number distinguishes the slots of a worker.
    slots: BTreeSet<(Millis, WorkerId, usize)>,
    expected: BTreeMap<Kind<'a>, Option<u64>>,
}

impl ProofsCore {
    /// At most `limit` waiting jobs after the first `offset`, in the order of assignment.
    #[must_use]
    pub fn queue_snapshot(&self, now: Millis, offset: usize, limit: usize) -> Vec<QueuedJob> {
        let running = self.running_by_requester();
        let mut forecast = Forecast { slots: self.slots(now), ..Forecast::default() };
        let waiting = self.queue.iter(&running).filter_map(|rank| self.jobs.get(&rank.job));
        let all = waiting.take(offset.saturating_add(limit)).enumerate();
        let expected = all.map(|(place, live)| (place, live, forecast.take(self, now, live)));
        let page = expected.filter(|(place, ..)| *place >= offset);
        page.map(|(_, live, eta_ms)| QueuedJob {
            record: live.record.clone(),
            requests: live.requests.values().map(|request| (**request).clone()).collect(),
            eta_ms,
        })
        .collect()
    }

    /// Times at which the slots of available workers are free, where they can be estimated.
    fn slots(&self, now: Millis) -> BTreeSet<(Millis, WorkerId, usize)> {
        let mut slots = BTreeSet::new();
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.takes_jobs()) {
            // More free slots than waiting jobs make no difference.
            let free = worker.free_slots().min(self.queue.len());
            let ends = worker.leases.iter().filter_map(|lease| self.expected_end(now, *lease));
            for (slot, at) in ends.chain(std::iter::repeat_n(now, free)).enumerate() {
                slots.insert((at, *id, slot));
            }
        }
        slots
    }

    /// Expected end of an attempt, as its worker estimates it or from the expected duration.
    pub(super) fn expected_end(&self, now: Millis, lease: LeaseId) -> Option<Millis> {
        let held = self.leases.get(&lease)?;
        if let Some(seconds) = held.progress.and_then(|progress| progress.eta_seconds) {
            return Some(after(now, seconds.saturating_mul(1000)));
        }
        let record = &self.jobs.get(&held.job)?.record;
        let cycles = record.execution.map(|found| found.cycles);
        let expected = self.durations.estimate(&record.spec, cycles)?;
        Some(after(held.started_at, expected).max(now))
    }
}

impl<'a> Forecast<'a> {
    /// Takes the first free slot for a job and returns the estimated time until it is proved, in milliseconds.
    fn take(&mut self, core: &'a ProofsCore, now: Millis, live: &'a LiveJob) -> Option<u64> {
        let spec = &live.record.spec;
        let fits = |id| core.workers.get(id).is_some_and(|worker| worker.fits(spec));
        let slot = self.slots.iter().find(|(_, id, _)| fits(id)).copied()?;
        self.slots.remove(&slot);
        // Without it the slot's next free time is unknown.
        let expected = self.expected(core, spec)?;
        let (free, worker, number) = slot;
        let end = after(free.max(live.not_before), expected);
        self.slots.insert((end, worker, number));
        Some(end.since(now))
    }

    fn expected(&mut self, core: &ProofsCore, spec: &'a JobSpec) -> Option<u64> {
        let kind = (spec.vk_hash, spec.mode, spec.circuit_version.as_str());
        *self.expected.entry(kind).or_insert_with(|| core.durations.estimate(spec, None))
    }
}

fn after(at: Millis, millis: u64) -> Millis {
    Millis(at.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
}
