//! The world of the simulation: rows, bytes, a fleet, faults, all from one seed.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{Millis, TaskLease, TaskRecord, TaskState};
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId};
use network_lib::job::{BlobInfo, Failure, FailureClass, ProofMode};
use network_lib::shard::{TaskKind, TaskToWorker};
use shard_plan::ShardKind;

use super::super::{Effect, JobEnd, Limits, Offer, Rows, ShardedJob};
use super::fleet::{
    Attempt, ENGINE, Execution, Program, Word, Worker, digest, events, info, is_false, output,
};
use crate::proofs::core::IdSource;

const LIMITS: Limits =
    Limits { max_attempts: 40, max_retries: 4_000, max_restarts: 3, window_bytes: 200 };
const NOW: Millis = Millis(1);

/// What happened in a run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    runs: u64,
    steps: u64,
    tasks: u64,
    restarts: u64,
    crashes: u64,
    cuts: u64,
    lost_blobs: u64,
    lies: u64,
    strikes: u64,
    late: u64,
    executions: u64,
    provided: u64,
    fell_back: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.runs += 1;
        self.steps += other.steps;
        self.tasks += other.tasks;
        self.restarts += other.restarts;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.lost_blobs += other.lost_blobs;
        self.lies += other.lies;
        self.strikes += other.strikes;
        self.late += other.late;
        self.executions += other.executions;
        self.provided += other.provided;
        self.fell_back += other.fell_back;
    }

    pub(super) const fn has_tried_everything(&self) -> bool {
        self.restarts > 0
            && self.crashes > 0
            && self.cuts > 0
            && self.lost_blobs > 0
            && self.lies > 0
            && self.strikes > 0
            && self.late > 0
            && self.executions > self.runs
            && self.provided > 0
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % (bound.max(1) as u64)).expect("below a usize")
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

type Fault = Result<(), String>;

pub(super) struct World {
    dice: Dice,
    mode: ProofMode,
    program: Program,
    job: ShardedJob,
    /// The stored rows.
    tasks: BTreeMap<TaskId, TaskRecord>,
    leases: BTreeMap<LeaseId, TaskLease>,
    rows: Option<hierophant_model::records::ShardingRecord>,
    end: Option<JobEnd>,
    /// Bytes that Hierophant stores.
    blobs: BTreeSet<Sha256Digest>,
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
        let program = Program::new(cores, memories, dice.below(6) as u64);
        let workers = 2 + dice.below(4);
        let fleet = (0..workers).map(|number| {
            let number = u8::try_from(number).expect("few") + 1;
            Worker::new(number, 1 + dice.below(3), number > 1 && dice.one_in(4))
        });
        let fleet: Vec<_> = fleet.collect();
        let (job, effects) = begin(mode, seed << 32);
        let mut world = Self {
            dice,
            mode,
            program,
            job,
            tasks: BTreeMap::new(),
            leases: BTreeMap::new(),
            rows: None,
            end: None,
            blobs: BTreeSet::new(),
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
            if self.tally.steps < self.calm {
                self.disturb()?;
            } else if self.tally.steps.is_multiple_of(100) {
                // The time for workers to return is over.
                let effects = self.job.all_returned(NOW);
                self.apply(effects)?;
            }
            self.dispatch()?;
            let worker = self.dice.below(self.fleet.len());
            if self.fleet[worker].is_connected {
                self.work(worker)?;
                self.deliver(worker)?;
            } else if self.tally.steps >= self.calm || self.dice.one_in(6) {
                self.reconnect(worker)?;
            }
            self.check()?;
        }
        self.settle()?;
        self.tally.tasks = self.tasks.len() as u64;
        Ok(self.tally)
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
        let kept: BTreeSet<_> = match &self.end {
            Some(JobEnd::Finished { parts, public_values }) => {
                self.check_parts(parts)?;
                let parts = parts.iter().map(|(_, blob)| blob.sha256);
                parts.chain([public_values.sha256]).collect()
            }
            Some(JobEnd::FallBack(_)) => {
                self.tally.fell_back += 1;
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

    fn check_parts(&self, parts: &[(TaskId, BlobInfo)]) -> Fault {
        let expected = if self.mode == ProofMode::Core { self.program.shards.len() } else { 1 };
        if parts.len() != expected {
            return Err(format!("{} parts instead of {expected}", parts.len()));
        }
        let ranges: Vec<_> = parts.iter().filter_map(|(task, _)| self.tasks[task].range).collect();
        if !ranges.is_sorted() {
            return Err("parts are not in order".to_owned());
        }
        Ok(())
    }

    /// Invariants that hold after each step.
    fn check(&self) -> Fault {
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
            if leases != usize::from(task.state == TaskState::Leased) {
                return Err(format!("{leases} leases of {task:?}"));
            }
        }
        Ok(())
    }

    fn is_execution(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| task.kind == TaskKind::Execute)
    }

