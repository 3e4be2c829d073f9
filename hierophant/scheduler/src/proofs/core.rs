//! Decisions about requests and jobs, without clock, randomness or I/O.
//!
//! Every method takes the current time and returns [`Effect`]s in the order of their execution. Late or invalid
//! messages (about an ended lease, from a removed worker, or duplicates) have no effect.

mod ahead;
mod attempts;
mod commands;
mod decisions;
mod dispatch;
mod disputes;
mod divisions;
mod doubts;
mod endings;
mod ids;
mod index;
mod joined;
mod open;
mod places;
mod prepared;
mod queue_snapshot;
mod race;
mod requests;
mod restore;
mod rests;
mod search;
mod sweep;
mod task_access;
mod task_dispatch;
mod task_memory;
mod task_race;
mod task_restore;
mod task_turns;
mod task_views;
mod task_words;
mod why;
mod workers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hierophant_model::clients::{ClientKey, Clients};
use hierophant_model::commands::Paused;
use hierophant_model::records::{
    AttemptRecord, Change, Claim, JobRecord, JobState, Millis, RequestRecord,
};
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, WorkerId};
use network_lib::job::ProofMode;
use network_lib::wire::ToWorker;

use super::assign::FailureHistory;
use super::duration::DurationEstimator;
use super::fleet::Workers;
use super::lease::{Lease, Leases, Worker, WorkerStats};
use super::memory::MemoryDemand;
use super::need::Wanted;
use super::queue::Queue;
use super::{Assembly, LeaseAccess, Overview, PartCheck, RunningProof, ShardingLimits, WorkerWork};
use crate::SessionId;

pub use commands::Rejection;
use divisions::Divisions;
use endings::{End, Ending};
pub use ids::IdSource;
use joined::JoinedRequests;
use open::{LastMinute, OpenRequests, RecentRequests};
use prepared::Prepared;
pub use requests::StoreLookup;
pub use restore::RestoredState;

/// Number of effects after which an event leaves the rest to the next [`ProofsCore::sweep`], so that a transaction has
/// some hundred rows whatever happens at once.
const MAX_EFFECTS: usize = 500;

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
    /// Proofs that are made as tasks of many workers.
    pub sharding: ShardingLimits,
}

/// Effect of a decision; executed in order.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful lives for the length of one event")]
pub enum Effect {
    /// Write to the store. All writes of one event share a transaction, which precedes the other effects.
    Save(Change),
    /// Send a message to a worker.
    Send(WorkerId, ToWorker),
    /// Cancel an attempt that is leased ahead on the worker that holds it. The cancellation need not wait for the store:
    /// a start without the decision finds an attempt that its worker no longer lists, and gives it back too.
    Recall(WorkerId, ToWorker),
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
    /// Assemble a proof from its parts and report it to [`ProofsCore::assembled`].
    Assemble(Box<Assembly>),
    /// Verify results of tasks and report the verdicts to [`ProofsCore::parts_checked`].
    CheckParts(Box<PartCheck>),
    /// Remove a stored blob of a job's tasks.
    FreeTaskBlob(JobId, Sha256Digest),
    /// Remove all stored blobs of a job's tasks.
    FreeTaskBlobs(JobId),
}

/// Job that has not ended.
#[derive(Debug)]
struct LiveJob {
    record: JobRecord,
    requests: JoinedRequests,
    /// Client for which it is counted as running.
    counted: Option<ClientKey>,
    /// Set while its end is stored in several steps.
    ending: Option<Ending>,
    /// Running attempts: one, or two in a race.
    leases: BTreeSet<LeaseId>,
    /// Attempt that is leased ahead, while the job waits.
    ahead: Option<LeaseId>,
    /// Number of jobs that were leased ahead later and have begun before it, during earlier leases ahead.
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
    /// Whether its tasks could not be finished: it is proved as a whole.
    is_whole: bool,
}

impl LiveJob {
    fn new(record: JobRecord) -> Self {
        Self {
            record,
            requests: JoinedRequests::default(),
            counted: None,
            ending: None,
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
            is_whole: false,
        }
    }

    /// Whether any of its open requests has a private input.
    fn is_private(&self) -> bool {
        self.requests.private_since().is_some()
    }

    /// The proof that it is to get.
    fn wanted(&self) -> Wanted<'_> {
        Wanted { spec: &self.record.spec, private: self.is_private() }
    }

    /// Whether it is assigned differently from others of its need.
    fn is_choosy(&self) -> bool {
        self.failures.avoids_any() || self.overtaken > 0
    }

    /// Forgets all attempts.
    fn begin_again(&mut self) {
        self.tried.clear();
        self.failures = FailureHistory::default();
        self.disputed.clear();
        (self.interruptions, self.not_before) = (0, Millis(0));
        self.is_whole = false;
        self.interrupted = None;
    }

    /// Client of the oldest request.
    fn requester(&self) -> ClientKey {
        self.requests.requester().unwrap_or(ClientKey::LOWEST)
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
    /// Jobs that are proved as tasks.
    divisions: Divisions,
    /// Attempts that are leased ahead.
    prepared: Prepared,
    /// Waiting jobs that are not leased ahead, were so before, and were overtaken.
    overtaken: BTreeSet<JobId>,
    /// Jobs of the attempts that may continue when their worker reconnects.
    interrupted: BTreeMap<LeaseId, JobId>,
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
    /// Jobs whose end is stored in several steps.
    ending: BTreeSet<JobId>,
    /// Requests that were reopened with many others, and are not saved yet.
    reopened: VecDeque<RequestId>,
    /// Jobs that a start found to have ended.
    due: VecDeque<(JobId, End)>,
    /// Whether requests past their deadline are left to the next sweep. No job is assigned until they have ended.
    is_expiring: bool,
    /// Whether other work is left to the next sweep.
    is_cut_short: bool,
    /// Whether jobs are assigned by the reference that tests compare with.
    #[cfg(test)]
    walks: bool,
    /// Time at which attempts of workers that have not reconnected since the start are interrupted.
    return_deadline: Millis,
}

