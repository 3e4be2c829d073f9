//! The decisions about requests and jobs, without clock, randomness or I/O.
//!
//! Every method takes the current time and returns [`Effect`]s in the order in which they are to be
//! carried out. A late or wrong word from outside (a lease that ended, a worker that left, an answer
//! given twice) changes nothing.

mod transitions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use alloy_primitives::Address;
use network_lib::handshake::Capabilities;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, FailureClass, Progress};
use network_lib::wire::ToWorker;

use super::lease::{Lease, Worker, WorkerStats, Workers};
use super::message::{CancelError, LeaseAccess, NewRequest, Overview, SubmitError, WorkerWork};
use super::queue::{Queue, Rank};
use crate::records::{
    AttemptOutcome, Change, JobRecord, JobState, Millis, RequestRecord, RequestState, job_key,
};
use crate::store::UnfinishedJob;
use crate::verify::Claim;
use transitions::{End, open_request};

/// Numbers that bound the scheduler.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How often a job may fail by a worker's fault before it is given up.
    pub max_attempts: u32,
    /// How many jobs may wait before new ones are turned away.
    pub max_waiting: usize,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful lives for the length of one event")]
pub enum Effect {
    /// Write to the store; all of one event in one transaction, before anything else.
    Save(Change),
    /// Tell a worker.
    Send(WorkerId, ToWorker),
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

/// What the store knows about a new request.
#[derive(Debug, Default)]
pub struct Known {
    /// The request that an earlier try of the same call made.
    pub earlier: Option<RequestId>,
    /// A finished job with the same content whose proof is stored.
    pub proved: Option<JobRecord>,
}

/// Draws ids: the only thing that the core takes from chance, so that tests can fix it.
pub struct IdSource(Box<dyn FnMut() -> [u8; 16] + Send + Sync>);

impl IdSource {
    /// Unguessable ids.
    #[must_use]
    pub fn random() -> Self {
        Self(Box::new(network_lib::ids::random_bytes))
    }

    /// 1, 2, 3, … for tests.
    #[must_use]
    pub fn counting() -> Self {
        let mut next = 0_u128;
        Self(Box::new(move || {
            next += 1;
            next.to_be_bytes()
        }))
    }

    fn draw(&mut self) -> [u8; 16] {
        (self.0)()
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdSource")
    }
}

/// A job that is not terminal.
#[derive(Debug)]
struct LiveJob {
    record: JobRecord,
    requests: BTreeMap<RequestId, RequestRecord>,
    lease: Option<LeaseId>,
    failed_on: BTreeSet<WorkerId>,
    worker_failures: u32,
    interruptions: u32,
    not_before: Millis,
}

impl LiveJob {
    fn new(record: JobRecord) -> Self {
        Self {
            record,
            requests: BTreeMap::new(),
            lease: None,
            failed_on: BTreeSet::new(),
            worker_failures: 0,
            interruptions: 0,
            not_before: Millis(0),
        }
    }

    fn rank(&self) -> Rank {
        let deadline = self.requests.values().map(|request| request.deadline).min();
        let record = &self.record;
        Rank::new(record.spec.mode, deadline.unwrap_or(u64::MAX), record.created_at, record.id)
    }
}

/// All requests and jobs that are not terminal, and the workers.
#[derive(Debug)]
pub struct ProofsCore {
    limits: Limits,
    ids: IdSource,
    jobs: BTreeMap<JobId, LiveJob>,
    by_key: BTreeMap<Sha256Digest, JobId>,
    by_request: BTreeMap<RequestId, JobId>,
    queue: Queue,
    leases: BTreeMap<LeaseId, Lease>,
    workers: Workers,
    stats: BTreeMap<WorkerId, WorkerStats>,
}

impl ProofsCore {
    /// Starts from what the store holds. Attempts that were going on are not resumed: their jobs wait
    /// again.
    #[must_use]
    pub fn restore(
        now: Millis,
        limits: Limits,
        ids: IdSource,
        unfinished: Vec<UnfinishedJob>,
    ) -> (Self, Vec<Effect>) {
        let mut core = Self {
            limits,
            ids,
            jobs: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_request: BTreeMap::new(),
            queue: Queue::default(),
            leases: BTreeMap::new(),
            workers: Workers::new(),
            stats: BTreeMap::new(),
        };
        let mut effects = Vec::new();
        for UnfinishedJob { job: record, requests, attempts: _ } in unfinished {
            let id = record.id;
            let mut job = LiveJob::new(record);
            for request in requests {
                core.by_request.insert(request.id, id);
                job.requests.insert(request.id, request);
            }
            core.by_key.insert(job.record.key, id);
            core.jobs.insert(id, job);
            core.enqueue(now, id, &mut effects);
        }
        core.sweep(now).into_iter().for_each(|effect| effects.push(effect));
        (core, effects)
    }

