//! Ends of attempts, requests and jobs.

use hierophant_model::records::{
    AttemptOutcome, Change, JobRecord, JobState, Millis, ProgramState, RequestState,
};
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, WorkerId};
use network_lib::job::{Failure, FailureClass, OutOfMemory};
use network_lib::wire::ToWorker;

use super::{Effect, LiveJob, MAX_EFFECTS, ProofsCore, set_active_attempt};
use crate::proofs::lease::rest_after_interruptions;

/// End of a job.
#[derive(Debug)]
pub(super) enum End {
    Proved(ArtifactId),
    Unexecutable(Failure),
    Failed(Failure),
    Cancelled,
    Expired,
}

/// End of a job that is stored in several steps, because the job has many requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    state: JobState,
    of_requests: RequestState,
}

impl End {
    /// The end of a job whose end was not stored completely: its record has the time of the end and what it consists
    /// of.
    pub(super) fn of_half_ended(record: &JobRecord) -> Option<Self> {
        record.finished_at?;
        Some(match (record.proof, record.failure.clone()) {
            (Some(proof), _) => Self::Proved(proof),
            (None, None) => Self::Cancelled,
            (None, Some(failure)) => Self::of_failure(failure),
        })
    }

    /// End of a job by a failure that no other attempt would avoid.
    fn of_failure(failure: Failure) -> Self {
        match failure.class {
            FailureClass::Guest => Self::Unexecutable(failure),
            FailureClass::Request if failure.cause.is_some() => Self::Unexecutable(failure),
            _ => Self::Failed(failure),
        }
    }

    /// Failure because program or input is missing; only the client can upload it again.
    pub(super) fn lost_inputs() -> Self {
        Self::Failed(Failure::new(
            FailureClass::Infrastructure,
            "program or input missing in Hierophant's storage; repeat the request to upload them again",
        ))
    }
}

impl ProofsCore {
    /// Ends an attempt whose outcome was not reported. If its proof is already stored, the attempt counts. If the
    /// job has no other attempt and the worker reconnects before the job is assigned again, the attempt continues.
    /// One that was leased ahead is given back. A worker that is connected is sent a cancellation, because it may run
    /// the attempt nevertheless; then nothing of it can continue.
    ///
    /// A `class` of [`FailureClass::Worker`] counts its worker towards the job's retry budget.
    pub(super) fn interrupt(
        &mut self,
        now: Millis,
        lease: LeaseId,
        class: Option<FailureClass>,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        if self.check_if_handed_in(now, lease, effects) {
            return;
        }
        let Some(held) = self.leases.get(&lease).cloned() else { return };
        let (job, worker) = (held.job, held.attempt.prover.worker);
        if held.is_ahead() {
            let detail = Some((None, reason.to_owned()));
            self.end_attempt(now, lease, AttemptOutcome::GivenBack, detail, effects);
            self.cancel_on_worker(worker, lease, reason, effects);
            return;
        }
        let detail = Some((class, reason.to_owned()));
        self.end_attempt(now, lease, AttemptOutcome::Lost, detail, effects);
        let is_cancelled = self.cancel_on_worker(worker, lease, reason, effects);
        let Some(live) = self.jobs.get_mut(&job) else { return };
        live.failures.last = Some(worker);
        if class == Some(FailureClass::Worker) {
            let failure = Failure::new(FailureClass::Worker, reason);
            return self.count_worker_failure(now, job, worker, failure, effects);
        }
        let may_return = live.leases.is_empty() && !is_cancelled;
        self.set_interrupted(job, may_return.then(|| Box::new(held)));
        self.retry_later(now, job, None, effects);
    }

    /// Ends an attempt that failed. The class decides what happens to the job: a failure by the program or the
    /// request ends it and stops its other attempt, which would fail the same way.
    pub(super) fn fail_attempt(
        &mut self,
        now: Millis,
        lease: LeaseId,
        mut failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        // Stored with the attempt.
        let out_of_memory = failure.out_of_memory.take();
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let (job, worker) = (held.job, held.attempt.prover.worker);
        if let Some(mut what) = out_of_memory.filter(|_| failure.class == FailureClass::Worker) {
            what = match self.workers.get(&worker) {
                Some(machine) => machine.exhausted(what),
                None => OutOfMemory { bytes: None, ..what },
            };
            held.attempt.out_of_memory = Some(what);
            if let Some(live) = self.jobs.get_mut(&job) {
                live.failures.oom.record(worker, held.attempt.prover.backend, what);
            }
            self.doubt_shortage(now, job);
        }
        let detail = Some((Some(failure.class), failure.message.clone()));
        self.end_attempt(now, lease, AttemptOutcome::Failed, detail, effects);
        let Some(live) = self.jobs.get_mut(&job) else { return };
        live.failures.last = Some(worker);
        if failure.refutes_program() {
            let JobRecord { spec, program, .. } = &live.record;
            let refuted = Change::ProgramState(spec.vk_hash, *program, ProgramState::Refuted);
            effects.push(Effect::Save(refuted));
        }
        match failure.class {
            FailureClass::Guest | FailureClass::Request => {
                self.end_job(now, job, End::of_failure(failure), effects);
            }
            FailureClass::Infrastructure => {
                live.failures.interrupted_on(worker);
                self.retry_later(now, job, Some(failure), effects);
            }
            FailureClass::Worker => {
                self.strike(now, worker, &failure.message, effects);
                self.count_worker_failure(now, job, worker, failure, effects);
            }
        }
    }

