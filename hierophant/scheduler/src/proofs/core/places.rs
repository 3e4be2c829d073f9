//! Distribution of the places ahead among the waiting jobs, in the queue's order.
//!
//! A worker begins the job that it has prepared, although another worker may hold an earlier one. Three rules keep the
//! queue's promises nevertheless:
//!
//! - While a job waits that is of a more urgent class, or was overtaken by as many jobs as the fleet has places ahead,
//!   no other job is leased ahead to a worker that could take it.
//! - A job takes the place of another if its requester has fewer jobs in progress, or if both are of one requester and
//!   it precedes the other.
//! - The place is at the worker that is expected to have a free slot first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use hierophant_model::records::Millis;
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::job::{JobSpec, Memory};

use super::{Effect, LiveJob, ProofsCore};
use crate::proofs::assign;
use crate::proofs::lease::{Lease, Worker};

/// Order in which jobs must begin: class, and whether the job was not overtaken too often.
type Urgency = (u8, bool);

/// Places ahead that are decided.
#[derive(Debug)]
struct Decided {
    /// Jobs with a place.
    jobs: BTreeSet<JobId>,
    /// Number of running jobs and of these, by requester.
    busy: BTreeMap<Address, usize>,
    /// The most urgent waiting job of each worker.
    most_urgent: BTreeMap<WorkerId, Urgency>,
}

/// The next job in the queue's order that has a place ahead or gets one.
struct Placement {
    job: JobId,
    requester: Address,
    /// Worker that gets it now, and the attempt whose place it takes there.
    lease: Option<(WorkerId, Option<LeaseId>)>,
}

impl ProofsCore {
    /// Leases waiting jobs ahead to workers whose slots are taken.
    pub(super) fn lease_ahead(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.places_ahead() == 0 {
            return;
        }
        let mut decided = Decided {
            jobs: BTreeSet::new(),
            busy: self.running_by_requester(),
            most_urgent: self.most_urgent(now),
        };
        let less_urgent = |held: &&Lease| {
            let live = self.jobs.get(&held.job).filter(|_| held.is_ahead());
            live.is_some_and(|live| !self.may_begin(live, held.attempt.prover.worker, &decided))
        };
        let less_urgent: Vec<LeaseId> =
            self.leases.values().filter(less_urgent).map(|held| held.attempt.lease).collect();
        for lease in less_urgent {
            self.give_back(now, lease, "another job has to begin first", effects);
        }
        while let Some(Placement { job, requester, lease }) = self.next_placement(now, &decided) {
            if let Some((worker, displaced)) = lease {
                if let Some(displaced) = displaced {
                    self.give_back(now, displaced, "another job comes first", effects);
                }
                self.lease_ahead_to(now, job, worker, effects);
            }
            decided.jobs.insert(job);
            *decided.busy.entry(requester).or_default() += 1;
        }
    }

    /// Number of jobs that the connected workers take ahead.
    fn places_ahead(&self) -> usize {
        let taking = self.workers.values().filter(|worker| worker.takes_jobs());
        taking.map(|worker| worker.capabilities.prefetch as usize).sum()
    }

    fn urgency(&self, live: &LiveJob) -> Urgency {
        (self.rank(live).class, live.overtaken < self.places_ahead())
    }

    /// Whether no more urgent job waits that this worker could take.
    fn may_begin(&self, live: &LiveJob, worker: WorkerId, decided: &Decided) -> bool {
        decided.most_urgent.get(&worker).is_none_or(|most| self.urgency(live) <= *most)
    }

    /// Urgency of the most urgent waiting job of each worker that takes jobs ahead.
    fn most_urgent(&self, now: Millis) -> BTreeMap<WorkerId, Urgency> {
        let mut found = BTreeMap::<WorkerId, Urgency>::new();
        let preparing = self.workers.iter().filter(|(_, worker)| worker.capabilities.prefetch > 0);
        let workers: Vec<WorkerId> = preparing.map(|(id, _)| *id).collect();
        let overdue = self.leases.values().filter(|held| held.is_ahead()).map(|held| held.job);
        let overdue =
            overdue.filter(|job| self.jobs.get(job).is_some_and(|live| !self.urgency(live).1));
        let none_running = BTreeMap::new();
        let by_class = self.queue.iter(&none_running).map(|rank| rank.job);
        // Most jobs are alike, and one of each kind suffices.
        let mut seen = BTreeSet::new();
        for job in overdue.chain(by_class) {
            let Some(live) = self.jobs.get(&job).filter(|live| live.not_before <= now) else {
                continue;
            };
            let (spec, urgency) = (&live.record.spec, self.urgency(live));
            let is_done = |id| found.get(id).is_some_and(|most| most.0 <= urgency.0);
            if urgency.1 && workers.iter().all(is_done) {
                break;
            }
            let untried = !live.failures.avoids_any();
            if untried && !seen.insert((urgency, spec.mode, spec.circuit_version.as_str())) {
                continue;
            }
            for id in workers.iter().filter(|id| self.could_take(now, live, **id)) {
                let most = found.entry(*id).or_insert(urgency);
                *most = urgency.min(*most);
            }
        }
        found
    }

