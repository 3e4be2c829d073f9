//! Decisions about requests and jobs, without clock, randomness or I/O.
//!
//! Every method takes the current time and returns [`Effect`]s in the order of their execution. Late or invalid
//! messages (about an ended lease, from a removed worker, or duplicates) have no effect.

mod ahead;
mod attempts;
mod commands;
mod dispatch;
mod disputes;
mod endings;
mod ids;
mod open;
mod places;
mod queue_snapshot;
mod race;
mod requests;
mod restore;
mod rests;
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
use open::{LastMinute, OpenRequests, RecentRequests};
pub use requests::StoreLookup;
pub use restore::RestoredState;

/// Limits of the scheduler. Durations are in milliseconds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum number of workers on which a job fails by the worker's fault; the last one sets the job aside.
    pub max_attempts: u32,
    /// Maximum number of waiting jobs; beyond it new jobs are rejected.
    pub max_waiting: usize,
    /// Client names and quotas.
    pub clients: Clients,
    /// Kinds of proof with the priority class urgent.
    pub urgent_modes: Vec<ProofMode>,
    /// Maximum duration of an attempt; 0 = no limit.
    pub attempt_limit_ms: i64,
    /// Slowdown factor, relative to the expected duration, from which an idle worker starts a second attempt; 0 =
    /// never.
    pub race_after: f64,
    /// Maximum time without measured progress; 0 = no limit.
    pub stall_limit_ms: i64,
    /// Maximum time for which heartbeats may omit an attempt before it counts as lost.
    pub unlisted_limit_ms: i64,
    /// Time after a start within which workers with attempts must reconnect.
    pub return_limit_ms: i64,
    /// Number of strikes that suspend a worker; 0 = never.
    pub max_strikes: usize,
    /// Time for which a strike counts.
    pub strike_decay_ms: i64,
}

/// Effect of a decision; executed in order.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful lives for the length of one event")]
pub enum Effect {
    /// Write to the store. All writes of one event share a transaction, which precedes the other effects.
    Save(Change),
    /// Send a message to a worker.
    Send(WorkerId, ToWorker),
    /// Close a worker's connection for this reason.
    Drop(WorkerId, String),
    /// Verify a proof and report the verdict to [`ProofsCore::checked`].
    Check {
        /// Attempt.
        lease: LeaseId,
        /// Proof.
        proof: ArtifactId,
        /// Claim to verify.
        claim: Claim,
    },
}

/// Job that has not ended.
#[derive(Debug)]
struct LiveJob {
    record: JobRecord,
    /// Usually one, while a `BTreeMap` allocates space for eleven.
    requests: LiteMap<RequestId, Box<RequestRecord>>,
    /// Running attempts: one, or two in a race.
    leases: BTreeSet<LeaseId>,
    /// Attempt that is leased ahead, while the job waits.
    ahead: Option<LeaseId>,
    /// Number of jobs that were leased ahead later and have begun before it.
    overtaken: usize,
    /// Last running attempt, if it was interrupted; it continues if its worker reconnects in time.
    interrupted: Option<Box<Lease>>,
    /// All workers to which the job was ever assigned.
    tried: BTreeSet<WorkerId>,
    failures: FailureHistory,
    interruptions: u32,
    not_before: Millis,
    /// Attempts whose valid proof has other public values than the requests state.
    disputed: Vec<AttemptRecord>,
    /// Whether a proof of the program was accepted before the job was created; false if unknown.
    program_confirmed: bool,
    /// Whether its program or input is missing: no further attempt is possible.
    inputs_lost: bool,
}

impl LiveJob {
    fn new(record: JobRecord) -> Self {
        Self {
            record,
            requests: LiteMap::new(),
            leases: BTreeSet::new(),
            ahead: None,
            overtaken: 0,
            interrupted: None,
            tried: BTreeSet::new(),
            failures: FailureHistory::default(),
            interruptions: 0,
            not_before: Millis(0),
            disputed: Vec::new(),
            program_confirmed: false,
            inputs_lost: false,
        }
    }

    /// Requester of the oldest request.
    fn requester(&self) -> Address {
        let first = self.requests.values().min_by_key(|request| (request.created_at, request.id));
        first.map_or(Address::ZERO, |request| request.requester)
    }
}

