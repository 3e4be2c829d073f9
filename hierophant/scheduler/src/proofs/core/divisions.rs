//! Jobs that are proved as tasks of many workers.
//!
//! For the rest of the core such a job has one attempt, whose prover is the fleet ([`Prover::fleet`]): it runs, is checked
//! and ends as any other. Beside it a [`ShardedJob`] decides about the tasks; here its effects become those of the core.
//! The division ends with the attempt, however that ends. If the job continues, it is proved as a whole.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, AttemptTask, Change, Millis, Prover, TaskLease,
    attempt_traceparent,
};
use network_lib::handshake::Backend;
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, Failure, FailureClass, Phase, Progress};
use network_lib::shard::{Blob, Named, RangedBlob, TaskInput, TaskKind, TaskToWorker};
use network_lib::wire::ToWorker;

use super::task_memory::{TaskDemand, TaskShortages};
use super::{Effect, ProofsCore};
use crate::proofs::Assembly;
use crate::proofs::lease::Lease;
use crate::proofs::shards::{self, JobEnd, Reason, Release, ShardedJob};

/// All jobs that are proved as tasks.
#[derive(Debug, Default)]
pub(super) struct Divisions {
    pub(super) jobs: BTreeMap<JobId, Division>,
    /// Attempts at tasks that have not ended.
    pub(super) attempts: BTreeMap<LeaseId, TaskAttempt>,
    /// Lists of depots of which further parts follow.
    pub(super) depots: BTreeMap<(WorkerId, JobId), BTreeSet<Sha256Digest>>,
    /// Main memory that tasks take.
    pub(super) demand: TaskDemand,
    /// Whether the time for workers to return after the start is over.
    pub(super) have_returned: bool,
}

/// Job that is proved as tasks.
#[derive(Debug)]
pub(super) struct Division {
    /// The attempt at the whole job.
    pub(super) attempt: LeaseId,
    pub(super) tasks: ShardedJob,
    /// The finished proof, while it is assembled and checked.
    pub(super) assembly: Option<Box<Assembly>>,
    /// Time of the next try to assemble it.
    pub(super) assemble_at: Option<Millis>,
    /// Memory that its tasks have exhausted.
    pub(super) shortages: TaskShortages,
}

impl Division {
    pub(super) fn new(attempt: LeaseId, tasks: ShardedJob) -> Self {
        let shortages = TaskShortages::default();
        Self { attempt, tasks, assembly: None, assemble_at: None, shortages }
    }
}

/// How a job is to be divided.
#[derive(Debug)]
pub(super) struct NewDivision {
    pub(super) engine: String,
    pub(super) backend: Backend,
    /// Trace area at which shards are cut, in cells.
    pub(super) max_elements: u64,
    /// Why it is divided, and among which machines, for people.
    pub(super) reason: String,
}

/// Attempt at a task.
#[derive(Debug)]
pub(super) struct TaskAttempt {
    pub(super) record: AttemptRecord,
    pub(super) task: TaskId,
    pub(super) executes: bool,
    /// Whether its worker was sent it, or lists it.
    pub(super) sent: bool,
    /// Time since which heartbeats do not list it.
    pub(super) unlisted_since: Option<Millis>,
}

impl Divisions {
    /// Job and task of an attempt that this worker holds.
    pub(super) fn held(&self, worker: WorkerId, lease: LeaseId) -> Option<(JobId, TaskId)> {
        let held = self.attempts.get(&lease)?;
        (held.record.prover.worker == worker).then_some((held.record.job, held.task))
    }

    /// Adjusts all times to a wall clock that was set by `by` milliseconds.
    pub(super) fn clock_set(&mut self, by: i64) {
        for at in self.jobs.values_mut().filter_map(|division| division.assemble_at.as_mut()) {
            at.shift(by);
        }
        for held in self.attempts.values_mut() {
            held.record.started_at.shift(by);
            if let Some(since) = &mut held.unlisted_since {
                since.shift(by);
            }
        }
    }

    /// Attempts of a worker.
    pub(super) fn of(&self, worker: WorkerId) -> impl Iterator<Item = LeaseId> + '_ {
        let theirs = move |held: &&TaskAttempt| held.record.prover.worker == worker;
        self.attempts.values().filter(theirs).map(|held| held.record.lease)
    }
}

