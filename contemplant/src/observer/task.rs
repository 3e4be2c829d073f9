//! Observation of an attempt at a task: each of its phases is logged, measured and traced.

use std::sync::{Mutex, PoisonError};

use network_lib::ids::LeaseId;
use network_lib::job::Phase;
use network_lib::shard::TaskKind;
use network_lib::trace::{self, Span, SpanContext};

use super::Timestamp;
use crate::attempt::{TaskOrder, TaskOutcome};
use crate::metrics::{Metrics, WAITING};

/// Logs, measures and traces one attempt at a task.
#[derive(Debug)]
pub struct TaskObserver {
    metrics: Metrics,
    kind: TaskKind,
    /// Span contexts of the attempt in the job's trace, and of this worker's part of it.
    contexts: Option<(SpanContext, SpanContext)>,
    log: tracing::Span,
    started_at: Timestamp,
    /// The current step, by its name.
    step: Mutex<Option<(&'static str, Timestamp)>>,
}

impl TaskObserver {
    /// Observes an attempt that starts now.
    #[must_use]
    pub fn start(order: &TaskOrder, metrics: Metrics) -> Self {
        let attempt = order.traceparent.as_deref().and_then(trace::parse);
        let log = tracing::info_span!(
            "task",
            job_id = %order.job,
            task = order.task.hint(),
            // A whole lease id would let a reader of the log download the task's input.
            lease = order.lease_id.hint(),
            kind = %order.kind(),
        );
        let contexts = attempt.map(|context| {
            let work = trace::sibling_context(&context);
            (context, work)
        });
        Self::new(log, metrics, order.kind(), contexts)
    }

    /// Observes the delivery of a result of an earlier process.
    #[must_use]
    pub fn resume(lease_id: LeaseId, kind: TaskKind, metrics: Metrics) -> Self {
        let log = tracing::info_span!("task", lease = lease_id.hint(), kind = %kind);
        Self::new(log, metrics, kind, None)
    }

    fn new(
        log: tracing::Span,
        metrics: Metrics,
        kind: TaskKind,
        contexts: Option<(SpanContext, SpanContext)>,
    ) -> Self {
        metrics.task_started(kind);
        log.in_scope(|| tracing::info!("task started"));
        Self { metrics, kind, contexts, log, started_at: Timestamp::now(), step: Mutex::default() }
    }

    /// The span of log lines about this attempt.
    #[must_use]
    pub const fn log(&self) -> &tracing::Span {
        &self.log
    }

    /// A phase begins.
    pub fn phase(&self, phase: Phase) {
        self.steps_to(Some(phase.as_str()));
    }

    /// It waits for a slot of the prover.
    pub fn waits(&self) {
        self.steps_to(Some(WAITING));
    }

    /// It has ended.
    pub fn ended(&self, outcome: &TaskOutcome) {
        self.steps_to(None);
        let now = Timestamp::now();
        let elapsed = now.clock - self.started_at.clock;
        self.metrics.task_ended(self.kind, outcome);
        let elapsed_seconds = elapsed.as_secs_f64();
        self.log.in_scope(|| match outcome {
            TaskOutcome::Done => tracing::info!(elapsed_seconds, "task done"),
            TaskOutcome::Failed(failure) => {
                tracing::warn!(%failure, elapsed_seconds, "task failed");
            }
            TaskOutcome::Abandoned => tracing::info!(elapsed_seconds, "task abandoned"),
        });
        if let Some((attempt, work)) = &self.contexts {
            let reason = match outcome {
                TaskOutcome::Failed(failure) => Some(failure.to_string()),
                TaskOutcome::Done | TaskOutcome::Abandoned => None,
            };
            let span = Span::new("work", work, self.started_at.wall, now.wall);
            trace::record(span.under(attempt).failed(reason));
        }
    }

    /// Ends the step before and begins another one.
    fn steps_to(&self, name: Option<&'static str>) {
        let now = Timestamp::now();
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *step, name.map(|name| (name, now)));
        drop(step);
        if let Some(name) = name {
            self.log.in_scope(|| tracing::info!(phase = name, "progress"));
        }
        let Some((name, started_at)) = before else { return };
        self.metrics.task_step_ended(self.kind, name, now.clock - started_at.clock);
        if let Some((_, work)) = &self.contexts {
            let context = trace::sibling_context(work);
            trace::record(Span::new(name, &context, started_at.wall, now.wall).under(work));
        }
    }
}
