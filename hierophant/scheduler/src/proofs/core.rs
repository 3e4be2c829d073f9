//! The decisions about requests and jobs, without clock, randomness or I/O.
//!
//! Every method takes the current time and returns [`Effect`]s in the order in which they are to be
//! carried out. A late or wrong word from outside (a lease that ended, a worker that left, an answer
//! given twice) changes nothing.

mod attempts;
mod commands;
mod dispatch;
mod endings;
mod ids;
mod open;
mod queue_snapshot;
mod race;
mod requests;
mod restore;
mod sweep;
mod why;
mod workers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use hierophant_model::clients::Clients;
use hierophant_model::commands::Paused;
use hierophant_model::records::{
    AttemptRecord, Change, Claim, JobRecord, JobState, Millis, Priority, RequestRecord,
};
use litemap::LiteMap;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, WorkerId};
use network_lib::job::ProofMode;
use network_lib::wire::ToWorker;

use super::assign::FailureHistory;
use super::duration::DurationEstimator;
use super::lease::{Lease, Leases, Worker, WorkerStats, Workers};
use super::memory::MemoryDemand;
use super::queue::{Queue, Rank};
use super::{LeaseAccess, Overview, RunningProof, WorkerWork};
use crate::SessionId;

pub use commands::Rejection;
pub use ids::IdSource;
use open::{OpenRequests, RecentRequests};
pub use requests::StoreLookup;
pub use restore::RestoredState;

/// Numbers that bound the scheduler. Durations are in milliseconds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How often a job may fail by a worker's fault before it is given up.
    pub max_attempts: u32,
    /// How many jobs may wait before new ones are turned away.
    pub max_waiting: usize,
    /// How much each requester may have open.
    pub clients: Clients,
    /// Kinds of proof that go before all others.
    pub urgent_modes: Vec<ProofMode>,
    /// How long an attempt may take; 0 = no limit.
    pub attempt_limit_ms: i64,
    /// An attempt that has taken, or by its own word will take, so many times what such proofs usually
    /// take may be raced by an idle worker; 0 = never.
    pub race_after: f64,
    /// How long an attempt may go without measured progress; 0 = no limit.
    pub stall_limit_ms: i64,
    /// How long heartbeats may leave an attempt out before it counts as lost.
    pub unlisted_limit_ms: i64,
    /// After a start: how long workers that held attempts have to come back.
    pub return_limit_ms: i64,
    /// Strikes at which a worker is suspended; 0 = never.
    pub max_strikes: usize,
    /// How long a strike counts.
    pub strike_decay_ms: i64,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful lives for the length of one event")]
pub enum Effect {
    /// Write to the store; all of one event in one transaction, before anything else.
    Save(Change),
    /// Tell a worker.
    Send(WorkerId, ToWorker),
    /// Close a worker's connection, for this reason.
    Drop(WorkerId, String),
    /// Check a proof and come back with [`ProofsCore::checked`].
    Check {
        /// The attempt.
        lease: LeaseId,
        /// The proof's bytes.
        proof: ArtifactId,
        /// What it must be.
        claim: Claim,
    },
}

/// A job that is not terminal.
#[derive(Debug)]
struct LiveJob {
    record: JobRecord,
    /// Mostly one, and a `BTreeMap` makes room for eleven.
    requests: LiteMap<RequestId, Box<RequestRecord>>,
    /// The attempts that go on: one, or two in a race.
    leases: BTreeSet<LeaseId>,
    /// The last attempt that went on, if its worker went away: it goes on if the worker returns in time.
    interrupted: Option<Box<Lease>>,
    /// Everybody who was ever given it.
    tried: BTreeSet<WorkerId>,
    failures: FailureHistory,
    worker_failures: u32,
    interruptions: u32,
    not_before: Millis,
}

impl LiveJob {
    fn new(record: JobRecord) -> Self {
        Self {
            record,
            requests: LiteMap::new(),
            leases: BTreeSet::new(),
            interrupted: None,
            tried: BTreeSet::new(),
            failures: FailureHistory::default(),
            worker_failures: 0,
            interruptions: 0,
            not_before: Millis(0),
        }
    }

    /// Who asked first.
    fn requester(&self) -> Address {
        let first = self.requests.values().min_by_key(|request| (request.created_at, request.id));
        first.map_or(Address::ZERO, |request| request.requester)
    }
}

/// All requests and jobs that are not terminal, and the workers.
#[derive(Debug)]
pub struct ProofsCore {
    limits: Limits,
    ids: IdSource,
    jobs: BTreeMap<JobId, Box<LiveJob>>,
    by_key: BTreeMap<Sha256Digest, JobId>,
    open: OpenRequests,
    recent: RecentRequests,
    queue: Queue,
    leases: Leases,
    workers: Workers,
    /// Those of the workers that an operator has drained, and perhaps some that are gone.
    drained: BTreeSet<WorkerId>,
    stats: BTreeMap<WorkerId, WorkerStats>,
    durations: DurationEstimator,
    /// Nothing is given out.
    paused: Option<Paused>,
    demand: MemoryDemand,
    /// No request ends by its deadline, in unix seconds, before this one.
    next_deadline: u64,
    /// When attempts of workers that have not come back since the start are given up.
    return_deadline: Millis,
}