impl ProofsCore {
    /// Data that `worker` may fetch under a lease; `None` if the lease is another worker's or has ended.
    #[must_use]
    pub fn lease_access(&self, lease: LeaseId, worker: WorkerId) -> Option<LeaseAccess> {
        let theirs = |held: &&Lease| held.attempt.prover.worker == worker && !held.checking;
        let of_task = || self.divisions.held(worker, lease);
        let (job, task, proof) = match self.leases.get(&lease).filter(theirs) {
            Some(held) => (held.job, None, held.attempt.proof),
            None => of_task().map(|(job, task)| (job, Some(task), None))?,
        };
        let executes = self.divisions.attempts.get(&lease).is_some_and(|held| held.executes);
        let record = &self.jobs.get(&job)?.record;
        Some(LeaseAccess {
            job: record.id,
            program: record.program,
            stdin: (task.is_none() || executes).then_some(record.stdin),
            mode: record.spec.mode,
            is_task: task.is_some(),
            proof,
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
        let of_task = || self.divisions.attempts.get(&lease).map(|held| held.record.job);
        self.leases.get(&lease).map(|held| held.job).or_else(of_task)
    }

    /// Summary of the scheduler.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let mut tasks = self.running_tasks();
        let workers = self.workers.iter().map(|(id, worker)| WorkerWork {
            worker: *id,
            backend: worker.backend(),
            capabilities: worker.capabilities.clone(),
            private_inputs: worker.private_inputs,
            draining: worker.draining || worker.drained.is_some(),
            stats: self.stats.get(id).cloned().unwrap_or_default(),
            running: worker.leases.iter().filter_map(|lease| self.running(*lease)).collect(),
            ahead: worker.ahead.iter().filter_map(|lease| self.job_of_lease(*lease)).collect(),
            tasks: tasks.remove(id).unwrap_or_default(),
        });
        Overview {
            waiting: self.queue.len(),
            waiting_by_mode: self.queue.by_mode().clone(),
            oldest_waiting: self.queue.oldest(),
            unfinished: self.jobs.len(),
            paused: self.paused.clone(),
            workers: workers.collect(),
            divided: self.divided_proofs(),
            waiting_tasks: self.waiting_tasks(),
            task_memory: self.divisions.demand.by_kind(),
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

    /// Whether work is left that the next [`ProofsCore::sweep`] continues, which need not wait for its time.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let is_ending = !self.ending.is_empty() || !self.due.is_empty();
        is_ending || !self.reopened.is_empty() || self.is_expiring || self.is_cut_short
    }

    /// Adds a request to an unfinished job.
    fn subscribe(&mut self, job: JobId, request: RequestRecord) {
        let client = self.client_of(&request);
        let key = client.key();
        self.open.insert(&request, job, client);
        if let Some(live) = self.jobs.get_mut(&job) {
            let was_private = live.is_private();
            live.requests.insert(request, key);
            let ahead = live.ahead.filter(|_| !was_private && live.is_private());
            if let Some(held) = ahead.and_then(|lease| self.leases.get(&lease)) {
                // Whether it may begin there is judged again.
                self.workers.touch(held.attempt.prover.worker);
            }
        }
        self.recount(job);
    }

    fn is_connected(&self, id: WorkerId, session: SessionId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.session == session)
    }

    fn connected(&mut self, id: WorkerId, session: SessionId) -> Option<&mut Worker> {
        if self.is_connected(id, session) { self.workers.get_mut(&id) } else { None }
    }

    /// Sets the attempt of a waiting job that continues if its worker reconnects.
    fn set_interrupted(&mut self, job: JobId, attempt: Option<Box<Lease>>) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        if let Some(before) = std::mem::replace(&mut live.interrupted, attempt) {
            self.interrupted.remove(&before.attempt.lease);
        }
        if let Some(attempt) = &live.interrupted {
            self.interrupted.insert(attempt.attempt.lease, job);
        }
    }

    /// Job of an active lease of this worker whose proof is not being verified.
    fn job_of(&self, worker: WorkerId, lease: LeaseId) -> Option<JobId> {
        let held = self.leases.get(&lease)?;
        (held.attempt.prover.worker == worker && !held.checking).then_some(held.job)
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
        self.recount(job);
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
