//! What happens to jobs, attempts and requests behind the events: leasing out, interrupting, failing,
//! ending. Each step appends its effects.

use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, WorkerId};
use network_lib::job::{Execution, Failure, FailureClass};
use network_lib::wire::ToWorker;

use super::super::assign;
use super::super::lease::{Lease, Worker, rest_after_interruptions};
use super::super::message::{NewRequest, RunningProof};
use super::{Effect, LiveJob, ProofsCore};
use crate::records::{
    AttemptOutcome, AttemptRecord, Change, JobRecord, JobState, Millis, RequestRecord, RequestState,
};
use crate::verify::Claim;

/// How a job ends.
pub(super) enum End {
    Proved(ArtifactId),
    Unexecutable(Failure),
    Failed(Failure),
    Cancelled,
    Expired,
}

impl ProofsCore {
    pub(super) fn running(&self, lease: LeaseId) -> Option<RunningProof> {
        let held = self.leases.get(&lease)?;
        let live = self.jobs.get(&held.job)?;
        Some(RunningProof {
            job: held.job,
            requests: live.requests.keys().copied().collect(),
            program: live.record.spec.vk_hash,
            mode: live.record.spec.mode,
            started_at: held.attempt.started_at,
            progress: held.progress,
        })
    }

    pub(super) fn create_job(&mut self, now: Millis, key: Sha256Digest, new: &NewRequest) -> JobId {
        let id = JobId(self.ids.draw());
        let record = JobRecord {
            id,
            key,
            spec: new.spec.clone(),
            program: new.program,
            program_blob: new.program_blob,
            stdin: new.stdin,
            stdin_blob: new.stdin_blob,
            state: JobState::Queued,
            execution: None,
            failure: None,
            proof: None,
            prover: None,
            attempts: 0,
            created_at: now,
            updated_at: now,
            started_at: None,
            finished_at: None,
        };
        self.jobs.insert(id, LiveJob::new(record));
        self.by_key.insert(key, id);
        id
    }

    pub(super) fn connected(&mut self, id: WorkerId, session: u64) -> Option<&mut Worker> {
        self.workers.get_mut(&id).filter(|worker| worker.session == session)
    }

    /// The job of a lease, if the lease counts, belongs to this worker and is not being checked.
    pub(super) fn job_of(&self, worker: WorkerId, lease: LeaseId) -> Option<JobId> {
        let held = self.leases.get(&lease)?;
        (held.attempt.prover.worker == worker && !held.checking).then_some(held.job)
    }

