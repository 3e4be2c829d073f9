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
use std::collections::BTreeMap;

use hierophant_model::records::Millis;
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::job::{JobSpec, Memory};

use super::decisions::{Decisions, Urgency};
use super::{Effect, LiveJob, MAX_EFFECTS, ProofsCore};
use crate::proofs::assign;
use crate::proofs::fleet::Offer;
use crate::proofs::lease::Worker;
use crate::proofs::need::{Need, SharedNeed};

/// Worker that gets a job, and the attempt whose place it takes there.
pub(super) type Given = (WorkerId, Option<LeaseId>);

/// The next job in the queue's order that has a place ahead or gets one.
struct Placement {
    job: JobId,
    /// Place that it gets now.
    given: Option<Given>,
}

/// How far the free places are filled.
enum Filled {
    /// Nothing else is to be decided.
    Completely,
    /// All jobs that are leased ahead keep their places, and the next ones differ.
    Partly,
    /// A job may take the place of another.
    NotYet,
}

impl ProofsCore {
    /// Leases waiting jobs ahead to workers whose slots are taken.
    ///
    /// Usually all jobs keep their places, and the next ones get the free places. Otherwise the cost depends on the
    /// number of places ahead, but neither on the number of waiting jobs nor on that of the other workers.
    pub(super) fn lease_ahead(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.workers.places_ahead() == 0 {
            return;
        }
        let mut decisions = match self.fill_places(now, effects) {
            Filled::Completely => return,
            Filled::Partly => {
                let mut decisions = self.undecided(now);
                decisions.keep_all(&self.queue);
                decisions
            }
            Filled::NotYet => {
                self.give_back_less_urgent(now, effects);
                self.update_index();
                self.decisions(now)
            }
        };
        while let Some(Placement { job, given }) = self.next_placement(now, &mut decisions) {
            let Some(requester) = self.jobs.get(&job).map(|live| live.requester()) else { return };
            if let Some((worker, displaced)) = given {
                if effects.len() >= MAX_EFFECTS {
                    self.is_cut_short = true;
                    return;
                }
                if let Some(displaced) = displaced {
                    if let Some(held) = self.leases.get(&displaced) {
                        decisions.displace(&self.queue, held.job, displaced);
                    }
                    self.give_back(now, displaced, "another job comes first", effects);
                }
                self.lease_ahead_to(now, job, worker, effects);
                self.update_index();
            }
            decisions.decide(&self.queue, job, requester);
        }
    }

    /// Gives the free places to the next jobs, if all jobs with a place keep it.
    fn fill_places(&mut self, now: Millis, effects: &mut Vec<Effect>) -> Filled {
        let Some(class) = self.class_of_kept() else { return Filled::NotYet };
        let Some(class) = class else { return Filled::Completely };
        let mut decisions = Decisions::default();
        loop {
            let free = self.workers.offers().filter(|(_, offer)| !offer.free_ahead().is_empty());
            let next = free.filter_map(|(need, _)| {
                self.queue.class(class)?.not_ahead(need, None)?.first_by_engaged()
            });
            let Some(next) = next.min() else { return Filled::Completely };
            let Some(live) = self.jobs.get(&next.job()) else { return Filled::Partly };
            let Some((worker, _)) = self.free_place(now, live, &mut decisions) else {
                return Filled::Partly;
            };
            if effects.len() >= MAX_EFFECTS {
                self.is_cut_short = true;
                return Filled::Completely;
            }
            self.lease_ahead_to(now, next.job(), worker, effects);
            self.update_index();
        }
    }

    /// Class of the jobs that get places, if all jobs that are leased ahead keep theirs; the inner value is `None` if no
    /// job waits for a place. It is so if
    ///
    /// - all of them are of the most urgent class, and no worker could take another one than that of this class;
    /// - no job has to be judged alone: none was overtaken too often, and none avoids a worker;
    /// - the jobs with a place are the first ones of their requester;
    /// - no requester has two more jobs in progress than one whose job waits.
    ///
    /// Then no job takes another's place: at its turn, the requesters of those that are not decided have at most as many
    /// jobs in progress as its own.
    fn class_of_kept(&self) -> Option<Option<u8>> {
        let preparing = || self.workers.offers().filter(|(_, it)| !it.preparing().is_empty());
        let mut classes = self
            .queue
            .classes()
            .filter(|(_, class)| preparing().any(|(need, _)| class.has_any_of(need)));
        let Some((number, class)) = classes.next() else {
            return (self.prepared.len() == 0).then_some(None);
        };
        let for_all = |(need, offer): (&SharedNeed, &Offer)| {
            class.first(need).is_some() && offer.preparing().len() == self.workers.preparing()
        };
        let is_only = classes.next().is_none() || preparing().any(for_all);
        let places = self.workers.places_ahead();
        let is_simple = is_only
            && class.ahead() == self.prepared.len()
            && !class.has_inversion()
            && self.overtaken.is_empty()
            && self.prepared.overtaken_by(places).next().is_none()
            && preparing().all(|(need, _)| class.choosy(need).next().is_none());
        if !is_simple {
            return None;
        }
        let first = preparing().filter_map(|(need, _)| {
            class.not_ahead(need, None)?.first_by_engaged().map(|place| place.turn.busy)
        });
        match (first.min(), class.most_engaged()) {
            (None, _) => Some(None),
            (Some(least), Some(most)) if most > least.saturating_add(1) => None,
            _ => Some(Some(number)),
        }
    }

