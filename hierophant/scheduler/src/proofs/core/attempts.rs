//! Messages of workers about attempts.

use hierophant_model::records::{AttemptOutcome, Change, Claim, Millis};
use network_lib::ids::{ArtifactId, JobId, LeaseId, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, FailureClass, Memory, Progress};
use network_lib::wire::ToWorker;

use super::endings::End;
use super::{Effect, ProofsCore};

impl ProofsCore {
    /// Records the progress of an attempt.
    pub fn progressed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        progress: Progress,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.job_of(worker, lease).is_none() {
            return effects;
        }
        if let Some(held) = self.leases.get_mut(&lease) {
            held.report(now, progress);
            if held.is_proving {
                self.begin_if_ahead(now, lease, &mut effects);
            }
        }
        self.record_report(now, lease, None, &mut effects);
        effects
    }

    /// Records the execution of an attempt. One beyond the request's limits fails the attempt.
    pub fn executed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        execution: Execution,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(job) = self.job_of(worker, lease) else { return effects };
        if let Some(failure) = self.beyond_limits(job, &execution) {
            let reason = failure.message.clone();
            self.begin_if_ahead(now, lease, &mut effects);
            self.fail_attempt(now, lease, failure, &mut effects);
            self.cancel_on_worker(worker, lease, &reason, &mut effects);
            self.dispatch(now, &mut effects);
            return effects;
        }
        if let Some(held) = self.leases.get_mut(&lease) {
            held.last_progress_at = now;
        }
        self.record_report(now, lease, Some(execution), &mut effects);
        effects
    }

    /// Records that an attempt's proof is stored. Returns whether the attempt is still active; if not, the proof is
    /// of no use.
    pub fn proof_stored(
        &mut self,
        now: Millis,
        lease: LeaseId,
        artifact: ArtifactId,
        blob: BlobInfo,
    ) -> (bool, Vec<Effect>) {
        let mut effects = Vec::new();
        self.begin_if_ahead(now, lease, &mut effects);
        let Some(held) = self.leases.get_mut(&lease).filter(|held| !held.checking) else {
            return (false, effects);
        };
        held.attempt.first_progress_at.get_or_insert(now);
        held.attempt.proof = Some((artifact, blob));
        held.last_progress_at = now;
        effects.push(Effect::Save(Change::Attempt(held.attempt.clone())));
        let job = held.job;
        self.update(now, job, &mut effects, |_| ());
        (true, effects)
    }

    /// Fails an attempt whose program or input is missing, and its job unless another attempt is running.
    pub fn input_lost(&mut self, now: Millis, lease: LeaseId) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(job) = self.leases.get(&lease).map(|held| held.job) else { return effects };
        let Some(live) = self.jobs.get_mut(&job) else { return effects };
        live.inputs_lost = true;
        if live.leases.iter().any(|other| *other != lease) {
            self.stop_attempt(now, lease, "program or input is missing", &mut effects);
            self.update(now, job, &mut effects, |_| ());
        } else {
            self.end_job(now, job, End::lost_inputs(), &mut effects);
        }
        self.dispatch(now, &mut effects);
        effects
    }

    /// Handles a worker's report that an attempt is complete and its proof uploaded.
    pub fn completed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        execution: Execution,
        proof: BlobInfo,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(job) = self.job_of(worker, lease) {
            self.begin_if_ahead(now, lease, &mut effects);
            let handed_in = self.leases.get(&lease).and_then(|held| held.attempt.proof);
            if let Some(failure) = self.beyond_limits(job, &execution) {
                self.fail_attempt(now, lease, failure, &mut effects);
            } else if handed_in.is_some_and(|(_, stored)| stored == proof) {
                self.record_report(now, lease, Some(execution), &mut effects);
                self.check_if_handed_in(now, lease, &mut effects);
            } else {
                let failure = Failure::new(
                    FailureClass::Infrastructure,
                    "the announced proof differs from the uploaded one",
                );
                self.rest_worker(now, worker, &failure.message);
                self.fail_attempt(now, lease, failure, &mut effects);
            }
        }
        self.acknowledge(worker, lease, &mut effects);
        self.dispatch(now, &mut effects);
        effects
    }

    /// Handles a worker's report that an attempt has failed.
    pub fn failed(
        &mut self,
        now: Millis,
        worker: WorkerId,
        lease: LeaseId,
        failure: Failure,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.job_of(worker, lease).is_some() {
            self.begin_if_ahead(now, lease, &mut effects);
            if failure.class == FailureClass::Infrastructure {
                self.rest_worker(now, worker, &failure.message);
            }
            self.fail_attempt(now, lease, failure, &mut effects);
        }
        self.acknowledge(worker, lease, &mut effects);
        self.dispatch(now, &mut effects);
        effects
    }

    /// Handles the verdict on an attempt's proof.
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
        let (job, execution) = (held.job, held.attempt.execution);
        match (verdict, held.attempt.proof) {
            (Ok(()), Some(_)) if self.contradicts_statement(lease) => {
                self.dispute(now, lease, &mut effects);
            }
            (Ok(()), Some((proof, _))) => {
                self.confirm_program(lease, &mut effects);
                self.settle_disputes(now, job, &mut effects);
                self.record_memory_demand(lease);
                self.end_attempt(now, lease, AttemptOutcome::Completed, None, &mut effects);
                if let Some(live) = self.jobs.get_mut(&job) {
                    live.record.execution = execution;
                }
                self.end_job(now, job, End::Proved(proof), &mut effects);
            }
            (Err(failure), _) => {
                if !self.doubt_parts(lease, &failure, &mut effects) {
                    self.fail_attempt(now, lease, failure, &mut effects);
                }
            }
            (Ok(()), None) => {}
        }
        self.dispatch(now, &mut effects);
        effects
    }

    /// Records the memory demand of an accepted proof, at most its worker's memory.
    fn record_memory_demand(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get(&lease) else { return };
        let Some(live) = self.jobs.get(&held.job) else { return };
        let prover = &held.attempt.prover;
        let worker = self.workers.get(&prover.worker);
        let there_is = worker.and_then(|worker| worker.memory(Memory::Main));
        if let Some((peak, there_is)) = held.peak_memory.zip(there_is) {
            let is_news = self.demand.record(&live.record.spec, prover.backend, peak.min(there_is));
            if is_news {
                self.workers.touch_shared();
            }
        }
    }

    /// Starts the verification of an attempt's proof if it is stored and its execution is known. Returns whether it
    /// was started.
    pub(super) fn check_if_handed_in(
        &mut self,
        now: Millis,
        lease: LeaseId,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(held) = self.leases.get_mut(&lease) else { return false };
        let Some(live) = self.jobs.get(&held.job) else { return false };
        let (Some((proof, _)), Some(execution)) = (held.attempt.proof, held.attempt.execution)
        else {
            return false;
        };
        held.checking = true;
        let claim = Claim::new(&live.record.spec, &execution, held.attempt.prover.backend);
        let job = held.job;
        self.update(now, job, effects, |_| ());
        effects.push(Effect::Check { lease, proof, claim });
        true
    }

    /// Failure of a worker whose report is beyond the request's limits: it would have had to stop there. Quotas are
    /// charged by what workers report.
    pub(super) fn beyond_limits(&self, job: JobId, execution: &Execution) -> Option<Failure> {
        let spec = &self.jobs.get(&job)?.record.spec;
        // Neither value limits anything.
        let exceeds = |count, limit| limit != 0 && limit != u64::MAX && count > limit;
        let (unit, count, limit) = match execution.gas {
            _ if exceeds(execution.cycles, spec.cycle_limit) => {
                ("cycles", execution.cycles, spec.cycle_limit)
            }
            Some(gas) if exceeds(gas, spec.gas_limit) => ("gas", gas, spec.gas_limit),
            _ => return None,
        };
        let message = format!(
            "the worker reports {count} {unit}: expected at most the request's limit of {limit}"
        );
        Some(Failure::new(FailureClass::Worker, message))
    }

    /// Frees the slot of an attempt whose end was reported, and acknowledges the report so that it is not repeated.
    fn acknowledge(&mut self, id: WorkerId, lease: LeaseId, effects: &mut Vec<Effect>) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.leases.remove(&lease);
            effects.push(Effect::Send(id, ToWorker::Settled { lease_id: lease }));
        }
    }

    /// Records a worker's report about an attempt, which may include its execution.
    pub(super) fn record_report(
        &mut self,
        now: Millis,
        lease: LeaseId,
        execution: Option<Execution>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let attempt = &mut held.attempt;
        let first_progress_at = attempt.first_progress_at.or(Some(now));
        let found = execution.or(attempt.execution);
        if (first_progress_at, found) == (attempt.first_progress_at, attempt.execution) {
            return;
        }
        (attempt.first_progress_at, attempt.execution) = (first_progress_at, found);
        effects.push(Effect::Save(Change::Attempt(attempt.clone())));
        let job = held.job;
        self.update(now, job, effects, |record| record.execution = execution.or(record.execution));
    }
}