    /// Accepts a request: joins the job with the same content or makes a new one.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Busy`] when a new job would exceed the limit of waiting ones.
    pub fn submit(
        &mut self,
        now: Millis,
        new: NewRequest,
        known: Known,
    ) -> (Result<RequestId, SubmitError>, Vec<Effect>) {
        if let Some(earlier) = known.earlier {
            return (Ok(earlier), Vec::new());
        }
        let mut effects = vec![Effect::Save(Change::CountNonce(new.requester))];
        let key = job_key(&new.spec, &new.stdin_blob);
        if let Some(proved) = known.proved {
            let mut request = open_request(now, &new, proved.id);
            request.state = RequestState::Fulfilled;
            request.fulfilled_at = Some(now);
            effects.push(Effect::Save(Change::Request(request, new.spec)));
            return (Ok(new.id), effects);
        }
        let job = match self.by_key.get(&key) {
            Some(job) => *job,
            None if self.queue.len() >= self.limits.max_waiting => {
                return (Err(SubmitError::Busy { waiting: self.queue.len() }), Vec::new());
            }
            None => self.create_job(now, key, &new),
        };
        let request = open_request(now, &new, job);
        effects.push(Effect::Save(Change::Request(request.clone(), new.spec)));
        self.by_request.insert(new.id, job);
        if let Some(live) = self.jobs.get_mut(&job) {
            live.requests.insert(new.id, request);
            if live.record.state == JobState::Queued {
                self.enqueue(now, job, &mut effects);
            }
        }
        self.dispatch(now, &mut effects);
        (Ok(new.id), effects)
    }

    /// Withdraws a request that is still open. Its job stops when nobody else waits for it.
    ///
    /// # Errors
    ///
    /// [`CancelError::NotFound`] for a request that is not open here, [`CancelError::NotYours`] for
    /// somebody else's.
    pub fn cancel(
        &mut self,
        now: Millis,
        id: RequestId,
        by: Address,
    ) -> (Result<(), CancelError>, Vec<Effect>) {
        let Some(live) = self.by_request.get(&id).and_then(|job| self.jobs.get_mut(job)) else {
            return (Err(CancelError::NotFound), Vec::new());
        };
        if live.requests.get(&id).is_some_and(|request| request.requester != by) {
            return (Err(CancelError::NotYours), Vec::new());
        }
        let mut effects = Vec::new();
        self.end_request(now, id, RequestState::Cancelled, &mut effects);
        self.dispatch(now, &mut effects);
        (Ok(()), effects)
    }

    /// A worker has connected; an older connection of the same worker is over.
    pub fn worker_joined(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: u64,
        name: String,
        capabilities: Capabilities,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.drop_worker(now, id, "connected anew", &mut effects);
        let worker =
            Worker { session, name, capabilities, draining: false, leases: BTreeSet::new() };
        self.workers.insert(id, worker);
        self.stats.entry(id).or_default();
        self.dispatch(now, &mut effects);
        effects
    }

