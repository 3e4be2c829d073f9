//! The world of the simulation: rows, bytes, a fleet, faults, all from one seed.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{
    DeferredEvents, Millis, ShardingRecord, TaskLease, TaskRecord, TaskState,
};
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, ProofMode};
use network_lib::shard::{NewShard, TaskKind};
use shard_plan::Key;

use super::super::{Effect, JobEnd, Limits, Reason, ShardedJob};
use super::fleet::{ENGINE, Program, Word, Worker};
use crate::proofs::core::IdSource;

mod faults;
mod host;
mod tally;
mod window;
mod work;

pub(super) use tally::Tally;

use tally::Dice;
use window::Window;

/// Limits that no run reaches, except that executions which differ can exhaust the restarts.
const LIMITS: Limits = Limits {
    max_attempts: 40,
    max_retries: 4_000,
    max_restarts: 3,
    race_after: 1.0,
    window_bytes: 200,
};
const NOW: Millis = Millis(1);

type Fault = Result<(), String>;

pub(super) struct World {
    dice: Dice,
    mode: ProofMode,
    limits: Limits,
    /// Numbers of core, memory and precompile shards.
    size: (u64, u64, u64),
    /// Whether connections are cut, and nothing else happens.
    only_cuts: bool,
    /// Whether executions differ.
    differs: bool,
    /// One in this many steps of an attempt fails.
    failing: usize,
    /// What each execution announces, and the last complete one.
    programs: BTreeMap<LeaseId, Program>,
    executed: Option<Program>,
    window: Option<Window>,
    job: ShardedJob,
    /// The stored rows.
    tasks: BTreeMap<TaskId, TaskRecord>,
    leases: BTreeMap<LeaseId, TaskLease>,
    rows: Option<ShardingRecord>,
    end: Option<JobEnd>,
    /// Bytes that Hierophant stores.
    blobs: BTreeSet<Sha256Digest>,
    /// All bytes that it has ever stored.
    received: BTreeSet<Sha256Digest>,
    fleet: Vec<Worker>,
    /// Words that arrive a second time, from whom.
    echoes: Vec<(usize, Word)>,
    number: u64,
    /// Faults happen only before this step.
    calm: u64,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let modes = [ProofMode::Core, ProofMode::Compressed, ProofMode::Groth16];
        let mode = modes[dice.below(3)];
        let (cores, memories) = (1 + dice.below(12) as u64, dice.below(3) as u64);
        let size = (cores, memories, dice.below(6) as u64);
        // Some runs reach one of the limits.
        let (mut limits, mut failing) = (LIMITS, 60);
        match dice.below(16) {
            0 => (limits.max_attempts, failing) = (2, 8),
            1 => limits.max_retries = 3,
            2 => limits.max_restarts = 0,
            3 | 4 => limits.window_bytes = 60,
            _ => {}
        }
        let only_cuts = dice.one_in(4);
        let differs = limits.max_restarts == 0 || dice.one_in(4);
        let workers = 2 + dice.below(4);
        let fleet = (0..workers).map(|number| {
            let number = u8::try_from(number).expect("few") + 1;
            Worker::new(number, 1 + dice.below(3), number > 1 && dice.one_in(4))
        });
        let fleet: Vec<_> = fleet.collect();
        let (job, effects) = begin(mode, limits, seed << 32);
        let mut world = Self {
            dice,
            mode,
            limits,
            size,
            only_cuts,
            differs,
            failing,
            programs: BTreeMap::new(),
            executed: None,
            window: None,
            job,
            tasks: BTreeMap::new(),
            leases: BTreeMap::new(),
            rows: None,
            end: None,
            blobs: BTreeSet::new(),
            received: BTreeSet::new(),
            fleet,
            echoes: Vec::new(),
            number: 0,
            calm: 1_500,
            tally: Tally::default(),
        };
        world.apply(effects).expect("the first effects");
        world
    }

    /// Runs until the job has ended and everything has settled.
    pub(super) fn run(mut self) -> Result<Tally, String> {
        while self.end.is_none() {
            self.tally.steps += 1;
            if self.tally.steps > 60_000 {
                let open = |task: &&TaskRecord| {
                    matches!(task.state, TaskState::Waiting | TaskState::Leased)
                };
                let open: Vec<_> = self.tasks.values().filter(open).collect();
                return Err(format!("no end: {open:#?} {:#?}", self.fleet));
            }
            if !self.is_calm() {
                self.disturb()?;
            } else if self.tally.steps.is_multiple_of(100) {
                // The time for workers to return is over.
                let effects = self.job.all_returned(NOW);
                self.apply(effects)?;
            }
            self.dispatch()?;
            if self.dice.one_in(4) {
                self.race()?;
            }
            let worker = self.dice.below(self.fleet.len());
            if self.fleet[worker].is_connected {
                self.work(worker)?;
                self.deliver(worker)?;
            } else if self.is_calm() || self.dice.one_in(6) {
                self.reconnect(worker)?;
            }
            self.check()?;
        }
        self.settle()?;
        self.tally.tasks = self.tasks.len() as u64;
        Ok(self.tally)
    }

    /// Whether faults are over.
    const fn is_calm(&self) -> bool {
        self.tally.steps >= self.calm
    }

    /// After the end all words arrive, and all workers return once.
    fn settle(&mut self) -> Fault {
        for worker in 0..self.fleet.len() {
            self.fleet[worker].is_connected = true;
            while !self.fleet[worker].outbox.is_empty() {
                self.deliver(worker)?;
            }
            self.reconnect(worker)?;
            while !self.fleet[worker].outbox.is_empty() {
                self.deliver(worker)?;
            }
            if !self.fleet[worker].depot.is_empty() || !self.fleet[worker].attempts.is_empty() {
                return Err(format!("not freed by its worker: {:?}", self.fleet[worker]));
            }
        }
        let kept: BTreeSet<_> = match self.end.clone() {
            Some(JobEnd::Finished { parts, public_values }) => {
                self.check_parts(&parts)?;
                let results = self.tasks.values().filter_map(|task| task.output);
                let results = results.map(|blob| blob.sha256);
                // What the next execution needs, if a part is lost before the proof is assembled.
                let deferred = self.tasks.values().filter_map(|task| task.deferred.as_ref());
                let events = deferred.flat_map(DeferredEvents::blobs).map(|blob| blob.sha256);
                let common = self.rows.as_ref().and_then(|rows| rows.common);
                let of_execution = common.into_iter().chain([public_values]);
                results.chain(events).chain(of_execution.map(|blob| blob.sha256)).collect()
            }
            Some(JobEnd::FallBack(reason)) => {
                let (count, may_be) = match reason {
                    Reason::TooManyAttempts => {
                        (&mut self.tally.too_many_attempts, self.limits.max_attempts < 40)
                    }
                    Reason::TooManyRetries => {
                        (&mut self.tally.too_many_retries, self.limits.max_retries < 4_000)
                    }
                    Reason::TooManyRestarts => (&mut self.tally.too_many_restarts, self.differs),
                    _ => return Err(format!("fell back: {reason}")),
                };
                *count += 1;
                if !may_be {
                    return Err(format!("fell back: {reason}"));
                }
                BTreeSet::new()
            }
            other => return Err(format!("ended as {other:?}")),
        };
        if self.blobs.difference(&kept).next().is_some() {
            let left: Vec<_> = self.blobs.difference(&kept).collect();
            return Err(format!("bytes are not freed: {left:?}"));
        }
        let open = self
            .tasks
            .values()
            .find(|task| matches!(task.state, TaskState::Waiting | TaskState::Leased));
        match open {
            Some(task) => Err(format!("still open: {task:?}")),
            None if !self.leases.is_empty() => Err("leases after the end".to_owned()),
            None => Ok(()),
        }
    }

    fn check_parts(&mut self, parts: &[(TaskId, BlobInfo)]) -> Fault {
        let replanned = self.rows.as_ref().is_some_and(|rows| rows.restarts > 0);
        self.tally.planned_again += u64::from(replanned);
        let executed = self.executed.as_ref().ok_or("finished without an execution")?;
        if self.mode == ProofMode::Core {
            let keys: BTreeSet<_> = parts.iter().map(|(task, _)| self.tasks[task].key).collect();
            let expected = executed.shards.iter().map(|shard| Key(shard.key.0));
            if keys != expected.collect() || keys.len() != parts.len() {
                return Err(format!("other parts than those of {executed:?}: {parts:?}"));
            }
        } else if parts.len() != 1 {
            return Err(format!("{} parts instead of one", parts.len()));
        }
        let ranges: Vec<_> = parts.iter().filter_map(|(task, _)| self.tasks[task].range).collect();
        if !ranges.is_sorted() {
            return Err("parts are not in order".to_owned());
        }
        Ok(())
    }

    /// Invariants that hold after each step.
    fn check(&mut self) -> Fault {
        if let Some(window) = &self.window {
            window.check()?;
            let (shards, bytes) = window.fill();
            let widest = &mut self.tally.widest;
            *widest = (widest.0.max(shards), widest.1.max(bytes));
        }
        for worker in &self.fleet {
            let held = self.leases.values().filter(|row| row.worker == worker.id);
            let proving = held.filter(|row| self.tasks[&row.task].kind != TaskKind::Execute);
            if proving.count() > worker.slots {
                return Err(format!("more leases than slots: {worker:?}"));
            }
        }
        let executions = self.leases.values().filter(|row| self.is_execution(row.task)).count();
        if executions > 1 {
            return Err("two executions".to_owned());
        }
        for task in self.tasks.values() {
            let leases = self.leases.values().filter(|row| row.task == task.id).count();
            let most = if task.kind == TaskKind::Execute { 1 } else { 2 };
            let is_right = match task.state {
                TaskState::Leased => (1..=most).contains(&leases),
                _ => leases == 0,
            };
            if !is_right {
                return Err(format!("{leases} leases of {task:?}"));
            }
        }
        Ok(())
    }

    /// Shards that the running execution has announced, and that were not refused.
    fn note_announced(&mut self, worker: WorkerId, lease: LeaseId, shards: &[NewShard]) {
        let is_held = self.leases.get(&lease).is_some_and(|row| row.worker == worker);
        let window = self.window.as_mut().filter(|window| is_held && window.lease == lease);
        let Some(window) = window else { return };
        for shard in shards {
            let task = self.tasks.values().find(|task| task.key == Key(shard.key.0));
            window.announce(shard, task.is_some_and(|task| task.state == TaskState::Done));
        }
    }

    fn is_execution(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| task.kind == TaskKind::Execute)
    }
}

fn ids(from: u64) -> IdSource {
    let mut next = u128::from(from);
    IdSource::from_fn(move || {
        next += 1;
        next.to_be_bytes()
    })
}

fn begin(mode: ProofMode, limits: Limits, ids_from: u64) -> (ShardedJob, Vec<Effect>) {
    ShardedJob::begin(NOW, JobId([1; 16]), (mode, ENGINE, 100), limits, ids(ids_from))
}