    /// Counts a failure by a worker's fault. The retry budget counts workers and not failures, so that one broken
    /// machine does not end a job: the job waits for another one until its deadline.
    pub(super) fn count_worker_failure(
        &mut self,
        now: Millis,
        job: JobId,
        worker: WorkerId,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        live.failures.blame(now, worker);
        if live.failures.workers.len() >= self.limits.max_attempts as usize {
            self.set_aside(now, job, failure, effects);
        } else {
            self.return_to_queue(now, job, Some(failure), effects);
        }
    }

    /// Fails a job whose retry budget is spent, so that it does not occupy the fleet.
    fn set_aside(&mut self, now: Millis, job: JobId, failure: Failure, effects: &mut Vec<Effect>) {
        let Some(live) = self.jobs.get(&job) else { return };
        let (times, places) = (live.failures.count(), live.failures.workers.len());
        let plural = |count| if count == 1 { "" } else { "s" };
        let message = format!(
            "set aside after {times} failed attempt{} on {places} worker{}; last failure: {}",
            plural(times),
            plural(places),
            failure.message
        );
        self.end_job(now, job, End::Failed(Failure { message, ..failure }), effects);
    }

    /// Returns a job to the queue after a delay that grows with the number of interruptions.
    fn retry_later(
        &mut self,
        now: Millis,
        job: JobId,
        failure: Option<Failure>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(live) = self.jobs.get_mut(&job) {
            live.interruptions = live.interruptions.saturating_add(1);
            let rest = rest_after_interruptions(live.interruptions);
            live.not_before = Millis(now.0.saturating_add(rest.0));
        }
        self.return_to_queue(now, job, failure, effects);
    }

    /// Returns a job whose attempt has ended to the queue, unless another attempt is running.
    pub(super) fn return_to_queue(
        &mut self,
        now: Millis,
        job: JobId,
        failure: Option<Failure>,
        effects: &mut Vec<Effect>,
    ) {
        let is_over = |live: &LiveJob| live.inputs_lost && live.leases.is_empty();
        if self.jobs.get(&job).is_some_and(|live| is_over(live)) {
            return self.end_job(now, job, End::lost_inputs(), effects);
        }
        self.update(now, job, effects, |record| {
            if failure.is_some() {
                record.failure = failure;
            }
        });
        if self.jobs.get(&job).is_some_and(|live| live.leases.is_empty()) {
            self.enqueue(job);
        }
    }

    /// Ends a lease. The job's record describes this attempt until it is updated from another, unless it was leased
    /// ahead. The slot stays occupied until the worker reports it free; a place ahead is free at once.
    pub(super) fn end_attempt(
        &mut self,
        now: Millis,
        lease: LeaseId,
        outcome: AttemptOutcome,
        detail: Option<(Option<FailureClass>, String)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.remove(lease) else { return };
        let is_ahead = held.is_ahead();
        let mut attempt = held.attempt;
        self.workers.touch(attempt.prover.worker);
        if is_ahead && let Some(worker) = self.workers.get_mut(&attempt.prover.worker) {
            worker.ahead.remove(&lease);
            worker.given_back.insert(lease);
        }
        let overtaken = self.prepared.remove(lease);
        // The record of a job that ends stays that of its last attempt.
        let live = self.jobs.get_mut(&held.job).filter(|live| live.ending.is_none());
        if let Some(live) = live {
            if is_ahead {
                live.ahead = None;
                live.overtaken = overtaken.unwrap_or(0);
                if live.overtaken > 0 {
                    self.overtaken.insert(held.job);
                }
            } else {
                live.leases.remove(&lease);
                set_active_attempt(&mut live.record, &attempt);
            }
        }
        if is_ahead {
            self.regroup(held.job);
        }
        attempt.ended_at = Some(now);
        attempt.outcome = outcome;
        if let Some((class, message)) = detail {
            attempt.failure_class = class;
            attempt.message = Some(message);
        }
        if outcome == AttemptOutcome::Completed && !attempt.prover.is_fleet() {
            let stats = self.stats.entry(attempt.prover.worker).or_default();
            stats.seen_at = now;
            stats.completed += 1;
            stats.proof_millis = stats.proof_millis.saturating_add(now.since(held.started_at));
            self.end_probation(attempt.prover.worker);
        }
        let of_fleet = attempt.prover.is_fleet();
        effects.push(Effect::Save(Change::Attempt(attempt)));
        if of_fleet {
            self.end_division(now, held.job, effects);
        }
    }