impl ProofsCore {
    /// Begins to prove a waiting job as tasks of workers with this engine.
    pub(super) fn begin_division(
        &mut self,
        now: Millis,
        job: JobId,
        new: NewDivision,
        effects: &mut Vec<Effect>,
    ) {
        let Some(live) = self.jobs.get(&job) else { return };
        let mode = live.record.spec.mode;
        if let Some(ahead) = live.ahead {
            self.give_back(now, ahead, "several workers prove it together", effects);
        }
        let lease = LeaseId(self.ids.draw());
        let NewDivision { engine, backend, max_elements, reason } = new;
        let mut attempt = AttemptRecord::starting(lease, job, Prover::fleet(backend), now);
        attempt.message = Some(reason);
        self.leases.insert(Lease::new(now, attempt));
        self.begin(now, lease, effects);
        let (limits, ids) = (self.limits.sharding.job, self.ids.clone());
        let (tasks, begun) =
            ShardedJob::begin(now, job, (mode, &engine, max_elements), limits, ids);
        self.divisions.jobs.insert(job, Division::new(lease, tasks));
        self.carry_out(now, job, begun, effects);
    }

    /// Ends the division of a job whose attempt has ended.
    pub(super) fn end_division(&mut self, now: Millis, job: JobId, effects: &mut Vec<Effect>) {
        if let Some(live) = self.jobs.get_mut(&job) {
            live.is_whole = true;
        }
        if let Some(mut division) = self.divisions.jobs.remove(&job) {
            let ended = division.tasks.cancel();
            self.carry_out(now, job, ended, effects);
        }
        self.divisions.depots.retain(|(_, of), _| *of != job);
        effects.push(Effect::Save(Change::ShardingEnded(job, now)));
        effects.push(Effect::FreeTaskBlobs(job));
    }

    /// Passes a fact to the tasks of a job, and carries out what follows.
    pub(super) fn with_tasks(
        &mut self,
        now: Millis,
        job: JobId,
        effects: &mut Vec<Effect>,
        fact: impl FnOnce(&mut ShardedJob) -> Vec<shards::Effect>,
    ) {
        let Some(division) = self.divisions.jobs.get_mut(&job) else { return };
        let decided = fact(&mut division.tasks);
        self.carry_out(now, job, decided, effects);
    }

    /// Translates the effects of a sharded job.
    pub(super) fn carry_out(
        &mut self,
        now: Millis,
        job: JobId,
        decided: Vec<shards::Effect>,
        effects: &mut Vec<Effect>,
    ) {
        let strikes = decided.iter().filter_map(|effect| match effect {
            shards::Effect::Strike(worker, reason) => Some((*worker, *reason)),
            _ => None,
        });
        let strikes: BTreeMap<WorkerId, Reason> = strikes.collect();
        // Counting tasks takes longer than most facts.
        let is_news = decided.iter().any(|effect| matches!(effect, shards::Effect::SaveTask(_)));
        let (mut end, mut accusations) = (None, Vec::new());
        for effect in decided {
            match effect {
                shards::Effect::SaveSharding(record) => {
                    effects.push(Effect::Save(Change::Sharding(record)));
                }
                shards::Effect::SaveTask(record) => {
                    effects.push(Effect::Save(Change::Task(record)));
                }
                shards::Effect::SaveLease(row) => self.begin_task(now, job, row, effects),
                shards::Effect::EndLease(lease, how) => {
                    self.end_task(now, lease, how, &strikes, effects);
                }
                shards::Effect::End(how) => end = Some(how),
                shards::Effect::Run(row) => self.send_task(job, row, effects),
                shards::Effect::Cancel(worker, lease_id, why) => {
                    let message = ToWorker::Cancel { lease_id, reason: why.to_owned() };
                    effects.push(Effect::Send(worker, message));
                }
                shards::Effect::Settle(worker, lease) => {
                    self.settle_task(worker, lease, effects);
                }
                shards::Effect::Send(worker, message) => {
                    effects.push(Effect::Send(worker, ToWorker::Task(message)));
                }
                shards::Effect::ForgetAll(worker) => {
                    let message = TaskToWorker::Forget { job, blobs: None };
                    effects.push(Effect::Send(worker, ToWorker::Task(message)));
                }
                shards::Effect::Free(blob) => effects.push(Effect::FreeTaskBlob(job, blob)),
                shards::Effect::Strike(worker, reason) => {
                    self.strike(now, worker, &reason.to_string(), effects);
                }
                shards::Effect::Accuse(accuser, parts) => accusations.push((accuser, parts)),
            }
        }
        if let Some(end) = end {
            self.end_tasks(now, job, end, effects);
        }
        if is_news {
            self.report_tasks(now, job);
        }
        for accusation in accusations {
            self.accused(now, job, accusation, effects);
        }
    }

