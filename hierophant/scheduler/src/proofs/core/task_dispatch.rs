//! Which jobs are proved as tasks, and which worker gets which task.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::Millis;
use network_lib::handshake::Backend;
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::job::{Failure, FailureClass, ProofMode};
use network_lib::shard::{Sharding, TaskKind};

use super::divisions::{Division, NewDivision};
use super::task_turns::TaskTurns;
use super::{Effect, LiveJob, MAX_EFFECTS, ProofsCore};
use crate::proofs::fleet::TaskShape;
use crate::proofs::lease::Worker;
use crate::proofs::shards::policy::{self, Decision, MIN_ELEMENTS, ShardingMode, Situation};
use crate::proofs::shards::{Offer, Peer};

/// Cells of trace for each executed cycle, as measured (`docs/benchmarks/2026-11-30-shards.json`: 214,909 cycles in 5.5
/// core shards of 4,194,304 cells).
const CELLS_PER_CYCLE: u64 = 107;

/// Machines with one engine that can make a proof together.
#[derive(Debug, Clone)]
struct Group<'a> {
    engine: &'a str,
    backend: Backend,
    /// Machines that prove shards.
    machines: u32,
    idle: u32,
    /// Greatest shard that all of them take, in cells.
    max_elements: u64,
    /// Kinds of tasks that any of them takes.
    kinds: BTreeSet<TaskKind>,
}

/// Kinds of tasks that a proof of this kind may consist of.
const fn needed(mode: ProofMode) -> &'static [TaskKind] {
    use TaskKind::{Deferred, Execute, Groth16, Plonk, ProveShard, Reduce, ShrinkWrap};
    match mode {
        ProofMode::Core => &[Execute, ProveShard],
        ProofMode::Compressed => &[Execute, ProveShard, Deferred, Reduce],
        ProofMode::Plonk => &[Execute, ProveShard, Deferred, Reduce, ShrinkWrap, Plonk],
        ProofMode::Groth16 => &[Execute, ProveShard, Deferred, Reduce, ShrinkWrap, Groth16],
    }
}

impl ProofsCore {
    /// Leases waiting tasks to workers that have a place for them: first to all that could begin at once, then to those
    /// that fetch inputs ahead.
    pub(super) fn lease_tasks(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let mut turns = self.task_turns();
        if turns.is_empty() {
            return;
        }
        self.update_index();
        for with_prefetch in [false, true] {
            // One task for each worker in turn, so that none gets several while another one has none.
            while self.lease_a_round(now, &mut turns, with_prefetch, effects) {
                if effects.len() >= MAX_EFFECTS {
                    self.is_cut_short = true;
                    return;
                }
                self.update_index();
            }
        }
    }

    /// Leases at most one task to each worker. Returns whether any was leased.
    fn lease_a_round(
        &mut self,
        now: Millis,
        turns: &mut TaskTurns,
        with_prefetch: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let waits = |job: JobId| {
            self.divisions.jobs.get(&job).is_some_and(|division| division.tasks.execution_waits())
        };
        let executing = turns.jobs().any(waits).then(|| self.workers.open_for_tasks(true));
        let open = self.workers.open_for_tasks(false);
        let open: BTreeSet<_> = executing.into_iter().flatten().chain(open).copied().collect();
        let mut is_leased = false;
        for worker in open {
            let leased = turns
                .jobs()
                .find(|job| self.lease_task(now, (*job, worker), with_prefetch, effects));
            if let Some(job) = leased {
                turns.leased(job);
                is_leased = true;
            }
        }
        is_leased
    }

