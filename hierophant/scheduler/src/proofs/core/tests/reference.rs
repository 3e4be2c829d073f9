//! Assignment by walks over all jobs and workers: what the scheduler decides by its indices, as plainly as possible.

use std::cmp::Reverse;

use network_lib::job::Memory;

use super::*;
use crate::proofs::assign::FailureHistory;
use crate::proofs::memory::MemoryFit;

/// Order in which jobs must begin: class, and whether the job was not overtaken too often.
type Urgency = (u8, bool);

/// Places ahead that are decided.
struct Decided {
    jobs: BTreeSet<JobId>,
    /// Number of running jobs and of these, by requester.
    busy: BTreeMap<ClientKey, usize>,
    most_urgent: BTreeMap<WorkerId, Urgency>,
}

/// A job that has a place or gets one: the worker, and the attempt whose place it takes there.
type Placement = (JobId, Option<(WorkerId, Option<LeaseId>)>);

impl ProofsCore {
    pub(in crate::proofs::core) fn dispatch_by_walk(
        &mut self,
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        self.queue.wake(now);
        let with_ahead: Vec<WorkerId> = self.workers.keys().copied().collect();
        with_ahead.into_iter().for_each(|id| self.workers.touch(id));
        self.update_index();
        self.recall(now, effects);
        self.release_drained(effects);
        if self.paused.is_some() || self.queue.is_empty() {
            return;
        }
        let free = self.workers.values().filter(|worker| worker.free_slots() > 0);
        let due: Vec<LeaseId> = free
            .flat_map(|worker| self.ahead_of(worker).into_iter().take(worker.free_slots()))
            .map(|held| held.attempt.lease)
            .collect();
        for lease in due {
            self.begin_if_ahead(now, lease, effects);
        }
        while let Some((job, worker)) = self.next_assignment_by_walk(now) {
            self.start_attempt(now, job, worker, effects);
        }
        self.lease_ahead_by_walk(now, effects);
    }

    fn running_by_requester(&self) -> BTreeMap<ClientKey, usize> {
        let leases = self.leases.values().filter(|held| !held.checking && !held.is_ahead());
        let jobs: BTreeSet<JobId> = leases.map(|held| held.job).collect();
        let mut running = BTreeMap::<ClientKey, usize>::new();
        for live in jobs.iter().filter_map(|job| self.jobs.get(job)) {
            *running.entry(live.requester()).or_default() += 1;
        }
        running
    }

    /// Waiting jobs in the order of assignment, if these are busy.
    fn order(&self, busy: &BTreeMap<ClientKey, usize>) -> Vec<JobId> {
        let mut of_requester = BTreeMap::<(u8, ClientKey), Vec<_>>::new();
        for live in self.jobs.values().filter(|live| self.queue.contains(live.record.id)) {
            let requests = || live.requests.values();
            let oldest = requests().min_by_key(|request| (request.created_at, request.id));
            let requester = oldest.map_or(ClientKey::LOWEST, |it| self.client_of(it).key());
            let deadline = requests().map(|request| request.deadline).min();
            let record = &live.record;
            let key = (deadline.unwrap_or(u64::MAX), record.created_at, record.id);
            of_requester.entry((self.class(live), requester)).or_default().push(key);
        }
        let mut turns = Vec::new();
        for ((class, requester), mut keys) in of_requester {
            keys.sort_unstable();
            let round =
                self.queue.class(class).and_then(|it| it.turn(requester)).expect("it waits");
            let busy = busy.get(&requester).copied().unwrap_or(0);
            turns.push((class, busy, round.round, keys));
        }
        turns.sort();
        turns.into_iter().flat_map(|(.., keys)| keys).map(|(.., job)| job).collect()
    }

