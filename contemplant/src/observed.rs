//! One attempt as others see it: each of its steps is logged, measured and traced where it happens, whether
//! or not there is a connection at that moment.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use network_lib::ids::LeaseId;
use network_lib::job::{Phase, Progress, ProofMode};
use network_lib::trace::{self, Span, SpanContext};
use tokio::time::Instant;

use crate::executor::{JobEvent, Outcome};
use crate::metrics::Metrics;
use crate::runner::{Job, lease_hint};

/// Progress of the same step is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(15);

/// An attempt that is observed.
#[derive(Debug)]
pub(crate) struct Observed {
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
    pub(crate) fn start(job: &Job, metrics: Metrics) -> Self {
        let attempt = job.traceparent.as_deref().and_then(trace::parse);
        let log = tracing::info_span!(
            "job",
            // The trace of a job has the job's id.
            job_id = attempt.as_ref().map(|place| place.trace_id().to_string()),
            // A whole lease id would let a reader of the log fetch the job's input.
            lease = lease_hint(job.lease_id),
            vk = %job.spec.vk_hash,
            mode = %job.spec.mode,
        );
        let places = attempt.map(|place| {
            let work = trace::place_beside(&place);
            (place, work)
        });
        Self::new(log, metrics, Some(job.spec.mode), places)
    }

    /// A proof of an earlier process that is handed in now.
    pub(crate) fn resume(lease_id: LeaseId, metrics: Metrics) -> Self {
        let log = tracing::info_span!("job", lease = lease_hint(lease_id));
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
    pub(crate) const fn log(&self) -> &tracing::Span {
        &self.log
    }

    /// Takes note of what the attempt tells.
    pub(crate) fn note(&self, event: &JobEvent) {
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
            let place = trace::place_beside(work);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Result, Write};
    use std::sync::Arc;

    use network_lib::ids::{Sha256Digest, VkHash};
    use network_lib::job::{BlobInfo, Execution, JobSpec};
    use network_lib::metrics::Counter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn job() -> Job {
        let blob = BlobInfo { size: 1, sha256: Sha256Digest([0; 32]) };
        Job {
            lease_id: LeaseId([0x5b; 16]),
            spec: JobSpec {
                vk_hash: VkHash([7; 32]),
                circuit_version: "v6.1.0".to_owned(),
                mode: ProofMode::Core,
                cycle_limit: 0,
                gas_limit: 0,
            },
            program: blob,
            stdin: blob,
            traceparent: Some(format!("00-{}-{}-01", "3a".repeat(16), "0b".repeat(8))),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_line_of_an_attempt_has_its_ids_and_progress_is_no_flood() {
        let metrics = Metrics::new(Counter::default());
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let job = job();
        let observed = Observed::start(&job, metrics.clone());
        observed.note(&JobEvent::Progress(Progress::phase(Phase::Downloading)));
        for done in 0..300 {
            observed.note(&JobEvent::Progress(Progress {
                cycles_done: Some(done),
                cycles_total: Some(300),
                ..Progress::phase(Phase::Proving)
            }));
            tokio::time::advance(Duration::from_millis(200)).await;
        }
        let execution =
            Execution { cycles: 300, gas: None, public_values_hash: Sha256Digest([0; 32]) };
        observed.note(&JobEvent::Executed(execution));
        let ended = Outcome::Completed { execution, proof: job.program };
        observed.note(&JobEvent::Ended(ended));
        drop(guard);

        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &lines {
            assert_eq!(line["span"]["job_id"], "3a".repeat(16), "{line}");
            assert_eq!(line["span"]["lease"], "5b5b5b5b", "{line}");
        }
        assert!(!text.contains(&job.lease_id.to_string()), "{text}");
        let said = |message: &str| -> Vec<&serde_json::Value> {
            lines.iter().map(|line| &line["fields"]).filter(|f| f["message"] == message).collect()
        };
        // One for each step, and one every 15 s of the minute.
        let progress = said("progress");
        assert_eq!(progress.len(), 5, "{text}");
        assert_eq!(progress[4]["cycles_done"], 225);
        assert_eq!(progress[4]["elapsed_seconds"], 45);
        assert_eq!((said("attempt started").len(), said("proof handed in").len()), (1, 1));
        let figures = metrics.render();
        for line in [
            r#"contemplant_phase_seconds_sum{mode="core",phase="proving"} 60.0"#,
            r#"contemplant_phase_seconds_count{mode="core",phase="downloading"} 1"#,
            r#"contemplant_proof_seconds_sum{mode="core"} 60.0"#,
            "contemplant_attempts_running 0",
        ] {
            assert!(figures.lines().any(|found| found == line), "{line} is not in\n{figures}");
        }
    }
}