    /// One fault, now and then.
    fn disturb(&mut self) -> Fault {
        let worker = self.dice.below(self.fleet.len());
        match self.dice.below(160) {
            0 => {
                self.tally.crashes += 1;
                self.fleet[worker].is_connected = false;
                self.fleet[worker].restart();
                if self.dice.one_in(2) {
                    let id = self.fleet[worker].id;
                    let effects = self.job.worker_lost(NOW, id);
                    self.apply(effects)?;
                }
            }
            1 | 2 => {
                self.tally.cuts += 1;
                self.fleet[worker].is_connected = false;
                self.fleet[worker].outbox.clear();
            }
            3 => {
                let (id, is_away) = (self.fleet[worker].id, !self.fleet[worker].is_connected);
                if is_away {
                    let effects = self.job.worker_lost(NOW, id);
                    self.apply(effects)?;
                }
            }
            4 => self.restart()?,
            5 if !self.blobs.is_empty() => {
                let lost = *self.blobs.iter().nth(self.dice.below(self.blobs.len())).expect("one");
                // Public values are read by the check of the proof alone.
                if lost.0[31] != b'p' {
                    self.tally.lost_blobs += 1;
                    self.blobs.remove(&lost);
                    // Hierophant notices it before the assembly at the latest.
                    if self.mode == ProofMode::Core || self.dice.one_in(2) {
                        let effects = self.job.blob_lost(NOW, lost);
                        self.apply(effects)?;
                    }
                }
            }
            6 => {
                let depot = &mut self.fleet[worker].depot;
                if let Some(lost) = depot.iter().next().copied() {
                    self.tally.lost_blobs += 1;
                    depot.remove(&lost);
                }
            }
            7 => {
                let effects = self.job.all_returned(NOW);
                self.apply(effects)?;
            }
            8 if !self.echoes.is_empty() => {
                self.tally.late += 1;
                let at = self.dice.below(self.echoes.len());
                let (worker, word) = self.echoes.swap_remove(at);
                self.hear(worker, word)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Hierophant is started again, with what is stored.
    fn restart(&mut self) -> Fault {
        self.tally.restarts += 1;
        for worker in &mut self.fleet {
            worker.is_connected = false;
            worker.outbox.clear();
        }
        self.number += 1;
        let ids = ids(self.number << 48 | 1 << 40);
        let rows = Rows {
            sharding: self.rows.clone().expect("stored at the beginning"),
            tasks: self.tasks.values().cloned().collect(),
            leases: self.leases.values().copied().collect(),
            stored: self.blobs.iter().copied().collect(),
        };
        let restored = ShardedJob::restore(NOW, rows, LIMITS, ids, self.prove_slots());
        let (job, effects) = restored.map_err(|error| format!("{error}: {error:?}"))?;
        self.job = job;
        self.apply(effects)
    }

    fn prove_slots(&self) -> u32 {
        u32::try_from(self.fleet.iter().map(|worker| worker.slots).sum::<usize>()).expect("few")
    }

    /// Stores rows, then delivers messages and frees bytes.
    fn apply(&mut self, effects: Vec<Effect>) -> Fault {
        let (rows, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(Effect::is_row);
        rows.into_iter().try_for_each(|row| self.store(row))?;
        // A crash after the transaction: no message is sent, no bytes are freed.
        let crashes = self.end.is_none() && self.tally.steps < self.calm && self.dice.one_in(400);
        for effect in rest {
            match effect {
                _ if crashes => {}
                Effect::Free(blob) => {
                    self.blobs.remove(&blob);
                }
                Effect::Strike(..) => self.tally.strikes += 1,
                Effect::Run(row) => {
                    let execution = self.is_execution(row.task).then(|| {
                        self.tally.executions += 1;
                        let window = self.job.window().expect("it executes").0;
                        Execution {
                            window: usize::try_from(window).expect("few"),
                            ..Default::default()
                        }
                    });
                    let attempt =
                        Attempt { row, execution, fetched: false, traced: None, end: None };
                    if let Some(worker) = self.connected(row.worker) {
                        worker.attempts.insert(row.lease, attempt);
                    }
                }
                Effect::Cancel(id, lease, _) | Effect::Settle(id, lease) => {
                    if let Some(worker) = self.connected(id) {
                        worker.attempts.remove(&lease);
                    }
                }
                Effect::ForgetAll(id) => {
                    if let Some(worker) = self.connected(id) {
                        worker.depot.clear();
                    }
                }
                Effect::Send(id, message) => self.send(id, message),
                row => return Err(format!("{row:?} is not a message")),
            }
        }
        if crashes { self.restart() } else { Ok(()) }
    }

    fn store(&mut self, row: Effect) -> Fault {
        if self.end.is_some() && !matches!(row, Effect::SaveTask(_) | Effect::EndLease(..)) {
            return Err(format!("{row:?} after the end"));
        }
        match row {
            Effect::SaveSharding(record) => self.rows = Some(record),
            Effect::SaveTask(record) => {
                self.tasks.insert(record.id, record);
            }
            Effect::SaveLease(row) => {
                let has_result = self.tasks.get(&row.task).is_none_or(|task| task.output.is_some());
                if has_result || self.leases.insert(row.lease, row).is_some() {
                    return Err(format!("leased after its result was stored: {row:?}"));
                }
            }
            Effect::EndLease(lease, _) => {
                self.leases.remove(&lease).ok_or("an unknown lease has ended")?;
            }
            Effect::End(end) => self.end = Some(end),
            _ => {}
        }
        Ok(())
    }

    fn connected(&mut self, id: network_lib::ids::WorkerId) -> Option<&mut Worker> {
        self.fleet.iter_mut().find(|worker| worker.id == id && worker.is_connected)
    }

    fn send(&mut self, id: network_lib::ids::WorkerId, message: TaskToWorker) {
        let at = self.fleet.iter().position(|worker| worker.id == id).expect("of the fleet");
        let worker = &mut self.fleet[at];
        if !worker.is_connected {
            return;
        }
        match message {
            TaskToWorker::ShardsKnown { lease_id, shards } => {
                for shard in shards {
                    worker.told(lease_id, shard.no, &shard.state, &self.program);
                }
            }
            TaskToWorker::Forget { blobs, .. } => {
                blobs.into_iter().flatten().for_each(|blob| {
                    worker.depot.remove(&blob);
                });
            }
            TaskToWorker::Provide { lease_id, blob } if worker.depot.contains(&blob) => {
                self.tally.provided += 1;
                let shard = self.program.shards.iter().find(|shard| shard.record.sha256 == blob);
                let record = shard.expect("a record").record;
                worker.outbox.push_back(Word::PutIn(lease_id, record));
            }
            TaskToWorker::Provide { .. } | TaskToWorker::Run { .. } => {}
        }
    }

    /// Leases everything that can be leased.
    fn dispatch(&mut self) -> Fault {
        for may_repeat in [false, true] {
            for at in 0..self.fleet.len() {
                let (id, slots) = (self.fleet[at].id, self.fleet[at].slots);
                let offer = Offer {
                    worker: id,
                    engine: ENGINE,
                    kinds: &TaskKind::ALL,
                    max_elements: 100,
                    slots,
                    may_repeat,
                };
                while self.fleet[at].is_connected {
                    let Some(task) = self.job.next_for(&offer) else { break };
                    self.number += 1;
                    let lease = LeaseId((u128::from(self.number) << 8 | 7).to_be_bytes());
                    let effects = self.job.lease(NOW, (lease, task), &offer, self.prove_slots());
                    if effects.is_empty() {
                        return Err("offered and not leased".to_owned());
                    }
                    self.apply(effects)?;
                }
            }
        }
        Ok(())
    }

    /// The first words of a worker over a new connection.
    fn reconnect(&mut self, at: usize) -> Fault {
        self.fleet[at].is_connected = true;
        let id = self.fleet[at].id;
        let valid = |row: &&TaskLease| row.worker == id;
        let valid: BTreeSet<_> = self.leases.values().filter(valid).map(|row| row.lease).collect();
        self.fleet[at].attempts.retain(|lease, _| valid.contains(lease));
        let missing = valid.iter().filter(|lease| !self.fleet[at].attempts.contains_key(lease));
        for lease in missing.copied().collect::<Vec<_>>() {
            let effects = self.job.lease_lost(NOW, id, lease);
            self.apply(effects)?;
        }
        if !self.fleet[at].is_connected {
            return Ok(());
        }
        let depot = self.fleet[at].depot.clone();
        let effects = self.job.depot(NOW, id, &depot);
        self.apply(effects)?;
        let worker = &mut self.fleet[at];
        for (lease, attempt) in &worker.attempts {
            if let Some(execution) = &attempt.execution {
                let again = &self.program.shards[..execution.announced];
                worker
                    .outbox
                    .extend(again.chunks(4).map(|part| Word::Shards(*lease, part.to_vec())));
            }
            if let Some(traced) = &attempt.traced {
                let puts = traced.blobs().map(|blob| Word::PutIn(*lease, *blob));
                worker.outbox.extend(puts);
                worker.outbox.push_back(Word::Traced(*lease, traced.clone()));
            }
            if let Some(end) = &attempt.end {
                if let Word::Done(_, blob) | Word::Ended(_, _, blob) = end {
                    worker.outbox.push_back(Word::PutIn(*lease, *blob));
                }
                worker.outbox.push_back(end.clone());
            }
        }
        Ok(())
    }

    /// The next word of a worker arrives, and may arrive once more later.
    fn deliver(&mut self, at: usize) -> Fault {
        let Some(word) = self.fleet[at].outbox.pop_front() else { return Ok(()) };
        if self.dice.one_in(30) {
            self.echoes.push((at, word.clone()));
        }
        self.hear(at, word)
    }

    fn hear(&mut self, at: usize, word: Word) -> Fault {
        let id = self.fleet[at].id;
        let effects = match word {
            Word::PutIn(lease, blob) => {
                // Without a valid lease nothing is accepted.
                if self.leases.get(&lease).is_none_or(|row| row.worker != id) {
                    return Ok(());
                }
                self.blobs.insert(blob.sha256);
                self.job.handed_in(lease, blob)
            }
            Word::Shards(lease, shards) => self.job.shards(NOW, (id, lease), &shards),
            Word::Traced(lease, deferred) => self.job.traced(NOW, (id, lease), deferred),
            Word::Ended(lease, shards, values) => {
                self.job.execute_ended(NOW, (id, lease), shards, values)
            }
            Word::Done(lease, blob) => self.job.task_done(NOW, (id, lease), blob),
            Word::Failed(lease, failure, lost, suspect) => {
                self.job.task_failed(NOW, (id, lease), &failure, (&lost, &suspect))
            }
        };
        self.apply(effects)
    }

    /// One of the worker's attempts goes on by a step.
    fn work(&mut self, at: usize) -> Fault {
        let open = self.fleet[at].attempts.iter().filter(|(_, attempt)| attempt.end.is_none());
        let leases: Vec<_> = open.map(|(lease, _)| *lease).collect();
        let Some(lease) = leases.get(self.dice.below(leases.len())).copied() else { return Ok(()) };
        let task = self.fleet[at].attempts[&lease].row.task;
        if self.is_execution(task) {
            self.execute(at, lease);
        } else {
            self.prove(at, lease, task);
        }
        Ok(())
    }

    fn execute(&mut self, at: usize, lease: LeaseId) {
        let worker = &mut self.fleet[at];
        let Some(attempt) = worker.attempts.get_mut(&lease) else { return };
        let Some(execution) = &mut attempt.execution else { return };
        // The events that it was notified of are needed: they may be lost.
        let last = execution.markers.last().map(|no| digest(b'i', u64::from(*no)));
        let inputs = self.job.inputs(attempt.row.task);
        let is_lost = |blob: &Sha256Digest| {
            !self.blobs.contains(blob) && inputs.iter().any(|input| input.sha256 == *blob)
        };
        if let Some(lost) = last.filter(is_lost) {
            let failure = Failure::new(FailureClass::Infrastructure, "events are lost");
            let word = Word::Failed(lease, failure, vec![lost], vec![]);
            attempt.end = Some(word.clone());
            worker.outbox.push_back(word);
            return;
        }
        let total = self.program.announceable(execution.markers.len());
        let open = execution.announced - execution.done.len();
        if execution.announced < total && open < execution.window && open * 16 + 16 <= 200 {
            let shard = self.program.shards[execution.announced].clone();
            execution.announced += 1;
            worker.depot.insert(shard.record.sha256);
            worker.outbox.push_back(Word::Shards(lease, vec![shard]));
        } else if execution.announced == self.program.shards.len()
            && execution.markers.len() == self.program.cores
        {
            let count = u32::try_from(execution.announced).expect("few");
            let values = info(b'p', 0);
            let word = Word::Ended(lease, count, values);
            attempt.end = Some(word.clone());
            worker.outbox.extend([Word::PutIn(lease, values), word]);
        }
    }

    fn prove(&mut self, at: usize, lease: LeaseId, task: TaskId) {
        let Some(record) = self.tasks.get(&task).cloned() else { return };
        let inputs = self.job.inputs(task);
        let missing = |blob: &&BlobInfo| {
            let holds =
                |worker: &Worker| worker.is_connected && worker.depot.contains(&blob.sha256);
            !self.blobs.contains(&blob.sha256) && !self.fleet.iter().any(holds)
        };
        let missing: Vec<_> = inputs.iter().filter(missing).map(|blob| blob.sha256).collect();
        // A connection between two workers may be impossible.
        let far = record.record.filter(|blob| !self.blobs.contains(&blob.sha256));
        let far = far.filter(|blob| !self.fleet[at].depot.contains(&blob.sha256));
        let far = far.filter(|_| self.tally.steps < self.calm && self.dice.one_in(40));
        let suspects: Vec<_> = if record.kind == TaskKind::Reduce {
            inputs.iter().map(|blob| blob.sha256).filter(|blob| is_false(*blob)).collect()
        } else {
            Vec::new()
        };
        let is_calm = self.tally.steps >= self.calm;
        let failure = (!is_calm && self.dice.one_in(60)).then(|| {
            let classes = [FailureClass::Worker, FailureClass::Infrastructure, FailureClass::Guest];
            Failure::new(classes[self.dice.below(3)], "it failed")
        });
        let lies = !is_calm && self.fleet[at].is_liar && self.dice.one_in(6);
        self.number += 1;
        // Reduces find false children; nothing here finds a false last proof or a false shard of a Core proof.
        let may_be_false = self.mode != ProofMode::Core
            && !record.complete
            && matches!(record.kind, TaskKind::ProveShard | TaskKind::Reduce);
        let result = output(task, self.number, lies && may_be_false);
        let worker = &mut self.fleet[at];
        let Some(attempt) = worker.attempts.get_mut(&lease) else { return };
        let infrastructure = Failure::new(FailureClass::Infrastructure, "an input is missing");
        let word = if !attempt.fetched && !missing.is_empty() {
            Word::Failed(lease, infrastructure, missing, vec![])
        } else if let (false, Some(blob)) = (attempt.fetched, far) {
            Word::Failed(lease, infrastructure, vec![blob.sha256], vec![])
        } else if !suspects.is_empty() {
            Word::Failed(lease, infrastructure, vec![], suspects)
        } else if !attempt.fetched {
            attempt.fetched = true;
            return;
        } else if let Some(failure) = failure {
            Word::Failed(lease, failure, vec![], vec![])
        } else if record.shard == Some(ShardKind::Core) && attempt.traced.is_none() {
            let core = (record.range.expect("a leaf").timestamp_range.0 - 1) / 10;
            let traced = events(core);
            worker.outbox.extend(traced.blobs().map(|blob| Word::PutIn(lease, *blob)));
            worker.outbox.push_back(Word::Traced(lease, traced.clone()));
            attempt.traced = Some(traced);
            return;
        } else if lies && !may_be_false {
            self.tally.lies += 1;
            // Another digest than that of the bytes.
            worker.outbox.push_back(Word::PutIn(lease, result));
            Word::Done(lease, info(b'x', self.number))
        } else {
            self.tally.lies += u64::from(lies);
            worker.outbox.push_back(Word::PutIn(lease, result));
            Word::Done(lease, result)
        };
        attempt.end = Some(word.clone());
        worker.outbox.push_back(word);
    }
}

fn ids(from: u64) -> IdSource {
    let mut next = u128::from(from);
    IdSource::from_fn(move || {
        next += 1;
        next.to_be_bytes()
    })
}

fn begin(mode: ProofMode, ids_from: u64) -> (ShardedJob, Vec<Effect>) {
    ShardedJob::begin(NOW, JobId([1; 16]), (mode, ENGINE, 100), LIMITS, ids(ids_from))
}
