//! Leases, and the workers as the scheduler sees them.

use crate::SessionId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Deref;

use hierophant_model::records::{AttemptOutcome, AttemptRecord, JobState, Millis, Prover};
use network_lib::handshake::{Backend, Capabilities};
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::job::{Memory, OutOfMemory, Phase, Progress};

use super::need::{Need, Wanted};
use super::rest::Rest;

/// Attempt in progress.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Job.
    pub job: JobId,
    /// Stored record.
    pub attempt: AttemptRecord,
    /// Start of the attempt, adjusted when the wall clock is set.
    pub started_at: Millis,
    /// Latest reported progress.
    pub progress: Option<Progress>,
    /// Highest reported `steps_done` of the current phase.
    pub steps_done: Option<u64>,
    /// Peak main memory in bytes, as reported.
    pub peak_memory: Option<u64>,
    /// Time of the latest measured progress.
    pub last_progress_at: Millis,
    /// Whether a prover has taken it, as its worker reports.
    pub is_proving: bool,
    /// Whether its worker was sent it, or lists it. Before, it waits for the store, and no heartbeat can list it.
    pub sent: bool,
    /// Time since which heartbeats do not list it.
    pub unlisted_since: Option<Millis>,
    /// Whether its proof is being verified.
    pub checking: bool,
}

impl Lease {
    /// An attempt that starts or continues at `now`. A recorded start in the future, left by a clock that was set
    /// back, counts as now.
    #[must_use]
    pub fn new(now: Millis, attempt: AttemptRecord) -> Self {
        Self {
            job: attempt.job,
            started_at: attempt.started_at.min(now),
            attempt,
            progress: None,
            steps_done: None,
            peak_memory: None,
            last_progress_at: now,
            is_proving: false,
            sent: false,
            unlisted_since: None,
            checking: false,
        }
    }

    /// Whether it is leased ahead and has not begun.
    #[must_use]
    pub const fn is_ahead(&self) -> bool {
        matches!(self.attempt.outcome, AttemptOutcome::Ahead)
    }

    /// Whether its worker has reported anything about it.
    #[must_use]
    pub const fn has_reported(&self) -> bool {
        self.attempt.first_progress_at.is_some() || self.attempt.proof.is_some()
    }

    /// Job state that corresponds to this attempt.
    #[must_use]
    pub const fn state(&self) -> JobState {
        match self {
            Self { attempt: AttemptRecord { outcome: AttemptOutcome::Ahead, .. }, .. } => {
                JobState::Queued
            }
            Self { checking: true, .. } => JobState::Verifying,
            Self { attempt: AttemptRecord { proof: Some(_), .. }, .. } => JobState::Uploaded,
            Self { attempt: AttemptRecord { first_progress_at: Some(_), .. }, .. } => {
                JobState::Proving
            }
            _ => JobState::Leased,
        }
    }

    /// Adjusts all times to a wall clock that was set by `by` milliseconds; elapsed times stay the same.
    pub fn clock_set(&mut self, by: i64) {
        self.started_at.shift(by);
        self.last_progress_at.shift(by);
        if let Some(since) = &mut self.unlisted_since {
            since.shift(by);
        }
    }

    /// Does not count `by` milliseconds during which the coordinator was not running.
    pub fn excuse(&mut self, now: Millis, by: i64) {
        let since = self.unlisted_since.iter_mut();
        for time in [&mut self.started_at, &mut self.last_progress_at].into_iter().chain(since) {
            time.shift(by);
            *time = now.min(*time);
        }
    }

    /// Records progress. Only finished steps and measured values count as progress, because estimates grow without
    /// any.
    pub fn report(&mut self, now: Millis, progress: Progress) {
        let measured = |progress: &Progress| {
            let fraction = progress.fraction.filter(|_| !progress.estimated);
            (progress.phase, progress.cycles_done, fraction.map(f32::to_bits))
        };
        if self.progress.is_none_or(|last| last.phase != progress.phase) {
            self.steps_done = None;
        }
        if self.progress.as_ref().map(measured) != Some(measured(&progress))
            || progress.steps_done > self.steps_done
        {
            self.last_progress_at = now;
        }
        // Preparation ends with the execution.
        self.is_proving |= self.attempt.execution.is_some()
            || matches!(progress.phase, Phase::Proving | Phase::Uploading);
        self.steps_done = self.steps_done.max(progress.steps_done);
        self.peak_memory = self.peak_memory.max(progress.memory_bytes);
        self.progress = Some(progress);
    }
}

/// Attempts that run or are being verified, with an index by worker, because each heartbeat looks up the attempts
/// of its worker.
#[derive(Debug, Default)]
pub struct Leases {
    all: BTreeMap<LeaseId, Lease>,
    by_worker: BTreeMap<WorkerId, BTreeSet<LeaseId>>,
}