    /// A worker can prove something else than before.
    pub fn capabilities_changed(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: u64,
        capabilities: Capabilities,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(worker) = self.connected(id, session) {
            worker.capabilities = capabilities;
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// A worker wants no more jobs.
    pub fn worker_draining(&mut self, id: WorkerId, session: u64) {
        if let Some(worker) = self.connected(id, session) {
            worker.draining = true;
        }
    }

    /// A worker is gone; what it was working on waits again.
    pub fn worker_lost(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: u64,
        reason: &str,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.connected(id, session).is_some() {
            self.drop_worker(now, id, reason, &mut effects);
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// A worker says which attempts it holds: slots of attempts that it was told to stop are free
    /// again once it no longer lists them.
    pub fn held(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: u64,
        held: &[LeaseId],
    ) -> Vec<Effect> {
        let live: BTreeSet<LeaseId> = self.leases.keys().copied().collect();
        if let Some(worker) = self.connected(id, session) {
            worker.leases.retain(|lease| live.contains(lease) || held.contains(lease));
        }
        let mut effects = Vec::new();
        self.dispatch(now, &mut effects);
        effects
    }

    /// An attempt has gone on.
    pub fn progressed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        progress: Progress,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(held) = self.leases.get_mut(&lease)
            && held.attempt.prover.worker == worker
            && !held.checking
        {
            held.progress = Some(progress);
            let job = held.job;
            self.advance(now, job, JobState::Leased, JobState::Proving, &mut effects);
        }
        effects
    }

    /// An attempt has executed the program.
    pub fn executed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        execution: Execution,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(job) = self.job_of(worker, lease) else { return effects };
        self.advance(now, job, JobState::Leased, JobState::Proving, &mut effects);
        if let Some(live) = self.jobs.get_mut(&job)
            && live.record.execution != Some(execution)
        {
            live.record.execution = Some(execution);
            live.record.updated_at = now;
            effects.push(Effect::Save(Change::Job(live.record.clone())));
        }
        effects
    }

    /// The bytes of an attempt's proof are stored. Returns whether the attempt still counts; if not,
    /// the bytes are of no use.
    pub fn proof_stored(
        &mut self,
        now: Millis,
        lease: LeaseId,
        artifact: ArtifactId,
        blob: BlobInfo,
    ) -> (bool, Vec<Effect>) {
        let mut effects = Vec::new();
        let Some(held) = self.leases.get_mut(&lease).filter(|held| !held.checking) else {
            return (false, effects);
        };
        held.upload = Some((artifact, blob));
        let job = held.job;
        self.advance(now, job, JobState::Leased, JobState::Uploaded, &mut effects);
        self.advance(now, job, JobState::Proving, JobState::Uploaded, &mut effects);
        (true, effects)
    }

    /// A worker says that an attempt's proof is made and handed in.
    pub fn completed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        execution: Execution,
        proof: BlobInfo,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.job_of(worker, lease).is_none() {
            self.settle(worker, lease, &mut effects);
            self.dispatch(now, &mut effects);
            return effects;
        }
        let upload = self.leases.get(&lease).and_then(|held| held.upload);
        match upload {
            Some((artifact, stored)) if stored == proof => {
                self.start_check(now, lease, execution, artifact, &mut effects);
            }
            _ => {
                let message = "the proof that was announced is not the one that was handed in";
                let failure = Failure {
                    class: FailureClass::Infrastructure,
                    cause: None,
                    message: message.into(),
                };
                self.fail_attempt(now, lease, failure, &mut effects);
            }
        }
        self.settle(worker, lease, &mut effects);
        self.dispatch(now, &mut effects);
        effects
    }

    /// A worker says that an attempt has failed.
    pub fn failed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        failure: Failure,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.job_of(worker, lease).is_some() {
            self.fail_attempt(now, lease, failure, &mut effects);
        }
        self.settle(worker, lease, &mut effects);
        self.dispatch(now, &mut effects);
        effects
    }

    /// The check of an attempt's proof has ended.
    pub fn checked(
        &mut self,
        now: Millis,
        lease: LeaseId,
        verdict: Result<(), Failure>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(held) = self.leases.get(&lease).filter(|held| held.checking) else {
            return effects;
        };
        let (job, upload) = (held.job, held.upload);
        match (verdict, upload) {
            (Ok(()), Some((artifact, _))) => {
                self.end_attempt(now, lease, AttemptOutcome::Completed, None, &mut effects);
                self.end_job(now, job, End::Proved(artifact), &mut effects);
            }
            (Err(failure), _) => self.fail_attempt(now, lease, failure, &mut effects),
            (Ok(()), None) => {}
        }
        self.dispatch(now, &mut effects);
        effects
    }

    /// Time has passed: ends what is past its deadline, gives out what has rested.
    pub fn sweep(&mut self, now: Millis) -> Vec<Effect> {
        let expired: Vec<RequestId> = self
            .jobs
            .values()
            .flat_map(|live| live.requests.values())
            .filter(|request| Millis::from_seconds(request.deadline) < now)
            .map(|request| request.id)
            .collect();
        let mut effects = Vec::new();
        for request in expired {
            self.end_request(now, request, RequestState::Expired, &mut effects);
        }
        self.dispatch(now, &mut effects);
        effects
    }

    /// What the holder of a lease may fetch.
    #[must_use]
    pub fn lease_access(&self, lease: LeaseId) -> Option<LeaseAccess> {
        let held = self.leases.get(&lease).filter(|held| !held.checking)?;
        let record = &self.jobs.get(&held.job)?.record;
        Some(LeaseAccess { program: record.program, stdin: record.stdin })
    }

    /// The scheduler at a glance.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let workers = self.workers.iter().map(|(id, worker)| WorkerWork {
            worker: *id,
            backend: worker.backend(),
            capabilities: worker.capabilities.clone(),
            draining: worker.draining,
            stats: self.stats.get(id).copied().unwrap_or_default(),
            running: worker.leases.iter().filter_map(|lease| self.running(*lease)).collect(),
        });
        Overview {
            waiting: self.queue.len(),
            unfinished: self.jobs.len(),
            workers: workers.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
