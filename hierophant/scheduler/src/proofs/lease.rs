//! Who works on what: leases, and the workers as the scheduler sees them.

use crate::SessionId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Deref;

use hierophant_model::records::{AttemptRecord, JobState, Millis, Prover};
use network_lib::handshake::{Backend, Capabilities};
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::job::{JobSpec, Memory, Progress};

/// One attempt in progress.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// What is stored about the attempt.
    pub attempt: AttemptRecord,
    /// When it began.
    pub started_at: Millis,
    /// Latest word from the worker.
    pub progress: Option<Progress>,
    /// Most bytes of main memory that the worker has told it to take.
    pub peak_memory: Option<u64>,
    /// When the worker was last seen to get on with it.
    pub last_progress_at: Millis,
    /// Since when heartbeats do not list it.
    pub unlisted_since: Option<Millis>,
    /// Whether the worker is done and the proof is being checked.
    pub checking: bool,
}

impl Lease {
    /// An attempt that starts, or goes on, at `now`. One that is recorded as begun later, by a clock
    /// that was set back since, begins now.
    #[must_use]
    pub fn new(now: Millis, attempt: AttemptRecord) -> Self {
        Self {
            job: attempt.job,
            started_at: attempt.started_at.min(now),
            attempt,
            progress: None,
            peak_memory: None,
            last_progress_at: now,
            unlisted_since: None,
            checking: false,
        }
    }

    /// How far it is, as the state of a job that has no other attempt.
    #[must_use]
    pub const fn state(&self) -> JobState {
        match self {
            Self { checking: true, .. } => JobState::Verifying,
            Self { attempt: AttemptRecord { proof: Some(_), .. }, .. } => JobState::Uploaded,
            Self { attempt: AttemptRecord { first_progress_at: Some(_), .. }, .. } => {
                JobState::Proving
            }
            _ => JobState::Leased,
        }
    }

    /// The wall clock was set by so many milliseconds: how long ago something was stays as it is.
    pub fn clock_set(&mut self, by: i64) {
        self.started_at.shift(by);
        self.last_progress_at.shift(by);
        if let Some(since) = &mut self.unlisted_since {
            since.shift(by);
        }
    }

    /// Takes note of progress. Only what was measured counts as getting on: estimates grow by
    /// themselves.
    pub fn report(&mut self, now: Millis, progress: Progress) {
        let measured = |progress: &Progress| {
            let fraction = progress.fraction.filter(|_| !progress.estimated);
            (progress.phase, progress.cycles_done, fraction.map(f32::to_bits))
        };
        if self.progress.as_ref().map(measured) != Some(measured(&progress)) {
            self.last_progress_at = now;
        }
        self.peak_memory = self.peak_memory.max(progress.memory_bytes);
        self.progress = Some(progress);
    }
}

/// The attempts that go on or are being checked, with an index by worker: a worker's own are looked for at each
/// of its heartbeats.
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

    /// Takes an attempt out.
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

    /// One attempt, to be changed; its lease and its worker stay.
    pub fn get_mut(&mut self, lease: &LeaseId) -> Option<&mut Lease> {
        self.all.get_mut(lease)
    }

    /// A worker's attempts.
    pub fn of(&self, worker: WorkerId) -> impl Iterator<Item = LeaseId> + '_ {
        self.by_worker.get(&worker).into_iter().flatten().copied()
    }

    /// All of them, to be changed; leases and workers stay.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Lease> {
        self.all.values_mut()
    }
}

/// Reads are those of a map.
impl Deref for Leases {
    type Target = BTreeMap<LeaseId, Lease>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

/// How a worker has done.
#[derive(Debug, Clone, Default)]
pub struct WorkerStats {
    /// Proofs that were accepted, since Hierophant started or the worker was forgotten.
    pub completed: u64,
    /// When attempts failed by the worker's fault, the oldest first, as far as they still count; from
    /// before Hierophant's start too.
    pub strikes: VecDeque<Millis>,
    /// Time from lease to accepted proof, summed over the completed ones.
    pub proof_millis: u64,
    /// When the worker was there, or did what is counted here, for the last time.
    pub seen_at: Millis,
}

impl WorkerStats {
    /// Forgets strikes of before `since`; says how many are left.
    pub fn strikes_since(&mut self, since: Millis) -> usize {
        self.strikes.retain(|at| *at >= since);
        self.strikes.len()
    }
}

/// A worker that is connected, or has been a moment ago.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Connection that it came by; facts about an older one are stale.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// What it can prove.
    pub capabilities: Capabilities,
    /// Whether it takes no more jobs.
    pub draining: bool,
    /// Why an operator has it take no more jobs, if so.
    pub drained: Option<String>,
    /// Whether its connection broke, and it may come back and go on.
    pub away: bool,
    /// Attempts that occupy its slots, those that it was told to stop included.
    pub leases: BTreeSet<LeaseId>,
}