impl Leases {
    /// Adds an attempt.
    pub fn insert(&mut self, held: Lease) {
        let (lease, worker) = (held.attempt.lease, held.attempt.prover.worker);
        self.by_worker.entry(worker).or_default().insert(lease);
        self.all.insert(lease, held);
    }

    /// Removes an attempt.
    pub fn remove(&mut self, lease: LeaseId) -> Option<Lease> {
        let held = self.all.remove(&lease)?;
        let worker = held.attempt.prover.worker;
        if let Some(theirs) = self.by_worker.get_mut(&worker) {
            theirs.remove(&lease);
            if theirs.is_empty() {
                self.by_worker.remove(&worker);
            }
        }
        Some(held)
    }

    /// Mutable access to an attempt. Its lease and worker must not change.
    pub fn get_mut(&mut self, lease: &LeaseId) -> Option<&mut Lease> {
        self.all.get_mut(lease)
    }

    /// Attempts of a worker.
    pub fn of(&self, worker: WorkerId) -> impl Iterator<Item = LeaseId> + '_ {
        self.by_worker.get(&worker).into_iter().flatten().copied()
    }

    /// Mutable access to all attempts. Leases and workers must not change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Lease> {
        self.all.values_mut()
    }
}

/// Read access as to a map.
impl Deref for Leases {
    type Target = BTreeMap<LeaseId, Lease>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

/// Statistics of a worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerStats {
    /// Accepted proofs, since Hierophant's start or since the statistics expired.
    pub completed: u64,
    /// Tasks whose results were stored, over the same time.
    pub tasks: u64,
    /// Times of failures by the worker's fault, the oldest first, as far as they still count. Includes failures
    /// before Hierophant's start.
    pub strikes: VecDeque<Millis>,
    /// Total time from lease to accepted proof of the completed attempts.
    pub proof_millis: u64,
    /// Time when the worker was last connected, or last counted here.
    pub seen_at: Millis,
    /// Its infrastructure failures in a row, and its rest after them.
    pub rest: Rest,
}

impl WorkerStats {
    /// Removes strikes before `since` and returns the number of those left.
    pub fn strikes_since(&mut self, since: Millis) -> usize {
        self.strikes.retain(|at| *at >= since);
        self.strikes.len()
    }
}

/// Worker that is connected or may reconnect.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Current connection; messages of an older one are stale.
    pub session: SessionId,
    /// Name.
    pub name: String,
    /// Time at which it joined; a reconnection of a worker that was only away does not count.
    pub joined_at: Millis,
    /// Supported modes and versions.
    pub capabilities: Capabilities,
    /// Whether it has the right to private inputs.
    pub private_inputs: bool,
    /// Whether the worker has announced that it accepts no more jobs.
    pub draining: bool,
    /// Reason of the drain, if an operator has drained the worker.
    pub drained: Option<String>,
    /// Whether its connection broke; it may reconnect and continue.
    pub away: bool,
    /// Attempts that occupy its slots, including cancelled ones that have not stopped yet.
    pub leases: BTreeSet<LeaseId>,
    /// Attempts that are leased ahead and have not begun.
    pub ahead: BTreeSet<LeaseId>,
    /// Attempts at tasks that occupy its prover, including cancelled ones that have not stopped yet.
    pub tasks: BTreeSet<LeaseId>,
    /// Executions of programs that are proved as tasks, likewise. They run beside its tasks.
    pub executions: BTreeSet<LeaseId>,
    /// Attempts that were leased ahead and given back, and that it may still list.
    pub given_back: BTreeSet<LeaseId>,
    /// Whether it rests after infrastructure failures.
    pub resting: bool,
    /// Whether it gets one attempt at a time after such failures.
    pub on_probation: bool,
}

impl Worker {
    /// A newly connected worker without attempts, and without the right to private inputs.
    #[must_use]
    pub const fn new(session: SessionId, name: String, capabilities: Capabilities) -> Self {
        Self {
            session,
            name,
            joined_at: Millis(0),
            capabilities,
            private_inputs: false,
            draining: false,
            drained: None,
            away: false,
            leases: BTreeSet::new(),
            ahead: BTreeSet::new(),
            tasks: BTreeSet::new(),
            executions: BTreeSet::new(),
            given_back: BTreeSet::new(),
            resting: false,
            on_probation: false,
        }
    }

    /// Whether it is connected and accepts jobs, now or once a slot is free.
    #[must_use]
    pub const fn takes_jobs(&self) -> bool {
        !self.draining && self.drained.is_none() && !self.away && !self.resting
    }

    /// Number of slots that it may use.
    #[must_use]
    pub fn slots(&self) -> usize {
        let slots = self.capabilities.slots as usize;
        if self.on_probation { slots.min(1) } else { slots }
    }