    /// Gives back attempts whose worker could take a job that has to begin first.
    fn give_back_less_urgent(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let mut decisions = Decisions::default();
        let classes = self.queue.classes().filter(|(_, class)| class.has_assignable()).count();
        self.find_overdue(now, &mut decisions);
        if classes <= 1 && decisions.overdue.is_empty() {
            return;
        }
        let mut less_urgent = Vec::new();
        for (lease, job) in self.prepared.iter() {
            let Some(worker) = self.leases.get(&lease).map(|held| held.attempt.prover.worker)
            else {
                continue;
            };
            let live = self.jobs.get(&job);
            if live.is_some_and(|live| !self.may_begin(now, live, worker, &mut decisions)) {
                less_urgent.push(lease);
            }
        }
        less_urgent.sort_unstable();
        for lease in less_urgent {
            if effects.len() >= MAX_EFFECTS {
                self.is_cut_short = true;
                return;
            }
            self.give_back(now, lease, "another job has to begin first", effects);
        }
    }

    /// No decision about the jobs that are leased ahead.
    fn undecided(&self, now: Millis) -> Decisions {
        let mut decisions = Decisions::default();
        self.find_overdue(now, &mut decisions);
        for (lease, job) in self.prepared.iter() {
            decisions.add_undecided(&self.queue, job, lease);
        }
        decisions
    }

    /// What is decided before the first placement: if every job that is leased ahead keeps its place, all of that.
    fn decisions(&self, now: Millis) -> Decisions {
        let decisions = self.undecided(now);
        let mut all_kept = decisions.clone();
        all_kept.keep_all(&self.queue);
        if self.is_balanced(&decisions, &mut all_kept) { all_kept } else { decisions }
    }

    /// Whether no job can take the place of another: each one that could take it comes later, or its requester has at
    /// least as many jobs in progress at its turn.
    fn is_balanced(&self, before: &Decisions, all_kept: &mut Decisions) -> bool {
        let Some(most_busy) = all_kept.most_busy_kept() else { return true };
        for (number, class) in self.queue.classes() {
            let preparing = self.workers.offers().filter(|(_, it)| !it.preparing().is_empty());
            for (need, _) in preparing {
                let is_ahead = |job| self.jobs.get(&job).is_some_and(|live| live.ahead.is_some());
                if class.choosy(need).any(|place| !is_ahead(place.job())) {
                    return false;
                }
                let Some(group) = class.not_ahead(need, None) else { continue };
                let first = all_kept.first_in(number, class, group, (need, None), 0);
                if first.is_some_and(|(turn, _)| most_busy > turn.busy + 1) {
                    return false;
                }
                if before.is_before_a_kept_one(number, group) {
                    return false;
                }
            }
        }
        true
    }

    /// Jobs that were overtaken too often and can be assigned now.
    fn find_overdue(&self, now: Millis, decisions: &mut Decisions) {
        let limit = self.workers.places_ahead();
        let others = self.overtaken.iter().copied().filter(|job| {
            let live = self.jobs.get(job).filter(|live| live.overtaken >= limit);
            live.is_some() && self.queue.contains(*job)
        });
        let all = self.prepared.overtaken_by(limit).chain(others);
        let is_ready = |job: &JobId| self.jobs.get(job).is_some_and(|it| it.not_before <= now);
        decisions.overdue = all.filter(is_ready).collect();
    }

    /// Class of a job, and whether it was not overtaken too often.
    pub(super) fn urgency(&self, live: &LiveJob) -> Urgency {
        let overtaken = live.ahead.and_then(|lease| self.prepared.overtaken(lease));
        let overtaken = overtaken.unwrap_or(live.overtaken);
        (self.class(live), overtaken < self.workers.places_ahead())
    }

    /// Whether no more urgent job waits that this worker could take.
    fn may_begin(
        &self,
        now: Millis,
        live: &LiveJob,
        worker: WorkerId,
        decisions: &mut Decisions,
    ) -> bool {
        let overdue = &decisions.overdue;
        let most = decisions.most_urgent.entry(worker);
        let most = *most.or_insert_with(|| self.most_urgent(now, worker, overdue));
        most.is_none_or(|most| self.urgency(live) <= most)
    }

