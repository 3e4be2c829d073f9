//! Traces of proofs.
//!
//! The trace id of a job is the job's id. Spans are exported from stored records when they end, so that a trace
//! continues across restarts and is complete whichever process ends the job.
//!
//! ```text
//! proof                 a job from its acceptance to its end
//! ├ RequestProof        a call that asked for it, linked to the caller's own trace
//! ├ queue               until its first attempt
//! ├ attempt             one for each; the worker's spans are below it
//! │ └ verify            the check of its proof
//! └ task                one for each attempt at a task, if several workers make the proof; likewise
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, Change, JobRecord, JobState, Millis, attempt_span,
};
use hierophant_model::text::short_request_id;
use network_lib::ids::{JobId, LeaseId, RequestId};
use network_lib::job::{Failure, ProofMode};
use network_lib::trace::{self, Span, SpanContext};

/// Root span of a job's trace.
#[must_use]
pub fn job_span_context(job: JobId) -> SpanContext {
    let [a, b, c, d, e, f, g, h, ..] = job.0;
    trace::span_context(job.0, [a, b, c, d, e, f, g, h])
}

/// Span of an attempt in its job's trace. It does not reveal the lease, which is a credential.
#[must_use]
pub fn attempt_span_context(job: JobId, lease: LeaseId) -> SpanContext {
    trace::span_context(job.0, attempt_span(lease))
}

/// Exports the spans that end with a stored change.
pub fn changed(change: &Change) {
    if !trace::is_on() {
        return;
    }
    match change {
        Change::Job(job) => job_changed(job),
        Change::Attempt(attempt) => attempt_changed(attempt),
        _ => {}
    }
}

/// Exports the span of a client's call for a proof. `caller` is its span in a trace of its own, if it sent one.
pub fn requested(job: JobId, request: RequestId, started: Millis, caller: Option<&SpanContext>) {
    let root = job_span_context(job);
    let span = |context: &SpanContext| {
        Span::new("RequestProof", context, at(started), at(Millis::now()))
            .as_server()
            .with("job", job.to_string())
            .with("request", short_request_id(request))
    };
    trace::record(span(&trace::sibling_context(&root)).under(&root).linked(caller));
    if let Some(caller) = caller {
        trace::record(span(&trace::sibling_context(caller)).under(caller).linked(Some(&root)));
    }
}

/// Exports the span of a verification.
pub fn verified(
    job: JobId,
    lease: LeaseId,
    mode: ProofMode,
    started: Millis,
    verdict: &Result<(), Failure>,
) {
    let attempt = attempt_span_context(job, lease);
    let span =
        Span::new("verify", &trace::sibling_context(&attempt), at(started), at(Millis::now()));
    let reason = verdict.as_ref().err().map(ToString::to_string);
    trace::record(span.under(&attempt).with("mode", mode.as_str()).failed(reason));
}

fn job_changed(job: &JobRecord) {
    let root = job_span_context(job.id);
    if let (JobState::Leased, 1, Some(started)) = (job.state, job.attempts, job.started_at) {
        let context = trace::sibling_context(&root);
        trace::record(Span::new("queue", &context, at(job.created_at), at(started)).under(&root));
    }
    if let (true, Some(finished)) = (job.state.is_terminal(), job.finished_at) {
        let ended_well = matches!(job.state, JobState::Proved | JobState::Cancelled);
        let reason = match &job.failure {
            Some(failure) => failure.to_string(),
            None => job.state.to_string(),
        };
        let mut span = Span::new("proof", &root, at(job.created_at), at(finished))
            .with("job", job.id.to_string())
            .with("mode", job.spec.mode.as_str())
            .with("program", job.spec.vk_hash.to_string())
            .with("state", job.state.as_str())
            .with("attempts", i64::from(job.attempts))
            .failed((!ended_well).then_some(reason));
        if let Some(execution) = job.execution {
            span = span.with("cycles", i64::try_from(execution.cycles).unwrap_or(i64::MAX));
        }
        trace::record(span);
    }
}

fn attempt_changed(attempt: &AttemptRecord) {
    let Some(ended) = attempt.ended_at else { return };
    let ended_well = matches!(
        attempt.outcome,
        AttemptOutcome::Completed | AttemptOutcome::Cancelled | AttemptOutcome::GivenBack
    );
    let reason = attempt.message.clone().unwrap_or_else(|| attempt.outcome.to_string());
    let context = attempt_span_context(attempt.job, attempt.lease);
    let name = if attempt.task.is_some() { "task" } else { "attempt" };
    let mut span = Span::new(name, &context, at(attempt.started_at), at(ended))
        .under(&job_span_context(attempt.job))
        .with("worker", attempt.prover.worker.to_string())
        .with("contemplant", attempt.prover.name.clone())
        .with("backend", attempt.prover.backend.as_str())
        .with("outcome", attempt.outcome.as_str())
        .failed((!ended_well).then_some(reason));
    if let Some(task) = attempt.task {
        span = span.with("task", task.id.to_string()).with("kind", task.kind.as_str());
    }
    trace::record(span);
}

fn at(time: Millis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.since(Millis(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_contexts_are_the_same_in_every_process_and_reveal_no_lease() {
        let (job, lease) = (JobId([7; 16]), LeaseId([9; 16]));
        assert_eq!(job_span_context(job), job_span_context(job));
        assert_eq!(job_span_context(job).trace_id().to_string(), job.to_string());
        let attempt = attempt_span_context(job, lease);
        assert_eq!(attempt, attempt_span_context(job, lease));
        assert_eq!(attempt.trace_id(), job_span_context(job).trace_id());
        assert!(!lease.to_string().contains(&attempt.span_id().to_string()));
        assert_ne!(attempt, attempt_span_context(job, LeaseId([8; 16])));
    }
}