    /// Whether it has attempts at tasks. A worker makes either whole proofs or tasks at a time.
    #[must_use]
    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty() || !self.executions.is_empty()
    }

    /// Number of tasks that it may have at once, an execution not counted; none while it makes a whole proof.
    /// `with_prefetch` counts those whose inputs it fetches meanwhile.
    #[must_use]
    pub fn task_places(&self, with_prefetch: bool) -> usize {
        let Some(sharding) = &self.capabilities.sharding else { return 0 };
        // What was given back may have begun meanwhile.
        let has_whole =
            !self.leases.is_empty() || !self.ahead.is_empty() || !self.given_back.is_empty();
        if !self.takes_jobs() || has_whole {
            return 0;
        }
        let prefetch = if with_prefetch && !self.on_probation { sharding.prefetch } else { 0 };
        let slots = sharding.prove_slots as usize;
        let slots = if self.on_probation { slots.min(1) } else { slots };
        slots.saturating_add(prefetch as usize)
    }

    /// Number of slots that are available now.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        if !self.takes_jobs() || self.has_tasks() {
            return 0;
        }
        self.slots().saturating_sub(self.leases.len())
    }

    /// Number of jobs that it takes ahead now: none while a slot is free.
    #[must_use]
    pub fn free_places_ahead(&self) -> usize {
        if !self.takes_jobs() || self.has_tasks() || self.free_slots() > 0 {
            return 0;
        }
        self.most_attempts().saturating_sub(self.leases.len()).saturating_sub(self.ahead.len())
    }

    /// Maximum number of attempts, including those that are leased ahead.
    #[must_use]
    pub fn most_attempts(&self) -> usize {
        let prefetch = if self.on_probation { 0 } else { self.capabilities.prefetch as usize };
        self.slots().saturating_add(prefetch)
    }

    /// Whether it is available and has no attempt.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.leases.is_empty() && self.ahead.is_empty() && self.free_slots() > 0
    }

    /// Whether it may get an input, which is `private` or not.
    #[must_use]
    pub const fn may_get(&self, private: bool) -> bool {
        self.private_inputs || !private
    }

    /// Whether it supports this proof and may get its input.
    #[must_use]
    pub fn fits(&self, Wanted { spec, private }: Wanted<'_>) -> bool {
        self.may_get(private)
            && self.capabilities.modes.contains(&spec.mode)
            && self.capabilities.circuit_versions.contains(&spec.circuit_version)
    }

    /// Whether it supports the proofs of this need and may get their inputs.
    #[must_use]
    pub fn fits_need(&self, need: &Need) -> bool {
        self.may_get(need.private)
            && self.capabilities.modes.contains(&need.mode)
            && self.capabilities.circuit_versions.contains(&need.version)
    }

    /// Bytes of a kind of memory that any proof finds on the worker: with several GPUs, those of the smallest.
    /// `None` if unknown.
    #[must_use]
    pub fn memory(&self, kind: Memory) -> Option<u64> {
        let bytes = match kind {
            Memory::Main => Some(self.capabilities.memory_bytes),
            Memory::Gpu => self.capabilities.gpus.iter().map(|gpu| gpu.memory_bytes).min(),
        };
        bytes.filter(|bytes| *bytes > 0)
    }

    /// Bytes of a kind of memory that a proof can find on the worker at most: with several GPUs, those of the largest.
    #[must_use]
    pub fn largest_memory(&self, kind: Memory) -> Option<u64> {
        let bytes = match kind {
            Memory::Main => Some(self.capabilities.memory_bytes),
            Memory::Gpu => self.capabilities.gpus.iter().map(|gpu| gpu.memory_bytes).max(),
        };
        bytes.filter(|bytes| *bytes > 0)
    }

    /// A report of memory that ran out, as far as it can be true: more than the machine has cannot have run out. Of one whose
    /// memory is unknown nothing is known.
    #[must_use]
    pub fn exhausted(&self, what: OutOfMemory) -> OutOfMemory {
        let reported = what.bytes.or_else(|| self.memory(what.memory));
        let most = self.largest_memory(what.memory);
        OutOfMemory { bytes: reported.zip(most).map(|(bytes, most)| bytes.min(most)), ..what }
    }

    /// Record of the worker in jobs and attempts.
    #[must_use]
    pub fn as_prover(&self, id: WorkerId) -> Prover {
        Prover { worker: id, name: self.name.clone(), backend: self.backend() }
    }

    /// Backend.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.capabilities.backend
    }
}

/// Delay before a job is assigned again after its `count`-th interruption.
///
/// There is none after the first interruption: a machine was lost and another may take over. It then doubles up to
/// a minute, so that a broken disk or link does not keep the fleet busy.
#[must_use]
pub fn rest_after_interruptions(count: u32) -> Millis {
    match count {
        0 | 1 => Millis(0),
        _ => Millis((1000_i64 << (count - 2).min(6)).min(60_000)),
    }
}

#[cfg(test)]
mod tests;