    fn lease_task(
        &mut self,
        now: Millis,
        (job, id): (JobId, WorkerId),
        with_prefetch: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        let Some(sharding) = &worker.capabilities.sharding else { return false };
        let Some(division) = self.divisions.jobs.get(&job) else { return false };
        let private = self.is_private(job);
        if !worker.may_get(private) {
            return false;
        }
        // What counts no longer occupies the worker as well, until it stops.
        let of_job = |lease: &&LeaseId| {
            self.divisions.attempts.get(*lease).is_some_and(|held| held.record.job == job)
        };
        let held = worker.tasks.iter().filter(of_job).count();
        let of_others = worker.tasks.len() - held;
        let executes = !worker.executions.is_empty();
        let shape = TaskShape::of(&sharding.engine, &division.tasks, private);
        let mut kinds = sharding.kinds_of(shape.mode);
        kinds.retain(|kind| *kind != TaskKind::Execute || !executes);
        let fleet = &self.workers;
        let kinds = division.shortages.allowed(kinds, (id, worker), fleet, shape);
        let places = worker.task_places(with_prefetch);
        let places = self.divisions.demand.limit(places, (id, worker), shape, &kinds);
        let shortages = &division.shortages;
        let peer = |(worker, it, sharding): (WorkerId, &Worker, &Sharding)| {
            let kinds = sharding.kinds_of(shape.mode);
            Peer { worker, kinds: shortages.allowed(kinds, (worker, it), fleet, shape) }
        };
        let others: Vec<_> = if division.tasks.has_failed(id) {
            let others = fleet.takers(shape).filter(|(other, ..)| *other != id);
            others.filter(|(_, other, _)| self.will_have_place(now, other)).map(peer).collect()
        } else {
            Vec::new()
        };
        let offer = Offer {
            worker: id,
            engine: &sharding.engine,
            kinds: &kinds,
            max_elements: sharding.max_elements,
            slots: places.saturating_sub(of_others),
            others: &others,
        };
        let Some(division) = self.divisions.jobs.get_mut(&job) else { return false };
        let Some(task) = division.tasks.next_for(&offer) else { return false };
        let lease = LeaseId(self.ids.draw());
        // Only the window of an execution depends on it.
        let executes = division.tasks.task(task).is_some_and(|it| it.kind == TaskKind::Execute);
        let able = || self.workers.values().filter(|worker| worker.may_get(private));
        let prove_slots = if executes { prove_slots(able(), &sharding.engine) } else { 0 };
        let decided = division.tasks.lease(now, (lease, task), &offer, prove_slots);
        let is_leased = !decided.is_empty();
        self.carry_out(now, job, decided, effects);
        is_leased
    }

    /// Ends the divisions of private jobs that no worker with the right can continue: for instance a private request joined a
    /// job that ordinary workers prove. The jobs are proved as a whole.
    pub(super) fn end_withheld(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        // Until then workers may still return.
        if !self.divisions.have_returned {
            return;
        }
        let in_work: BTreeSet<JobId> =
            self.divisions.attempts.values().map(|held| held.record.job).collect();
        let withheld = self.divisions.jobs.iter().filter(|(job, division)| {
            division.assembly.is_none()
                && !in_work.contains(job)
                && self.is_private(**job)
                && !self.may_be_continued(division)
        });
        let withheld: Vec<LeaseId> = withheld.map(|(_, division)| division.attempt).collect();
        for lease in withheld {
            let message = "its input is private, and the workers with the right to private inputs do not take all of \
                           its tasks: the job is proved as a whole";
            let failure = Failure::new(FailureClass::Infrastructure, message);
            self.fail_attempt(now, lease, failure, effects);
        }
    }

    /// Whether the workers with the right to private inputs take all tasks of a job, those that are busy or away included.
    fn may_be_continued(&self, division: &Division) -> bool {
        let shape = TaskShape::of(division.tasks.engine(), &division.tasks, true);
        let with_right = self.workers.sharding().iter().filter_map(|id| self.workers.get(id));
        let offers = with_right.filter_map(|worker| shape.of_worker(worker));
        let kinds: BTreeSet<TaskKind> =
            offers.flat_map(|sharding| sharding.kinds_of(shape.mode)).collect();
        needed(shape.mode).iter().all(|kind| kinds.contains(kind))
    }