    /// Ends one request, and the job with its last request.
    pub(super) fn end_request(
        &mut self,
        now: Millis,
        id: RequestId,
        state: RequestState,
        effects: &mut Vec<Effect>,
    ) {
        let Some(job) = self.open.remove(id) else { return };
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
            return self.end_job(now, job, end, effects);
        }
        if live.record.state == JobState::Queued {
            self.enqueue(job);
        }
        self.recount(job);
    }

    /// Ends a job with its open requests and stops its running attempts.
    ///
    /// With more than some hundred requests the end takes several steps, each of which is stored for itself: the
    /// first one stores what the end is, and the last one that the job has ended. A start in between goes on.
    pub(super) fn end_job(&mut self, now: Millis, job: JobId, end: End, effects: &mut Vec<Effect>) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        if live.ending.is_some() {
            return self.go_on_ending(now, job, effects);
        }
        let record = &mut live.record;
        let (state, of_requests, why) = match end {
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
        record.updated_at = now;
        record.finished_at = Some(now);
        live.ending = Some(Ending { state, of_requests });
        let in_steps = live.requests.len() > MAX_EFFECTS;
        if in_steps {
            if of_requests == RequestState::Cancelled {
                // The record of the end has no failure then.
                record.failure = None;
            }
            effects.push(Effect::Save(Change::Job(record.clone())));
            self.ending.insert(job);
        }
        let attempts = std::mem::take(&mut live.leases).into_iter().chain(live.ahead.take());
        let attempts: Vec<LeaseId> = attempts.collect();
        // Another request for a proof joins; one for content that was cancelled gets a job of its own.
        if !in_steps || of_requests == RequestState::Cancelled {
            self.forget_key(job);
        }
        self.queue.remove(job);
        self.overtaken.remove(&job);
        self.set_interrupted(job, None);
        self.end_requests(now, job, effects);
        for lease in attempts {
            self.stop_attempt(now, lease, &format!("the job is {why}"), effects);
        }
        self.recount(job);
        self.end_empty(now, job, effects);
    }

    /// Continues the end of a job with many requests.
    pub(super) fn go_on_ending(&mut self, now: Millis, job: JobId, effects: &mut Vec<Effect>) {
        self.end_requests(now, job, effects);
        self.end_empty(now, job, effects);
    }

    /// Ends requests of a job that ends, as many as one event takes.
    fn end_requests(&mut self, now: Millis, job: JobId, effects: &mut Vec<Effect>) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        let Some(Ending { of_requests, .. }) = live.ending else { return };
        for _ in 0..MAX_EFFECTS {
            let Some(mut request) = live.requests.pop() else { return };
            self.open.remove(request.id);
            request.state = of_requests;
            request.updated_at = now;
            request.fulfilled_at = (of_requests == RequestState::Fulfilled).then_some(now);
            effects.push(Effect::Save(Change::Request(request, live.record.spec.clone())));
        }
    }

    /// Ends a job that ends and has no requests left.
    fn end_empty(&mut self, now: Millis, job: JobId, effects: &mut Vec<Effect>) {
        let is_empty = |live: &&LiveJob| live.requests.is_empty();
        let ending = self.jobs.get(&job).map(Box::as_ref).filter(is_empty);
        let Some(Ending { state, .. }) = ending.and_then(|live| live.ending) else { return };
        self.forget_key(job);
        self.ending.remove(&job);
        let Some(mut live) = self.jobs.remove(&job) else { return };
        live.record.state = state;
        live.record.updated_at = now;
        self.durations.record(&live.record);
        effects.push(Effect::Save(Change::Job(live.record)));
    }

    /// Lets the next request for the content of a job create another one.
    fn forget_key(&mut self, job: JobId) {
        let Some(live) = self.jobs.get(&job) else { return };
        if self.by_key.get(&live.record.key) == Some(&job) {
            self.by_key.remove(&live.record.key);
        }
    }

    /// Ends an attempt that is no longer needed and cancels it on its worker.
    pub(super) fn stop_attempt(
        &mut self,
        now: Millis,
        lease: LeaseId,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        self.take_from_worker(now, lease, AttemptOutcome::Cancelled, reason, effects);
    }

    /// Ends an attempt with this outcome, and cancels it on its worker.
    pub(super) fn take_from_worker(
        &mut self,
        now: Millis,
        lease: LeaseId,
        outcome: AttemptOutcome,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get(&lease) else { return };
        let worker = held.attempt.prover.worker;
        // While the store stalls, the worker could begin it, and another one be given the job at the same time.
        let is_recalled = held.is_ahead() && held.sent;
        let detail = Some((None, reason.to_owned()));
        self.end_attempt(now, lease, outcome, detail, effects);
        let message = ToWorker::Cancel { lease_id: lease, reason: reason.to_owned() };
        effects.push(if is_recalled {
            Effect::Recall(worker, message)
        } else {
            Effect::Send(worker, message)
        });
    }
}