    fn choose_by_walk<P: Ord>(
        &self,
        now: Millis,
        live: &LiveJob,
        preference: impl Fn(WorkerId, &Worker) -> Option<P>,
    ) -> Option<WorkerId> {
        let failures: &FailureHistory = &live.failures;
        let able = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.takes_jobs() && worker.fits(live.wanted()));
        let able: Vec<_> =
            able.map(|(id, worker)| (id, worker, failures.oom.fit(*id, worker))).collect();
        let best =
            able.iter().map(|(_, _, fit)| *fit).max().filter(|fit| *fit > MemoryFit::Less)?;
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
                Some((failures.last != Some(*id), preference(*id, worker)?, Reverse(*id)))
            })
            .max()
            .map(|(_, _, Reverse(id))| id)
    }

    fn has_room(&self, worker: &Worker, spec: &JobSpec) -> bool {
        let demand = |spec: &JobSpec| self.demand.of(spec, worker.backend());
        let used = worker.leases.iter().map(|lease| {
            let live = self.jobs.get(&self.leases.get(lease)?.job)?;
            demand(&live.record.spec)
        });
        let used: Option<u64> = used.sum();
        let (Some(used), Some(need)) = (used, demand(spec)) else { return true };
        let all = worker.memory(Memory::Main).filter(|_| !worker.leases.is_empty());
        all.is_none_or(|all| used + need <= all)
    }

    fn next_assignment_by_walk(&self, now: Millis) -> Option<(JobId, WorkerId)> {
        self.order(&self.running_by_requester()).into_iter().find_map(|job| {
            let live = self.jobs.get(&job).filter(|live| live.not_before <= now)?;
            let worker = self.choose_by_walk(now, live, |_, worker| {
                let is_free = worker.free_slots() > 0 && self.has_room(worker, &live.record.spec);
                is_free.then(|| worker.free_slots())
            });
            Some((job, worker?))
        })
    }

    fn lease_ahead_by_walk(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let taking = self.workers.values().filter(|worker| worker.takes_jobs());
        let places: usize = taking.map(|worker| worker.most_attempts() - worker.slots()).sum();
        if places == 0 {
            return;
        }
        self.update_index();
        let mut decided = Decided {
            jobs: BTreeSet::new(),
            busy: self.running_by_requester(),
            most_urgent: self.most_urgent_by_walk(now),
        };
        let less_urgent = |held: &&Lease| {
            let live = self.jobs.get(&held.job).filter(|_| held.is_ahead());
            live.is_some_and(|live| {
                !self.may_begin_by_walk(live, held.attempt.prover.worker, &decided)
            })
        };
        let less_urgent: Vec<LeaseId> =
            self.leases.values().filter(less_urgent).map(|held| held.attempt.lease).collect();
        for lease in less_urgent {
            self.give_back(now, lease, "another job has to begin first", effects);
        }
        while let Some((job, lease)) = self.next_placement_by_walk(now, &decided) {
            if let Some((worker, displaced)) = lease {
                if let Some(displaced) = displaced {
                    self.give_back(now, displaced, "another job comes first", effects);
                }
                self.lease_ahead_to(now, job, worker, effects);
            }
            decided.jobs.insert(job);
            let requester = self.jobs.get(&job).expect("it waits").requester();
            *decided.busy.entry(requester).or_default() += 1;
        }
    }

    fn may_begin_by_walk(&self, live: &LiveJob, worker: WorkerId, decided: &Decided) -> bool {
        decided.most_urgent.get(&worker).is_none_or(|most| self.urgency(live) <= *most)
    }

    fn most_urgent_by_walk(&self, now: Millis) -> BTreeMap<WorkerId, Urgency> {
        let mut found = BTreeMap::<WorkerId, Urgency>::new();
        let waiting = self.jobs.values().filter(|live| self.queue.contains(live.record.id));
        for live in waiting.filter(|live| live.not_before <= now) {
            for id in self.workers.keys() {
                let is_it = |other, _: &Worker| (other == *id).then_some(());
                if self.choose_by_walk(now, live, is_it).is_some() {
                    let urgency = self.urgency(live);
                    let most = found.entry(*id).or_insert(urgency);
                    *most = urgency.min(*most);
                }
            }
        }
        found
    }

    fn next_placement_by_walk(&self, now: Millis, decided: &Decided) -> Option<Placement> {
        let undecided = |held: &&Lease| held.is_ahead() && !decided.jobs.contains(&held.job);
        let undecided: Vec<&Lease> = self.leases.values().filter(undecided).collect();
        self.order(&decided.busy).into_iter().find_map(|job| {
            let live = self.jobs.get(&job).filter(|_| !decided.jobs.contains(&job))?;
            if live.ahead.is_some() {
                return Some((job, None));
            }
            if live.not_before > now {
                return None;
            }
            let lease = self
                .free_place_by_walk(now, live, decided)
                .or_else(|| self.taken_place_by_walk(now, live, decided, &undecided));
            lease.map(|lease| (job, Some(lease)))
        })
    }

    fn free_place_by_walk(
        &self,
        now: Millis,
        live: &LiveJob,
        decided: &Decided,
    ) -> Option<(WorkerId, Option<LeaseId>)> {
        let worker = self.choose_by_walk(now, live, |id, worker| {
            let has_place = worker.free_places_ahead() > 0
                && self.may_begin_by_walk(live, id, decided)
                && self.has_memory_for(worker, &live.record.spec);
            has_place.then(|| self.free_soonest(now, worker))
        });
        worker.map(|worker| (worker, None))
    }

    fn taken_place_by_walk(
        &self,
        now: Millis,
        live: &LiveJob,
        decided: &Decided,
        undecided: &[&Lease],
    ) -> Option<(WorkerId, Option<LeaseId>)> {
        let busy = |requester: &ClientKey| decided.busy.get(requester).copied().unwrap_or(0);
        let requester = live.requester();
        let yields = |held: &&&Lease| {
            let other = self.jobs.get(&held.job).map(|other| other.requester());
            other.is_some_and(|other| requester == other || busy(&requester) < busy(&other))
        };
        let yielding: Vec<&Lease> = undecided.iter().filter(yields).copied().collect();
        let at = |id| yielding.iter().filter(move |held| held.attempt.prover.worker == id);
        let worker = self.choose_by_walk(now, live, |id, worker| {
            let has_place = at(id).next().is_some()
                && worker.takes_jobs()
                && self.may_begin_by_walk(live, id, decided)
                && self.has_memory_for(worker, &live.record.spec);
            has_place.then(|| self.free_soonest(now, worker))
        })?;
        let latest = at(worker).max_by_key(|held| (held.started_at, held.attempt.lease))?;
        Some((worker, Some(latest.attempt.lease)))
    }
}