impl ProofsCore {
    /// What `worker` may fetch under a lease: nothing if it is another's, or over.
    #[must_use]
    pub fn lease_access(&self, lease: LeaseId, worker: WorkerId) -> Option<LeaseAccess> {
        let theirs = |held: &&Lease| held.attempt.prover.worker == worker && !held.checking;
        let held = self.leases.get(&lease).filter(theirs)?;
        let record = &self.jobs.get(&held.job)?.record;
        Some(LeaseAccess { job: record.id, program: record.program, stdin: record.stdin })
    }

    /// Whose attempt a lease is, if it counts.
    #[must_use]
    pub fn job_of_lease(&self, lease: LeaseId) -> Option<JobId> {
        self.leases.get(&lease).map(|held| held.job)
    }

    /// The scheduler at a glance.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let workers = self.workers.iter().map(|(id, worker)| WorkerWork {
            worker: *id,
            backend: worker.backend(),
            capabilities: worker.capabilities.clone(),
            draining: worker.draining || worker.drained.is_some(),
            stats: self.stats.get(id).cloned().unwrap_or_default(),
            running: worker.leases.iter().filter_map(|lease| self.running(*lease)).collect(),
        });
        Overview {
            waiting: self.queue.len(),
            waiting_by_mode: self.queue.by_mode().clone(),
            oldest_waiting: self.queue.oldest(),
            unfinished: self.jobs.len(),
            paused: self.paused.clone(),
            workers: workers.collect(),
        }
    }

    fn running(&self, lease: LeaseId) -> Option<RunningProof> {
        let held = self.leases.get(&lease)?;
        let live = self.jobs.get(&held.job)?;
        Some(RunningProof {
            job: held.job,
            requests: live.requests.keys().copied().collect(),
            program: live.record.spec.vk_hash,
            mode: live.record.spec.mode,
            started_at: held.started_at,
            progress: held.progress,
            raced: live.leases.len() > 1,
        })
    }

    /// Has a request wait for an unfinished job.
    fn subscribe(&mut self, job: JobId, request: RequestRecord) {
        self.next_deadline = self.next_deadline.min(request.deadline);
        self.open.insert(request.id, job, request.requester);
        if let Some(live) = self.jobs.get_mut(&job) {
            live.requests.insert(request.id, Box::new(request));
        }
    }

    fn connected(&mut self, id: WorkerId, session: SessionId) -> Option<&mut Worker> {
        self.workers.get_mut(&id).filter(|worker| worker.session == session)
    }

    /// The job of a lease, if the lease counts, belongs to this worker and is not being checked.
    fn job_of(&self, worker: WorkerId, lease: LeaseId) -> Option<JobId> {
        let held = self.leases.get(&lease)?;
        (held.attempt.prover.worker == worker && !held.checking).then_some(held.job)
    }

    fn rank(&self, live: &LiveJob) -> Rank {
        let deadline = live.requests.values().map(|request| request.deadline).min();
        let urgent = self.limits.urgent_modes.contains(&live.record.spec.mode);
        let by_mode = if urgent { Priority::Urgent } else { Priority::Normal };
        Rank {
            class: live.record.priority.unwrap_or(by_mode) as u8,
            mode: live.record.spec.mode,
            requester: live.requester(),
            deadline: deadline.unwrap_or(u64::MAX),
            created_at: live.record.created_at,
            job: live.record.id,
        }
    }

    /// Puts a job in its place in the queue, or moves it there.
    fn enqueue(&mut self, job: JobId) {
        if let Some(live) = self.jobs.get(&job) {
            let rank = self.rank(live);
            self.queue.insert(rank);
        }
    }

    /// Changes a job's record and brings it in line with the attempts that go on: state and prover are
    /// those of the one that is furthest, of several the oldest. Nothing is saved if nothing differs.
    fn update(
        &mut self,
        now: Millis,
        job: JobId,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut JobRecord),
    ) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        let before = live.record.clone();
        change(&mut live.record);
        let going_on = live.leases.iter().filter_map(|lease| self.leases.get(lease));
        let place = |held: &&Lease| (held.state(), Reverse(held.attempt.started_at));
        if let Some(furthest) = going_on.max_by_key(place) {
            live.record.state = furthest.state();
            set_active_attempt(&mut live.record, &furthest.attempt);
        } else {
            live.record.state = JobState::Queued;
        }
        if live.record != before {
            live.record.updated_at = now;
            effects.push(Effect::Save(Change::Job(live.record.clone())));
        }
    }

    /// Every lease of a worker that is still going on.
    fn leases_of(&self, worker: WorkerId) -> BTreeSet<LeaseId> {
        let going_on = |lease: &LeaseId| self.leases.get(lease).is_some_and(|held| !held.checking);
        self.leases.of(worker).filter(going_on).collect()
    }
}

/// Notes in a job's record whose attempt it tells of.
fn set_active_attempt(record: &mut JobRecord, attempt: &AttemptRecord) {
    record.prover = Some(attempt.prover.clone());
    record.started_at = Some(attempt.started_at);
}

#[cfg(test)]
mod tests;
