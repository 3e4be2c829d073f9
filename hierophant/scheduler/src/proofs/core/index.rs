//! What is kept about jobs and workers so that assignments need no walk.

use hierophant_model::records::Priority;
use network_lib::ids::{JobId, LeaseId};

use super::{LiveJob, ProofsCore};
use crate::proofs::memory::Room;
use crate::proofs::need::Need;
use crate::proofs::queue::{Rank, Waiting};

impl ProofsCore {
    /// Counts a job as running for its requester, or no longer. A job in a race counts once, because its requester did
    /// not ask for the race.
    pub(super) fn recount(&mut self, job: JobId) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        let is_running = |lease| self.leases.get(lease).is_some_and(|held| !held.checking);
        let counted = live.leases.iter().any(is_running).then(|| live.requester());
        let before = std::mem::replace(&mut live.counted, counted);
        if before != counted {
            before.into_iter().for_each(|requester| self.queue.count_running(requester, false));
            counted.into_iter().for_each(|requester| self.queue.count_running(requester, true));
        }
    }

    /// Brings the index of the workers up to date.
    pub(super) fn update_index(&mut self) {
        let Self { workers, leases, jobs, demand, .. } = self;
        workers.update(|worker| {
            let demand = |lease: &LeaseId| {
                let live = jobs.get(&leases.get(lease)?.job)?;
                demand.of(&live.record.spec, worker.backend())
            };
            let mut running = worker.leases.iter();
            let used = running.try_fold(0_u64, |all, it| Some(all.saturating_add(demand(it)?)));
            Room::beside(used, worker)
        });
    }

    /// Priority class.
    pub(super) fn class(&self, live: &LiveJob) -> u8 {
        let urgent = self.limits.urgent_modes.contains(&live.record.spec.mode);
        let by_mode = if urgent { Priority::Urgent } else { Priority::Normal };
        live.record.priority.unwrap_or(by_mode) as u8
    }

    /// Inserts a job into the queue, or moves it to its current position.
    pub(super) fn enqueue(&mut self, job: JobId) {
        let Some(live) = self.jobs.get(&job).filter(|live| live.ending.is_none()) else { return };
        let record = &live.record;
        let rank = Rank {
            class: self.class(live),
            requester: live.requester(),
            deadline: live.requests.deadline().unwrap_or(u64::MAX),
            created_at: record.created_at,
            job,
        };
        self.queue.insert(Waiting {
            rank,
            need: Need::of(live.wanted()),
            program: record.spec.vk_hash,
            not_before: live.not_before,
            is_choosy: live.is_choosy(),
            is_ahead: live.ahead.is_some(),
        });
    }

    /// Records in the queue whether a waiting job is leased ahead.
    pub(super) fn regroup(&mut self, job: JobId) {
        if let Some(live) = self.jobs.get(&job) {
            self.queue.regroup(job, live.ahead.is_some(), live.is_choosy());
        }
    }
}