    /// A worker has told how an attempt ended: its slot is free, and it need not tell again.
    pub(super) fn settle(&mut self, id: WorkerId, lease: LeaseId, effects: &mut Vec<Effect>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.leases.remove(&lease);
            effects.push(Effect::Send(id, ToWorker::Settled { lease_id: lease }));
        }
    }

    pub(super) fn advance(
        &mut self,
        now: Millis,
        job: JobId,
        from: JobState,
        to: JobState,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(live) = self.jobs.get_mut(&job)
            && live.record.state == from
        {
            live.record.state = to;
            live.record.updated_at = now;
            effects.push(Effect::Save(Change::Job(live.record.clone())));
        }
    }

    /// Puts a job into the queue, whatever it was doing.
    pub(super) fn enqueue(&mut self, now: Millis, job: JobId, effects: &mut Vec<Effect>) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        live.record.state = JobState::Queued;
        live.record.updated_at = now;
        live.lease = None;
        self.queue.insert(job, live.rank());
        effects.push(Effect::Save(Change::Job(live.record.clone())));
    }

    /// Gives waiting jobs to free workers, in the queue's order.
    pub(super) fn dispatch(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let mut free: usize = self.workers.values().map(Worker::free_slots).sum();
        if free == 0 || self.queue.is_empty() {
            return;
        }
        let mut chosen = Vec::new();
        for job in self.queue.iter() {
            let Some(live) = self.jobs.get(&job).filter(|live| live.not_before <= now) else {
                continue;
            };
            let worker = assign::choose(&live.record.spec, &live.failed_on, &self.workers);
            let Some(id) = worker else { continue };
            let lease = LeaseId(self.ids.draw());
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.leases.insert(lease);
            }
            chosen.push((job, id, lease));
            free -= 1;
            if free == 0 {
                break;
            }
        }
        for (job, worker, lease) in chosen {
            self.lease_out(now, job, worker, lease, effects);
        }
    }

    pub(super) fn lease_out(
        &mut self,
        now: Millis,
        job: JobId,
        worker_id: WorkerId,
        lease: LeaseId,
        effects: &mut Vec<Effect>,
    ) {
        self.queue.remove(job);
        let Some(worker) = self.workers.get(&worker_id) else { return };
        let Some(live) = self.jobs.get_mut(&job) else { return };
        let prover = worker.as_prover(worker_id);
        live.lease = Some(lease);
        live.record.state = JobState::Leased;
        live.record.attempts += 1;
        live.record.prover = Some(prover.clone());
        live.record.started_at = Some(now);
        live.record.updated_at = now;
        let attempt = AttemptRecord {
            lease,
            job,
            prover,
            started_at: now,
            ended_at: None,
            outcome: AttemptOutcome::Running,
            failure_class: None,
            message: None,
            proof: None,
        };
        effects.push(Effect::Save(Change::Job(live.record.clone())));
        effects.push(Effect::Save(Change::Attempt(attempt.clone())));
        let message = ToWorker::Prove {
            lease_id: lease,
            spec: live.record.spec.clone(),
            program: live.record.program_blob,
            stdin: live.record.stdin_blob,
        };
        effects.push(Effect::Send(worker_id, message));
        let held = Lease { job, attempt, upload: None, progress: None, checking: false };
        self.leases.insert(lease, held);
    }

    pub(super) fn start_check(
        &mut self,
        now: Millis,
        lease: LeaseId,
        execution: Execution,
        proof: ArtifactId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        held.checking = true;
        let Some(live) = self.jobs.get_mut(&held.job) else { return };
        live.record.execution = Some(execution);
        live.record.state = JobState::Verifying;
        live.record.updated_at = now;
        effects.push(Effect::Save(Change::Job(live.record.clone())));
        let claim = Claim::new(&live.record.spec, &execution, held.attempt.prover.backend);
        effects.push(Effect::Check { lease, proof, claim });
    }

    pub(super) fn drop_worker(
        &mut self,
        now: Millis,
        id: WorkerId,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        let Some(worker) = self.workers.remove(&id) else { return };
        for lease in worker.leases {
            if self.job_of(id, lease).is_some() {
                self.interrupt(now, lease, reason, effects);
            }
        }
    }

    /// An attempt ends because its worker went away. If the proof is already here, it counts.
    pub(super) fn interrupt(
        &mut self,
        now: Millis,
        lease: LeaseId,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get(&lease) else { return };
        let job = held.job;
        let execution = self.jobs.get(&job).and_then(|live| live.record.execution);
        if let (Some((artifact, _)), Some(execution)) = (held.upload, execution) {
            self.start_check(now, lease, execution, artifact, effects);
            return;
        }
        let message = format!("the Contemplant went away: {reason}");
        self.end_attempt(now, lease, AttemptOutcome::Lost, Some((None, message)), effects);
        self.retry_later(now, job, effects);
    }

    pub(super) fn retry_later(&mut self, now: Millis, job: JobId, effects: &mut Vec<Effect>) {
        if let Some(live) = self.jobs.get_mut(&job) {
            live.interruptions += 1;
            live.not_before = Millis(now.0 + rest_after_interruptions(live.interruptions).0);
            self.enqueue(now, job, effects);
        }
    }

    pub(super) fn fail_attempt(
        &mut self,
        now: Millis,
        lease: LeaseId,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get(&lease) else { return };
        let (job, worker) = (held.job, held.attempt.prover.worker);
        let detail = Some((Some(failure.class), failure.message.clone()));
        self.end_attempt(now, lease, AttemptOutcome::Failed, detail, effects);
        let Some(live) = self.jobs.get_mut(&job) else { return };
        live.record.failure = Some(failure.clone());
        match failure.class {
            FailureClass::Guest => {
                self.end_job(now, job, End::Unexecutable(failure), effects);
            }
            FailureClass::Request if failure.cause.is_some() => {
                self.end_job(now, job, End::Unexecutable(failure), effects);
            }
            FailureClass::Request => self.end_job(now, job, End::Failed(failure), effects),
            FailureClass::Infrastructure => self.retry_later(now, job, effects),
            FailureClass::Worker => {
                live.failed_on.insert(worker);
                live.worker_failures += 1;
                let given_up = live.worker_failures >= self.limits.max_attempts;
                self.stats.entry(worker).or_default().strikes += 1;
                if given_up {
                    self.end_job(now, job, End::Failed(failure), effects);
                } else {
                    self.enqueue(now, job, effects);
                }
            }
        }
    }

    /// Closes a lease. The slot stays taken until the worker says that it is free.
    pub(super) fn end_attempt(
        &mut self,
        now: Millis,
        lease: LeaseId,
        outcome: AttemptOutcome,
        detail: Option<(Option<FailureClass>, String)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.remove(&lease) else { return };
        if let Some(live) = self.jobs.get_mut(&held.job) {
            live.lease = None;
        }
        let mut attempt = held.attempt;
        attempt.ended_at = Some(now);
        attempt.outcome = outcome;
        if let Some((class, message)) = detail {
            attempt.failure_class = class;
            attempt.message = Some(message);
        }
        if outcome == AttemptOutcome::Completed {
            let stats = self.stats.entry(attempt.prover.worker).or_default();
            stats.completed += 1;
            stats.proof_millis += now.since(attempt.started_at);
        }
        effects.push(Effect::Save(Change::Attempt(attempt)));
    }

    /// Ends one request; the job goes with the last one.
    pub(super) fn end_request(
        &mut self,
        now: Millis,
        id: RequestId,
        state: RequestState,
        effects: &mut Vec<Effect>,
    ) {
        let Some(job) = self.by_request.remove(&id) else { return };
        let Some(live) = self.jobs.get_mut(&job) else { return };
        if let Some(mut request) = live.requests.remove(&id) {
            request.state = state;
            request.updated_at = now;
            let spec = live.record.spec.clone();
            effects.push(Effect::Save(Change::Request(request, spec)));
        }
        if live.requests.is_empty() {
            let end = match state {
                RequestState::Expired => End::Expired,
                _ => End::Cancelled,
            };
            self.end_job(now, job, end, effects);
        } else if live.record.state == JobState::Queued {
            self.queue.insert(job, live.rank());
        }
    }

    /// Ends a job and every request that still waits for it; stops an attempt that is going on.
    pub(super) fn end_job(&mut self, now: Millis, job: JobId, end: End, effects: &mut Vec<Effect>) {
        let Some(mut live) = self.jobs.remove(&job) else { return };
        self.queue.remove(job);
        self.by_key.remove(&live.record.key);
        let record = &mut live.record;
        let (state, request_state, why) = match end {
            End::Proved(proof) => {
                record.proof = Some(proof);
                record.failure = None;
                (JobState::Proved, RequestState::Fulfilled, "proved")
            }
            End::Unexecutable(failure) => {
                record.failure = Some(failure);
                (JobState::Unexecutable, RequestState::Unexecutable, "unexecutable")
            }
            End::Failed(failure) => {
                record.failure = Some(failure);
                (JobState::Failed, RequestState::Failed, "failed")
            }
            End::Cancelled => (JobState::Cancelled, RequestState::Cancelled, "cancelled"),
            End::Expired => (JobState::Expired, RequestState::Expired, "past its deadline"),
        };
        record.state = state;
        record.updated_at = now;
        record.finished_at = Some(now);
        for (id, mut request) in std::mem::take(&mut live.requests) {
            self.by_request.remove(&id);
            request.state = request_state;
            request.updated_at = now;
            request.fulfilled_at = (request_state == RequestState::Fulfilled).then_some(now);
            effects.push(Effect::Save(Change::Request(request, live.record.spec.clone())));
        }
        if let Some(lease) = live.lease {
            let worker = self.leases.get(&lease).map(|held| held.attempt.prover.worker);
            let detail = Some((None, format!("the job is {why}")));
            self.end_attempt(now, lease, AttemptOutcome::Cancelled, detail, effects);
            if let Some(worker) = worker {
                let reason = format!("the job is {why}");
                effects.push(Effect::Send(worker, ToWorker::Cancel { lease_id: lease, reason }));
            }
        }
        effects.push(Effect::Save(Change::Job(live.record)));
    }
}

pub(super) fn open_request(now: Millis, new: &NewRequest, job: JobId) -> RequestRecord {
    RequestRecord {
        id: new.id,
        job,
        requester: new.requester,
        network_mode: new.network_mode,
        strategy: new.strategy,
        version: new.version.clone(),
        stdin_uri: new.stdin_uri.clone(),
        stdin_private: new.stdin_private,
        deadline: new.deadline,
        min_auction_period: new.min_auction_period,
        whitelist: new.whitelist.clone(),
        state: RequestState::Open,
        created_at: now,
        updated_at: now,
        fulfilled_at: None,
    }
}
