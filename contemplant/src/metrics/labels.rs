//! Labels of the metrics.

use network_lib::metrics::EncodeLabelSet;

/// How an attempt ended; `class` is empty unless it failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) outcome: &'static str,
    pub(super) class: &'static str,
}

/// Kind of proof and phase of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PhaseLabels {
    pub(super) mode: &'static str,
    pub(super) phase: &'static str,
}

/// Kind of proof.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModeLabels {
    pub(super) mode: &'static str,
}

/// Direction of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DirectionLabels {
    pub(super) direction: &'static str,
}

/// A GPU, by its index among those that are served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GpuLabels {
    pub(super) gpu: u32,
}

/// Kind of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TaskLabels {
    pub(super) kind: &'static str,
}

/// Kind of a task, and how an attempt at it ended; `class` is empty unless it failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TaskEndLabels {
    pub(super) kind: &'static str,
    pub(super) outcome: &'static str,
    pub(super) class: &'static str,
}

/// Kind of a task and phase of an attempt at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TaskPhaseLabels {
    pub(super) kind: &'static str,
    pub(super) phase: &'static str,
}
