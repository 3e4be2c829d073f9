//! Metrics of tasks of proofs that many workers make.

use std::time::Duration;

use network_lib::metrics::{Counter, Family, Gauge, Histogram, LONG, Registrar, Seconds};
use network_lib::shard::TaskKind;

use super::labels::{TaskEndLabels, TaskLabels, TaskPhaseLabels};
use super::{Metrics, whole};
use crate::attempt::TaskOutcome;

/// The metrics of tasks.
pub(super) struct TaskFamilies {
    held: Family<TaskLabels, Gauge>,
    ended: Family<TaskEndLabels, Counter>,
    phase: Seconds<TaskPhaseLabels>,
    depot: Gauge,
}

impl TaskFamilies {
    /// Registers all of them.
    pub(super) fn new(to: &mut Registrar) -> Self {
        Self {
            held: to.gauges(
                "tasks_held",
                "attempts at tasks that have not been settled, by `kind` (`execute`, `prove_shard`, `reduce` and so on)",
            ),
            ended: to.counters(
                "tasks_ended",
                "attempts at tasks that ended, by `kind`, `outcome` (`done`, `failed`, `abandoned`) and, if they \
                 failed, `class` of the failure",
            ),
            phase: to.seconds(
                "task_phase",
                "finished phases of attempts at tasks, by `kind` and `phase` (`downloading`, `waiting`, \
                 `executing`, `proving`, `uploading`)",
                || Histogram::new(LONG),
            ),
            depot: to.byte_gauge("depot", "records in the depot"),
        }
    }

    /// Creates the series that alerts read at zero.
    pub(super) fn begin_at_zero(&self) {
        for kind in TaskKind::ALL {
            self.held.get_or_create(&TaskLabels { kind: kind.as_str() }).set(0);
            let ended = |outcome, class| {
                let labels = TaskEndLabels { kind: kind.as_str(), outcome, class };
                drop(self.ended.get_or_create(&labels));
            };
            ended("done", "");
            ended("abandoned", "");
            for class in ["guest", "request", "worker", "infrastructure"] {
                ended("failed", class);
            }
        }
    }
}

impl Metrics {
    /// Counts the start of an attempt at a task.
    pub fn task_started(&self, kind: TaskKind) {
        self.0.tasks.held.get_or_create(&TaskLabels { kind: kind.as_str() }).inc();
    }

    /// Counts the end of an attempt at a task.
    pub fn task_ended(&self, kind: TaskKind, outcome: &TaskOutcome) {
        let kind = kind.as_str();
        let (outcome, class) = match outcome {
            TaskOutcome::Done => ("done", ""),
            TaskOutcome::Failed(failure) => ("failed", failure.class.as_str()),
            TaskOutcome::Abandoned => ("abandoned", ""),
        };
        self.0.tasks.held.get_or_create(&TaskLabels { kind }).dec();
        self.0.tasks.ended.get_or_create(&TaskEndLabels { kind, outcome, class }).inc();
    }

    /// Measures a phase of an attempt at a task.
    pub fn task_step_ended(&self, kind: TaskKind, phase: &'static str, took: Duration) {
        let labels = TaskPhaseLabels { kind: kind.as_str(), phase };
        self.0.tasks.phase.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Shows the bytes of the depot.
    pub fn set_depot(&self, bytes: u64) {
        self.0.tasks.depot.set(whole(bytes));
    }
}
