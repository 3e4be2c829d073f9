//! One attempt as others see it: each of its steps is logged, measured and traced where it happens, whether
//! or not there is a connection at that moment.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use network_lib::ids::LeaseId;
use network_lib::job::{Phase, Progress, ProofMode};
use network_lib::trace::{self, Span, SpanContext};
use tokio::time::Instant;

use crate::attempt::{Job, JobEvent, Outcome};
use crate::metrics::Metrics;

/// Progress of the same step is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(15);

/// An attempt that is observed.
#[derive(Debug)]
pub struct Observed {
    metrics: Metrics,
    /// Not known of proofs of an earlier process.
    mode: Option<ProofMode>,
    /// The attempt's place in the job's trace, and that of the work here.
    places: Option<(SpanContext, SpanContext)>,
    log: tracing::Span,
    began: Moment,
    step: Mutex<Option<Step>>,
}

/// A point in time by both clocks: one for durations, one to compare with other machines.
#[derive(Debug, Clone, Copy)]
struct Moment {
    clock: Instant,
    wall: SystemTime,
}

#[derive(Debug)]
struct Step {
    phase: Phase,
    began: Moment,
    logged: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { clock: Instant::now(), wall: trace::now() }
    }
}

impl Observed {
    /// An attempt that starts now.
    #[must_use]
    pub fn start(job: &Job, metrics: Metrics) -> Self {
        let attempt = job.traceparent.as_deref().and_then(trace::parse);
        let log = tracing::info_span!(
            "job",
            // The trace of a job has the job's id.
            job_id = attempt.as_ref().map(|place| place.trace_id().to_string()),
            // A whole lease id would let a reader of the log fetch the job's input.
            lease = job.lease_id.hint(),
            vk = %job.spec.vk_hash,
            mode = %job.spec.mode,
        );
        let places = attempt.map(|place| {
            let work = trace::sibling_context(&place);
            (place, work)
        });
        Self::new(log, metrics, Some(job.spec.mode), places)
    }

    /// A proof of an earlier process that is handed in now.
    #[must_use]
    pub fn resume(lease_id: LeaseId, metrics: Metrics) -> Self {
        let log = tracing::info_span!("job", lease = lease_id.hint());
        Self::new(log, metrics, None, None)
    }

    fn new(
        log: tracing::Span,
        metrics: Metrics,
        mode: Option<ProofMode>,
        places: Option<(SpanContext, SpanContext)>,
    ) -> Self {
        metrics.attempt_began();
        log.in_scope(|| tracing::info!("attempt started"));
        Self { metrics, mode, places, log, began: Moment::now(), step: Mutex::default() }
    }

    /// The span that log lines about this attempt belong into.
    #[must_use]
    pub const fn log(&self) -> &tracing::Span {
        &self.log
    }

    /// Takes note of what the attempt tells.
    pub fn note(&self, event: &JobEvent) {
        match event {
            JobEvent::Progress(progress) => self.progressed(progress),
            JobEvent::Executed(execution) => self.log.in_scope(|| {
                tracing::info!(cycles = execution.cycles, gas = execution.gas, "executed");
            }),
            JobEvent::Ended(outcome) => self.ended(outcome),
        }
    }

    fn progressed(&self, progress: &Progress) {
        let now = Moment::now();
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = step.as_ref().is_none_or(|step| step.phase != progress.phase);
        if is_new {
            let begins = Step { phase: progress.phase, began: now, logged: now.clock };
            if let Some(over) = step.replace(begins) {
                self.step_ended(&over, now);
            }
        }
        let Some(step) = step.as_mut() else { return };
        if is_new || now.clock - step.logged >= LOG_INTERVAL {
            step.logged = now.clock;
            self.log.in_scope(|| {
                tracing::info!(
                    phase = %progress.phase,
                    fraction = progress.fraction,
                    cycles_done = progress.cycles_done,
                    cycles_total = progress.cycles_total,
                    eta_seconds = progress.eta_seconds,
                    elapsed_seconds = (now.clock - self.began.clock).as_secs(),
                    "progress"
                );
            });
        }
    }

    fn step_ended(&self, step: &Step, now: Moment) {
        if let Some(mode) = self.mode {
            self.metrics.phase_ended(mode, step.phase, now.clock - step.began.clock);
        }
        if let Some((_, work)) = &self.places {
            let place = trace::sibling_context(work);
            let name = step.phase.as_str();
            trace::record(Span::new(name, &place, step.began.wall, now.wall).under(work));
        }
    }

    fn ended(&self, outcome: &Outcome) {
        let now = Moment::now();
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(over) = step {
            self.step_ended(&over, now);
        }
        let elapsed = now.clock - self.began.clock;
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
            Outcome::Abandoned => tracing::info!(elapsed_seconds, "attempt given up"),
        });
        if let Some((attempt, work)) = &self.places {
            let reason = match outcome {
                Outcome::Failed(failure) => Some(failure.to_string()),
                Outcome::Completed { .. } | Outcome::Abandoned => None,
            };
            let span = Span::new("work", work, self.began.wall, now.wall);
            trace::record(span.under(attempt).failed(reason));
        }
    }
}