    /// Whether any open request of a job has a private input.
    pub(super) fn is_private(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|live| live.is_private())
    }

    /// Whether a worker has a place for a task, or an attempt that is likely to end. One that was cancelled and goes on is not.
    fn will_have_place(&self, now: Millis, worker: &Worker) -> bool {
        let ends = |lease: &LeaseId| {
            let job = self.divisions.attempts.get(lease).map(|held| held.record.job);
            let division = job.and_then(|job| self.divisions.jobs.get(&job));
            division.is_some_and(|division| !division.tasks.may_hang(now, *lease))
        };
        worker.tasks.len() < worker.task_places(true) || worker.tasks.iter().any(ends)
    }

    /// Whether a waiting job is proved as tasks now, and by what.
    pub(super) fn division_of(&self, now: Millis, live: &LiveJob) -> Option<NewDivision> {
        if self.sharding_mode(live) == ShardingMode::Never {
            return None;
        }
        let group = self.best_group(live)?;
        let decision = self.sharding_decision(now, live, Some(&group));
        let Decision::Sharded(_) = decision else { return None };
        let Group { engine, backend, machines, max_elements, .. } = group;
        let reason = format!("{decision}; machines with engine {engine}: {machines}");
        Some(NewDivision { engine: engine.to_owned(), backend, max_elements, reason })
    }

    /// Decision about a job, for people; `None` if tasks are not in question.
    pub(super) fn explain_sharding(&self, now: Millis, live: &LiveJob) -> Option<Decision> {
        if self.sharding_mode(live) == ShardingMode::Never {
            return None;
        }
        let group = self.best_group(live)?;
        Some(self.sharding_decision(now, live, Some(&group)))
    }

    fn sharding_mode(&self, live: &LiveJob) -> ShardingMode {
        let limits = &self.limits.sharding;
        let oldest = live.requests.values().next();
        oldest.map_or(limits.mode, |request| limits.mode_of(&self.client_of(request)))
    }

    fn sharding_decision(
        &self,
        now: Millis,
        live: &LiveJob,
        group: Option<&Group<'_>>,
    ) -> Decision {
        let spec = &live.record.spec;
        let limit = Some(spec.cycle_limit).filter(|limit| ![0, u64::MAX].contains(limit));
        let cycles = self.durations.cycles_of(spec.vk_hash).or(limit);
        let max_elements = group.map_or(1, |group| group.max_elements.max(1));
        let shards =
            cycles.map(|cycles| cycles.saturating_mul(CELLS_PER_CYCLE).div_ceil(max_elements));
        let deadline = live.requests.values().map(|request| request.deadline).min();
        let left = deadline.map(|deadline| Millis::from_seconds(deadline).since(now));
        let whole = self.durations.estimate(spec, cycles);
        policy::decide(&Situation {
            mode: self.sharding_mode(live),
            slots: group.map_or(0, |group| group.machines),
            idle_slots: group.map_or(0, |group| group.idle),
            expected_shards: shards,
            is_late: whole.zip(left).is_some_and(|(whole, left)| whole > left),
        })
    }

    /// The engine with the most idle machines; `None` if no machines take all tasks of this job.
    fn best_group(&self, live: &LiveJob) -> Option<Group<'_>> {
        let spec = &live.record.spec;
        if live.is_whole {
            return None;
        }
        let workers = self.workers.sharding().iter().filter_map(|id| self.workers.get(id));
        let private = live.is_private();
        let fits = |worker: &&Worker| {
            worker.takes_jobs()
                && worker.may_get(private)
                && worker.capabilities.circuit_versions.contains(&spec.circuit_version)
        };
        let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
        for worker in workers.filter(fits) {
            let Some(sharding) = &worker.capabilities.sharding else { continue };
            if sharding.prove_slots == 0 || sharding.max_elements < MIN_ELEMENTS {
                continue;
            }
            let backend = worker.backend();
            let group = groups.entry((&*sharding.engine, backend)).or_insert(Group {
                engine: &sharding.engine,
                backend,
                machines: 0,
                idle: 0,
                max_elements: u64::MAX,
                kinds: BTreeSet::new(),
            });
            let kinds = sharding.kinds_of(spec.mode);
            if kinds.contains(&TaskKind::ProveShard) {
                group.machines += 1;
                group.idle += u32::from(!worker.has_tasks() && worker.task_places(false) > 0);
            }
            group.max_elements = group.max_elements.min(sharding.max_elements);
            group.kinds.extend(kinds);
        }
        let can_prove =
            |group: &Group<'_>| needed(spec.mode).iter().all(|kind| group.kinds.contains(kind));
        let groups = groups.into_values().filter(can_prove);
        groups.max_by_key(|group| (group.idle, group.machines))
    }
}

/// Number of tasks that all workers with an engine prove at once.
fn prove_slots<'a>(workers: impl Iterator<Item = &'a Worker>, engine: &str) -> u32 {
    let theirs = workers.filter_map(|worker| worker.capabilities.sharding.as_ref());
    let theirs = theirs.filter(|sharding| sharding.engine == engine);
    theirs.fold(0, |sum, sharding| sum.saturating_add(sharding.prove_slots))
}