    /// What the end of all tasks means for the job.
    fn end_tasks(&mut self, now: Millis, job: JobId, end: JobEnd, effects: &mut Vec<Effect>) {
        // Without it the division itself is ending.
        let Some(division) = self.divisions.jobs.get(&job) else { return };
        let lease = division.attempt;
        match end {
            JobEnd::Finished { parts, public_values } => {
                let Some(held) = self.leases.get(&lease) else { return };
                let Some(live) = self.jobs.get(&job) else { return };
                let assembly = Box::new(Assembly {
                    lease,
                    job,
                    mode: live.record.spec.mode,
                    parts: parts.into_iter().map(|(_, part)| part).collect(),
                    public_values,
                    circuit_version: live.record.spec.circuit_version.clone(),
                    is_mock: held.attempt.prover.backend == Backend::Mock,
                });
                effects.push(Effect::Assemble(assembly.clone()));
                if let Some(division) = self.divisions.jobs.get_mut(&job) {
                    division.assembly = Some(assembly);
                }
            }
            JobEnd::Failed(failure) => self.fail_attempt(now, lease, failure, effects),
            JobEnd::FallBack(reason) => {
                let message = format!("{reason}: the job is proved as a whole");
                let failure = Failure::new(FailureClass::Infrastructure, message);
                self.fail_attempt(now, lease, failure, effects);
            }
            JobEnd::Cancelled => {}
        }
    }

    fn begin_task(&mut self, now: Millis, job: JobId, row: TaskLease, effects: &mut Vec<Effect>) {
        let Some(division) = self.divisions.jobs.get(&job) else { return };
        let attempt = division.attempt;
        let Some(kind) = division.tasks.task(row.task).map(|task| task.kind) else { return };
        let executes = kind == TaskKind::Execute;
        let Some(worker) = self.workers.get_mut(&row.worker) else { return };
        let of_kind = if executes { &mut worker.executions } else { &mut worker.tasks };
        of_kind.insert(row.lease);
        let prover = worker.as_prover(row.worker);
        let mut record = AttemptRecord::starting(row.lease, job, prover, row.started_at);
        record.task = Some(AttemptTask { id: row.task, kind });
        effects.push(Effect::Save(Change::Attempt(record.clone())));
        let (task, sent, unlisted_since) = (row.task, false, None);
        let begun = TaskAttempt { record, task, executes, sent, unlisted_since };
        self.divisions.attempts.insert(row.lease, begun);
        self.record_report(now, attempt, None, effects);
    }

    fn end_task(
        &mut self,
        now: Millis,
        lease: LeaseId,
        how: Release,
        strikes: &BTreeMap<WorkerId, Reason>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(TaskAttempt { mut record, .. }) = self.divisions.attempts.remove(&lease) else {
            return;
        };
        let worker = record.prover.worker;
        self.workers.touch(worker);
        record.ended_at = Some(now);
        record.outcome = match how {
            Release::Completed => AttemptOutcome::Completed,
            Release::Failed => AttemptOutcome::Failed,
            Release::Lost => AttemptOutcome::Lost,
            Release::Cancelled => AttemptOutcome::Cancelled,
        };
        if how == Release::Completed {
            let stats = self.stats.entry(worker).or_default();
            stats.seen_at = now;
            stats.tasks += 1;
            self.end_probation(worker);
        }
        if how == Release::Failed {
            if let Some(reason) = strikes.get(&worker) {
                record.failure_class = Some(FailureClass::Worker);
                record.message.get_or_insert_with(|| reason.to_string());
            } else {
                record.failure_class = Some(FailureClass::Infrastructure);
            }
        }
        effects.push(Effect::Save(Change::Attempt(record)));
    }