impl Worker {
    /// A worker that has just connected and holds nothing.
    #[must_use]
    pub const fn new(session: SessionId, name: String, capabilities: Capabilities) -> Self {
        let leases = BTreeSet::new();
        Self { session, name, capabilities, draining: false, drained: None, away: false, leases }
    }

    /// Whether it is there and takes jobs, now or when a slot is free.
    #[must_use]
    pub const fn takes_jobs(&self) -> bool {
        !self.draining && self.drained.is_none() && !self.away
    }

    /// Slots that a job could take now.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        if !self.takes_jobs() {
            return 0;
        }
        let slots = usize::try_from(self.capabilities.slots).unwrap_or(usize::MAX);
        slots.saturating_sub(self.leases.len())
    }

    /// Whether it is there with nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.leases.is_empty() && self.free_slots() > 0
    }

    /// Whether it can prove this.
    #[must_use]
    pub fn fits(&self, spec: &JobSpec) -> bool {
        self.capabilities.modes.contains(&spec.mode)
            && self.capabilities.circuit_versions.contains(&spec.circuit_version)
    }

    /// How many bytes of a kind of memory a proof surely finds there: with several GPUs, those of the
    /// smallest. `None` if that is not known.
    #[must_use]
    pub fn memory(&self, kind: Memory) -> Option<u64> {
        let bytes = match kind {
            Memory::Main => Some(self.capabilities.memory_bytes),
            Memory::Gpu => self.capabilities.gpus.iter().map(|gpu| gpu.memory_bytes).min(),
        };
        bytes.filter(|bytes| *bytes > 0)
    }

    /// As it is remembered with a job.
    #[must_use]
    pub fn as_prover(&self, id: WorkerId) -> Prover {
        Prover { worker: id, name: self.name.clone(), backend: self.backend() }
    }

    /// What makes its proofs.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.capabilities.backend
    }
}

/// All workers that are connected or may come back.
pub type Workers = BTreeMap<WorkerId, Worker>;

/// How long a job that was interrupted for the `count`-th time rests before it is given out again.
///
/// The first time not at all: a machine went away and another may take over. After that it doubles up
/// to a minute, so that a broken disk or link does not spin the fleet.
#[must_use]
pub fn rest_after_interruptions(count: u32) -> Millis {
    match count {
        0 | 1 => Millis(0),
        _ => Millis((1000_i64 << (count - 2).min(6)).min(60_000)),
    }
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::Backend;
    use network_lib::job::Phase;

    use super::*;

    #[test]
    fn rest_doubles_up_to_a_minute() {
        let rests: Vec<i64> = (0..12).map(|n| rest_after_interruptions(n).0).collect();
        assert_eq!(
            rests,
            [0, 0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000]
        );
    }

    #[test]
    fn an_estimate_that_grows_is_no_progress() {
        let prover =
            Prover { worker: WorkerId([1; 16]), name: "amos".into(), backend: Backend::Cpu };
        let (lease, job) = (LeaseId([1; 16]), JobId([1; 16]));
        let attempt = AttemptRecord::starting(lease, job, prover, Millis(0));
        let mut lease = Lease::new(Millis(0), attempt);
        let at = |fraction, estimated, cycles_done| Progress {
            fraction: Some(fraction),
            estimated,
            cycles_done: Some(cycles_done),
            ..Progress::phase(Phase::Proving)
        };
        lease.report(Millis(1), at(0.1, true, 5));
        lease.report(Millis(2), at(0.2, true, 5));
        assert_eq!(lease.last_progress_at, Millis(1));
        lease.report(Millis(3), at(0.3, true, 6));
        assert_eq!(lease.last_progress_at, Millis(3));
        lease.report(Millis(4), at(0.4, false, 6));
        lease.report(Millis(5), at(0.5, false, 6));
        assert_eq!(lease.last_progress_at, Millis(5));
    }
}