    /// Whether a job could be assigned to this worker if it had a free slot.
    fn could_take(&self, now: Millis, live: &LiveJob, worker: WorkerId) -> bool {
        let is_it = |id, _: &Worker| (id == worker).then_some(());
        let (spec, failures) = (&live.record.spec, &live.failures);
        assign::choose_by(now, spec, failures, &self.workers, is_it).is_some()
    }

    fn next_placement(&self, now: Millis, decided: &Decided) -> Option<Placement> {
        let undecided = |held: &&Lease| held.is_ahead() && !decided.jobs.contains(&held.job);
        let undecided: Vec<&Lease> = self.leases.values().filter(undecided).collect();
        let is_free = |worker: &Worker| worker.free_places_ahead() > 0;
        if undecided.is_empty() && !self.workers.values().any(is_free) {
            return None;
        }
        // As for slots: later jobs of a kind without a place are skipped.
        let mut without_place = BTreeSet::new();
        self.queue.iter(&decided.busy).find_map(|rank| {
            let (job, requester) = (rank.job, rank.requester);
            let live = self.jobs.get(&job).filter(|_| !decided.jobs.contains(&job))?;
            if live.ahead.is_some() {
                return Some(Placement { job, requester, lease: None });
            }
            let spec = &live.record.spec;
            let kind = (requester, spec.mode, spec.circuit_version.as_str(), spec.vk_hash);
            let untried = !live.failures.avoids_any();
            if live.not_before > now || (untried && without_place.contains(&kind)) {
                return None;
            }
            let lease = self
                .free_place(now, live, decided)
                .or_else(|| self.taken_place(now, live, decided, &undecided));
            if lease.is_none() && untried {
                without_place.insert(kind);
            }
            lease.map(|lease| Placement { job, requester, lease: Some(lease) })
        })
    }

    /// A free place ahead for a job.
    fn free_place(
        &self,
        now: Millis,
        live: &LiveJob,
        decided: &Decided,
    ) -> Option<(WorkerId, Option<LeaseId>)> {
        let (spec, failures) = (&live.record.spec, &live.failures);
        let worker = assign::choose_by(now, spec, failures, &self.workers, |id, worker| {
            let has_place = worker.free_places_ahead() > 0
                && self.may_begin(live, id, decided)
                && self.has_memory_for(worker, spec);
            has_place.then(|| self.free_soonest(now, worker))
        });
        worker.map(|worker| (worker, None))
    }

    /// A place ahead that a job takes from another one.
    fn taken_place(
        &self,
        now: Millis,
        live: &LiveJob,
        decided: &Decided,
        undecided: &[&Lease],
    ) -> Option<(WorkerId, Option<LeaseId>)> {
        let busy = |requester: &Address| decided.busy.get(requester).copied().unwrap_or(0);
        let requester = live.requester();
        let yields = |held: &&&Lease| {
            let other = self.jobs.get(&held.job).map(|other| other.requester());
            other.is_some_and(|other| requester == other || busy(&requester) < busy(&other))
        };
        let yielding: Vec<&Lease> = undecided.iter().filter(yields).copied().collect();
        let at = |id| yielding.iter().filter(move |held| held.attempt.prover.worker == id);
        let (spec, failures) = (&live.record.spec, &live.failures);
        let worker = assign::choose_by(now, spec, failures, &self.workers, |id, worker| {
            let has_place = at(id).next().is_some()
                && worker.takes_jobs()
                && self.may_begin(live, id, decided)
                && self.has_memory_for(worker, spec);
            has_place.then(|| self.free_soonest(now, worker))
        })?;
        let latest = at(worker).max_by_key(|held| (held.started_at, held.attempt.lease))?;
        Some((worker, Some(latest.attempt.lease)))
    }

    /// Preference for the worker that is expected to have a free slot first, where that can be estimated.
    fn free_soonest(&self, now: Millis, worker: &Worker) -> Reverse<Millis> {
        let ends = worker.leases.iter().filter_map(|lease| self.expected_end(now, *lease));
        Reverse(ends.min().unwrap_or(Millis(i64::MAX)))
    }

    /// Whether such a proof has enough main memory, whichever of the worker's other proofs runs beside it then.
    fn has_memory_for(&self, worker: &Worker, spec: &JobSpec) -> bool {
        let demand = |spec: &JobSpec| self.demand.of(spec, worker.backend());
        let (Some(need), Some(all)) = (demand(spec), worker.memory(Memory::Main)) else {
            return true;
        };
        let others = worker.leases.iter().chain(&worker.ahead).map(|lease| {
            let live = self.jobs.get(&self.job_of_lease(*lease)?)?;
            demand(&live.record.spec)
        });
        let Some(mut others) = others.collect::<Option<Vec<u64>>>() else { return true };
        others.sort_unstable_by_key(|bytes| Reverse(*bytes));
        let beside = (worker.capabilities.slots as usize).saturating_sub(1);
        others.into_iter().take(beside).fold(need, u64::saturating_add) <= all
    }
}