/// All requests and jobs that have not ended, and the workers.
#[derive(Debug)]
pub struct ProofsCore {
    limits: Limits,
    ids: IdSource,
    jobs: BTreeMap<JobId, Box<LiveJob>>,
    by_key: BTreeMap<Sha256Digest, JobId>,
    open: OpenRequests,
    recent: RecentRequests,
    /// Requests of the last minute that an ended job answered at once.
    answered: RecentRequests,
    /// Requests of the last minute of all addresses that are not configured.
    strangers: LastMinute,
    queue: Queue,
    leases: Leases,
    workers: Workers,
    /// Workers drained by an operator; may include removed ones.
    drained: BTreeSet<WorkerId>,
    stats: BTreeMap<WorkerId, WorkerStats>,
    /// Workers that rest after infrastructure failures.
    resting: BTreeSet<WorkerId>,
    /// Jobs that ran out of memory, and the time at which the reports of it count no longer.
    shortages: BTreeMap<JobId, Millis>,
    durations: DurationEstimator,
    /// Set while dispatch is paused.
    paused: Option<Paused>,
    demand: MemoryDemand,
    /// Lower bound of all deadlines, Unix seconds.
    next_deadline: u64,
    /// Time at which attempts of workers that have not reconnected since the start are interrupted.
    return_deadline: Millis,
}

impl ProofsCore {
    /// Data that `worker` may fetch under a lease; `None` if the lease is another worker's or has ended.
    #[must_use]
    pub fn lease_access(&self, lease: LeaseId, worker: WorkerId) -> Option<LeaseAccess> {
        let theirs = |held: &&Lease| held.attempt.prover.worker == worker && !held.checking;
        let held = self.leases.get(&lease).filter(theirs)?;
        let record = &self.jobs.get(&held.job)?.record;
        Some(LeaseAccess {
            job: record.id,
            program: record.program,
            stdin: record.stdin,
            mode: record.spec.mode,
            proof: held.attempt.proof,
        })
    }

    /// Whether a job with this content has not ended.
    #[must_use]
    pub fn is_working_on(&self, key: Sha256Digest) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Job of an active lease.
    #[must_use]
    pub fn job_of_lease(&self, lease: LeaseId) -> Option<JobId> {
        self.leases.get(&lease).map(|held| held.job)
    }

    /// Summary of the scheduler.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let workers = self.workers.iter().map(|(id, worker)| WorkerWork {
            worker: *id,
            backend: worker.backend(),
            capabilities: worker.capabilities.clone(),
            draining: worker.draining || worker.drained.is_some(),
            stats: self.stats.get(id).cloned().unwrap_or_default(),
            running: worker.leases.iter().filter_map(|lease| self.running(*lease)).collect(),
            ahead: worker.ahead.iter().filter_map(|lease| self.job_of_lease(*lease)).collect(),
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

    /// Adds a request to an unfinished job.
    fn subscribe(&mut self, job: JobId, request: RequestRecord) {
        self.next_deadline = self.next_deadline.min(request.deadline);
        self.open.insert(request.id, job, self.client_of(&request));
        if let Some(live) = self.jobs.get_mut(&job) {
            live.requests.insert(request.id, Box::new(request));
        }
    }

    fn connected(&mut self, id: WorkerId, session: SessionId) -> Option<&mut Worker> {
        self.workers.get_mut(&id).filter(|worker| worker.session == session)
    }

    /// Job of an active lease of this worker whose proof is not being verified.
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

    /// Inserts a job into the queue, or moves it to its current position.
    fn enqueue(&mut self, job: JobId) {
        if let Some(live) = self.jobs.get(&job) {
            let rank = self.rank(live);
            self.queue.insert(rank);
        }
    }

    /// Changes a job's record and updates it from its running attempts: state and prover are those of the most
    /// advanced attempt, of several the oldest. Saves nothing if nothing has changed.
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

    /// Leases of a worker that are still running.
    fn leases_of(&self, worker: WorkerId) -> BTreeSet<LeaseId> {
        let going_on = |lease: &LeaseId| self.leases.get(lease).is_some_and(|held| !held.checking);
        self.leases.of(worker).filter(going_on).collect()
    }
}

/// Sets the attempt that a job's record describes.
fn set_active_attempt(record: &mut JobRecord, attempt: &AttemptRecord) {
    record.prover = Some(attempt.prover.clone());
    record.started_at = Some(attempt.started_at);
}

#[cfg(test)]
mod tests;