    /// Frees the place of an attempt whose end was reported, and acknowledges the report.
    pub(super) fn settle_task(
        &mut self,
        id: WorkerId,
        lease_id: LeaseId,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.tasks.remove(&lease_id);
            worker.executions.remove(&lease_id);
            effects.push(Effect::Send(id, ToWorker::Settled { lease_id }));
        }
    }

    fn send_task(&self, job: JobId, row: TaskLease, effects: &mut Vec<Effect>) {
        let Some(input) = self.task_input(job, row) else { return };
        let message = TaskToWorker::Run {
            lease_id: row.lease,
            job,
            task: row.task,
            input,
            traceparent: Some(attempt_traceparent(job, row.lease)),
        };
        effects.push(Effect::Send(row.worker, ToWorker::Task(message)));
    }

    /// What a task works on; `None` for kinds that are never planned.
    fn task_input(&self, job: JobId, row: TaskLease) -> Option<TaskInput> {
        let record = &self.jobs.get(&job)?.record;
        let tasks = &self.divisions.jobs.get(&job)?.tasks;
        let task = tasks.task(row.task)?;
        let blob = |info: BlobInfo| Blob { info, from: tasks.sources(info.sha256, row.worker) };
        let child = |child: &TaskId| {
            let child = tasks.task(*child)?;
            Some(RangedBlob { range: child.range?, blob: blob(child.output?) })
        };
        let only_child = || Some(blob(tasks.task(*task.children.first()?)?.output?));
        Some(match task.kind {
            TaskKind::Execute => {
                let (window, window_bytes) = tasks.window()?;
                TaskInput::Execute {
                    spec: record.spec.clone(),
                    program: record.program_blob,
                    stdin: record.stdin_blob,
                    max_elements: tasks.max_elements(),
                    window,
                    window_bytes,
                }
            }
            TaskKind::ProveShard => TaskInput::ProveShard {
                program: record.program_blob,
                common: blob(tasks.common()?),
                record: blob(task.record?),
                named: task
                    .named
                    .iter()
                    .map(|named| Named { id: named.id.clone(), blob: blob(named.blob) })
                    .collect(),
                defers: task.shard == Some(shard_plan::ShardKind::Core),
                mode: tasks.mode(),
            },
            TaskKind::Deferred => {
                TaskInput::Deferred { common: blob(tasks.common()?), data: blob(task.record?) }
            }
            TaskKind::Reduce => TaskInput::Reduce {
                common: blob(tasks.common()?),
                complete: task.complete,
                range: task.range?,
                children: task.children.iter().map(child).collect::<Option<_>>()?,
            },
            TaskKind::ShrinkWrap => {
                TaskInput::ShrinkWrap { common: blob(tasks.common()?), proof: only_child()? }
            }
            TaskKind::Plonk => {
                TaskInput::Plonk { common: blob(tasks.common()?), proof: only_child()? }
            }
            TaskKind::Groth16 => {
                TaskInput::Groth16 { common: blob(tasks.common()?), proof: only_child()? }
            }
            TaskKind::Measure | TaskKind::Retrace => return None,
        })
    }

    /// Records how many tasks are done as the progress of the attempt at the whole job. Those above the shards count too:
    /// without them it would seem to stall.
    fn report_tasks(&mut self, now: Millis, job: JobId) {
        let Some(division) = self.divisions.jobs.get(&job) else { return };
        let (done, all) = division.tasks.steps();
        let Some(held) = self.leases.get_mut(&division.attempt) else { return };
        let is_executed = division.tasks.is_executed();
        let phase = if all == 0 { Phase::Executing } else { Phase::Proving };
        let fraction = is_executed.then(|| done as f32 / all.max(1) as f32);
        held.report(now, Progress { fraction, ..Progress::steps(phase, done as u64) });
    }
}
