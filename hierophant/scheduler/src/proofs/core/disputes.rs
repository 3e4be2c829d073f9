//! What an accepted or a disputed proof says about others.
//!
//! A client may state the digest of the public values that it expects. If a valid proof has another digest, either its
//! worker has proved another input, or the client is wrong. The attempt is therefore disputed, without a strike, and
//! another worker tries. If that worker finds the digest of the first, the request is at fault. If it finds the stated
//! one, the first worker is.

use std::collections::BTreeSet;

use hierophant_model::records::{AttemptOutcome, Change, Millis, ProgramState};
use network_lib::handshake::Backend;
use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::{Execution, Failure, FailureClass};

use super::endings::End;
use super::{Effect, LiveJob, ProofsCore};

/// Number of workers that must agree on a digest before it counts against the request.
const AGREEING: usize = 2;

impl LiveJob {
    /// Digest of the public values that its requests state. All of them state the same one, or none: it is part of
    /// the job's content.
    fn stated_digest(&self) -> Option<Sha256Digest> {
        self.requests.values().next().and_then(|request| request.stated_digest)
    }
}

impl ProofsCore {
    /// Whether an attempt's public values differ from those that the requests of its job state.
    pub(super) fn contradicts_statement(&self, lease: LeaseId) -> bool {
        let Some((found, stated)) = self.found_and_stated(lease) else { return false };
        found.public_values_hash != stated
    }

    fn found_and_stated(&self, lease: LeaseId) -> Option<(Execution, Sha256Digest)> {
        let held = self.leases.get(&lease)?;
        let stated = self.jobs.get(&held.job)?.stated_digest()?;
        Some((held.attempt.execution?, stated))
    }

    /// Ends an attempt whose proof is valid and has other public values than the requests state.
    pub(super) fn dispute(&mut self, now: Millis, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some((found, stated)) = self.found_and_stated(lease) else { return };
        let Some(held) = self.leases.get(&lease) else { return };
        let (job, worker, mut attempt) =
            (held.job, held.attempt.prover.worker, held.attempt.clone());
        let message = format!(
            "public values with digest {}: the request states {stated}",
            found.public_values_hash
        );
        let detail = Some((None, message.clone()));
        self.end_attempt(now, lease, AttemptOutcome::Disputed, detail, effects);
        let max_attempts = self.limits.max_attempts as usize;
        let Some(live) = self.jobs.get_mut(&job) else { return };
        live.failures.last = Some(worker);
        attempt.ended_at = Some(now);
        live.disputed.push(attempt);
        let agreeing = live.disputed.iter().filter(|other| {
            other.execution.is_some_and(|it| it.public_values_hash == found.public_values_hash)
        });
        let workers: Vec<_> = agreeing.map(|other| other.prover.worker).collect();
        let distinct = workers.iter().collect::<BTreeSet<_>>().len();
        // A fleet of one worker cannot confirm itself, but need not prove the same again until the deadline.
        if distinct >= AGREEING || workers.len() >= max_attempts.max(AGREEING) {
            live.record.execution = Some(found);
            let failure = Failure::new(
                FailureClass::Request,
                format!("{message}, and {} attempts agree on the former", workers.len()),
            );
            return self.end_job(now, job, End::Failed(failure), effects);
        }
        let failure = Failure::new(FailureClass::Worker, message);
        self.count_worker_failure(now, job, worker, failure, effects);
    }

    /// Blames the workers whose proofs had other public values than the accepted one.
    pub(super) fn settle_disputes(&mut self, now: Millis, job: JobId, effects: &mut Vec<Effect>) {
        let Some(live) = self.jobs.get_mut(&job) else { return };
        for mut attempt in std::mem::take(&mut live.disputed) {
            let message = "another worker proved the public values that the request states";
            attempt.outcome = AttemptOutcome::Failed;
            attempt.failure_class = Some(FailureClass::Worker);
            attempt.message = Some(message.to_owned());
            let worker = attempt.prover.worker;
            effects.push(Effect::Save(Change::Attempt(attempt)));
            self.strike(now, worker, message, effects);
        }
    }

    /// Notes that an accepted proof has confirmed its program, unless that is known. A mock proof confirms nothing.
    pub(super) fn confirm_program(&self, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        let Some(live) = self.jobs.get(&held.job) else { return };
        if live.program_confirmed || held.attempt.prover.backend == Backend::Mock {
            return;
        }
        let (vk_hash, upload) = (live.record.spec.vk_hash, live.record.program);
        let confirmed = Change::ProgramState(vk_hash, upload, ProgramState::Confirmed);
        effects.push(Effect::Save(confirmed));
    }
}
