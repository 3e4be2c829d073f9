//! Observation of an attempt: each of its phases is logged, measured and traced when it happens, whether or not there
//! is a connection at that moment.

pub mod task;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use network_lib::ids::LeaseId;
use network_lib::job::{Phase, Progress, ProofMode};
use network_lib::trace::{self, Span, SpanContext};
use tokio::time::Instant;

use crate::attempt::{Job, JobEvent, Outcome};
use crate::metrics::{Metrics, WAITING};

/// Interval between two log lines about progress in the same phase.
const LOG_INTERVAL: Duration = Duration::from_secs(15);

/// Logs, measures and traces one attempt.
#[derive(Debug)]
pub struct AttemptObserver {
    metrics: Metrics,
    /// Unknown for a proof of an earlier process.
    mode: Option<ProofMode>,
    /// Span contexts of the attempt in the job's trace, and of this worker's part of it.
    contexts: Option<(SpanContext, SpanContext)>,
    log: tracing::Span,
    started_at: Timestamp,
    step: Mutex<Option<Step>>,
}

/// A time by both clocks: the monotonic one for durations, the wall clock to compare with other machines.
#[derive(Debug, Clone, Copy)]
struct Timestamp {
    clock: Instant,
    wall: SystemTime,
}

/// What an attempt does now.
#[derive(Debug)]
struct Step {
    /// Its phase; none while it waits for a slot.
    phase: Option<Phase>,
    started_at: Timestamp,
    logged: Instant,
}

impl Timestamp {
    fn now() -> Self {
        Self { clock: Instant::now(), wall: trace::now() }
    }
}

impl AttemptObserver {
    /// Observes an attempt that starts now.
    #[must_use]
    pub fn start(job: &Job, metrics: Metrics) -> Self {
        let attempt = job.traceparent.as_deref().and_then(trace::parse);
        let log = tracing::info_span!(
            "job",
            // The trace of a job has the job's id.
            job_id = attempt.as_ref().map(|context| context.trace_id().to_string()),
            // A whole lease id would let a reader of the log download the job's input.
            lease = job.lease_id.hint(),
            vk = %job.spec.vk_hash,
            mode = %job.spec.mode,
        );
        let contexts = attempt.map(|context| {
            let work = trace::sibling_context(&context);
            (context, work)
        });
        Self::new(log, metrics, Some(job.spec.mode), contexts)
    }

    /// Observes the upload of a proof of an earlier process.
    #[must_use]
    pub fn resume(lease_id: LeaseId, metrics: Metrics) -> Self {
        let log = tracing::info_span!("job", lease = lease_id.hint());
        Self::new(log, metrics, None, None)
    }

    fn new(
        log: tracing::Span,
        metrics: Metrics,
        mode: Option<ProofMode>,
        contexts: Option<(SpanContext, SpanContext)>,
    ) -> Self {
        metrics.attempt_started();
        log.in_scope(|| tracing::info!("attempt started"));
        Self { metrics, mode, contexts, log, started_at: Timestamp::now(), step: Mutex::default() }
    }

    /// The span of log lines about this attempt.
    #[must_use]
    pub const fn log(&self) -> &tracing::Span {
        &self.log
    }

    /// Records an event of the attempt.
    pub fn record(&self, event: &JobEvent) {
        match event {
            JobEvent::Progress(progress) => self.progressed(progress),
            JobEvent::Executed(execution) => self.log.in_scope(|| {
                tracing::info!(cycles = execution.cycles, gas = execution.gas, "executed");
            }),
            JobEvent::Waiting => {
                self.steps_to(None, Timestamp::now());
                self.log.in_scope(|| tracing::info!("prepared, waits for a free slot"));
            }
            JobEvent::Ended(outcome) => self.ended(outcome),
        }
    }

    fn progressed(&self, progress: &Progress) {
        let now = Timestamp::now();
        let is_new = self.steps_to(Some(progress.phase), now);
        let mut step = self.lock_step();
        let Some(step) = step.as_mut() else { return };
        if is_new || now.clock - step.logged >= LOG_INTERVAL {
            step.logged = now.clock;
            self.log.in_scope(|| {
                tracing::info!(
                    phase = %progress.phase,
                    fraction = progress.fraction,
                    cycles_done = progress.cycles_done,
                    cycles_total = progress.cycles_total,
                    steps_done = progress.steps_done,
                    eta_seconds = progress.eta_seconds,
                    elapsed_seconds = (now.clock - self.started_at.clock).as_secs(),
                    "progress"
                );
            });
        }
    }

    /// Ends the step before, unless it is the same one. Returns whether a new one begins.
    fn steps_to(&self, phase: Option<Phase>, now: Timestamp) -> bool {
        let mut step = self.lock_step();
        if step.as_ref().is_some_and(|step| step.phase == phase) {
            return false;
        }
        if let Some(over) = step.replace(Step { phase, started_at: now, logged: now.clock }) {
            self.step_ended(&over, now);
        }
        true
    }

    fn lock_step(&self) -> MutexGuard<'_, Option<Step>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step_ended(&self, step: &Step, now: Timestamp) {
        let took = now.clock - step.started_at.clock;
        match (self.mode, step.phase) {
            (Some(mode), Some(phase)) => self.metrics.phase_ended(mode, phase, took),
            (Some(mode), None) => self.metrics.waited(mode, took),
            (None, _) => {}
        }
        if let Some((_, work)) = &self.contexts {
            let context = trace::sibling_context(work);
            let name = step.phase.map_or(WAITING, Phase::as_str);
            trace::record(Span::new(name, &context, step.started_at.wall, now.wall).under(work));
        }
    }

    fn ended(&self, outcome: &Outcome) {
        let now = Timestamp::now();
        let step = self.lock_step().take();
        if let Some(over) = step {
            self.step_ended(&over, now);
        }
        let elapsed = now.clock - self.started_at.clock;
        self.metrics.attempt_ended(outcome);
        if let (Outcome::Completed { .. }, Some(mode)) = (outcome, self.mode) {
            self.metrics.proved(mode, elapsed);
        }
        let elapsed_seconds = elapsed.as_secs_f64();
        self.log.in_scope(|| match outcome {
            Outcome::Completed { proof, .. } => {
                tracing::info!(proof_bytes = proof.size, elapsed_seconds, "proof handed in");
            }
            Outcome::Failed(failure) => {
                tracing::warn!(%failure, elapsed_seconds, "attempt failed");
            }
            Outcome::Abandoned => tracing::info!(elapsed_seconds, "attempt abandoned"),
        });
        if let Some((attempt, work)) = &self.contexts {
            let reason = match outcome {
                Outcome::Failed(failure) => Some(failure.to_string()),
                Outcome::Completed { .. } | Outcome::Abandoned => None,
            };
            let span = Span::new("work", work, self.started_at.wall, now.wall);
            trace::record(span.under(attempt).failed(reason));
        }
    }
}