    /// Urgency of the most urgent waiting job that a worker could take.
    fn most_urgent(&self, now: Millis, worker: WorkerId, overdue: &[JobId]) -> Option<Urgency> {
        let could_take = |job| {
            let live = self.jobs.get(&job)?;
            self.could_take(now, live, worker).then(|| self.urgency(live))
        };
        let overdue = overdue.iter().filter_map(|job| could_take(*job)).min();
        let by_class = self.queue.classes().find_map(|(number, class)| {
            let offers = self.workers.offers();
            let mut able = offers.filter(|(_, offer)| offer.able().contains(&worker));
            let has_any = able.any(|(need, _)| {
                class.first(need).is_some()
                    || class.choosy(need).any(|place| could_take(place.job()).is_some())
            });
            has_any.then_some((number, true))
        });
        overdue.into_iter().chain(by_class).min()
    }

    /// Whether a job could be assigned to this worker if it had a free slot.
    pub(super) fn could_take(&self, now: Millis, live: &LiveJob, worker: WorkerId) -> bool {
        assign::could_take(now, live.wanted(), &live.failures, &self.workers, worker)
    }

    fn next_placement(&self, now: Millis, decisions: &mut Decisions) -> Option<Placement> {
        let kept = decisions.first_undecided();
        let limit = kept.map(|(position, _)| position);
        if let Some((job, given)) = self.first_placed(now, decisions, limit) {
            return Some(Placement { job, given: Some(given) });
        }
        kept.map(|(_, job)| Placement { job, given: None })
    }

    /// Place for a job that another one of its class does not need more: a free one, or one that it takes.
    pub(super) fn place_for(
        &self,
        now: Millis,
        job: JobId,
        decisions: &mut Decisions,
    ) -> Option<Given> {
        let live = self.jobs.get(&job)?;
        self.free_place(now, live, decisions).or_else(|| self.taken_place(now, live, decisions))
    }

    /// A free place ahead for a job.
    fn free_place(&self, now: Millis, live: &LiveJob, decisions: &mut Decisions) -> Option<Given> {
        let spec = &live.record.spec;
        let offer = self.workers.offer_for(&Need::of(live.wanted()))?;
        let mut places = BTreeMap::new();
        for id in offer.free_ahead() {
            let Some(worker) = self.workers.get(id) else { continue };
            let is_fit =
                self.has_memory_for(worker, spec) && self.may_begin(now, live, *id, decisions);
            if is_fit {
                places.insert(*id, None);
            }
        }
        self.preferred(now, live, &places)
    }

    /// A place ahead that a job takes from another one.
    fn taken_place(&self, now: Millis, live: &LiveJob, decisions: &mut Decisions) -> Option<Given> {
        let spec = &live.record.spec;
        let offer = self.workers.offer_for(&Need::of(live.wanted()))?;
        let mut latest = BTreeMap::<WorkerId, (Millis, LeaseId)>::new();
        for lease in decisions.yielding_to(&self.queue, live.requester()) {
            let Some(held) = self.leases.get(&lease) else { continue };
            let id = held.attempt.prover.worker;
            let Some(worker) = self.workers.get(&id) else { continue };
            let is_fit = offer.able().contains(&id)
                && self.has_memory_for(worker, spec)
                && self.may_begin(now, live, id, decisions);
            if is_fit {
                let at = (held.started_at, lease);
                let last = latest.entry(id).or_insert(at);
                *last = at.max(*last);
            }
        }
        let latest = latest.into_iter().map(|(id, (_, lease))| (id, Some(lease))).collect();
        self.preferred(now, live, &latest)
    }

    /// The place for a job among these: that of the worker whose slot is free first.
    fn preferred(
        &self,
        now: Millis,
        live: &LiveJob,
        places: &BTreeMap<WorkerId, Option<LeaseId>>,
    ) -> Option<Given> {
        let failures = &live.failures;
        let chosen = if failures.avoids_any() {
            assign::choose_by(now, live.wanted(), failures, &self.workers, |id, worker| {
                places.contains_key(&id).then(|| self.free_soonest(now, worker))
            })
        } else {
            // The same for a job that avoids no worker, without a walk over those that have no place for it.
            let workers = places.keys().filter_map(|id| Some((*id, self.workers.get(id)?)));
            workers
                .map(|(id, worker)| {
                    (failures.last != Some(id), self.free_soonest(now, worker), Reverse(id))
                })
                .max()
                .map(|(.., Reverse(id))| id)
        };
        chosen.and_then(|id| Some((id, *places.get(&id)?)))
    }

    /// Preference for the worker that is expected to have a free slot first, where that can be estimated.
    pub(super) fn free_soonest(&self, now: Millis, worker: &Worker) -> Reverse<Millis> {
        let ends = worker.leases.iter().filter_map(|lease| self.expected_end(now, *lease));
        Reverse(ends.min().unwrap_or(Millis(i64::MAX)))
    }

    /// Whether such a proof has enough main memory, whichever of the worker's other proofs runs beside it then.
    pub(super) fn has_memory_for(&self, worker: &Worker, spec: &JobSpec) -> bool {
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
