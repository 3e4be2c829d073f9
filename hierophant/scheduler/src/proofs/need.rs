//! What a job needs of its worker.

use std::sync::Arc;

use network_lib::job::{JobSpec, ProofMode};

/// What a job needs of its worker, apart from memory: jobs of the same need fit the same workers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Kind of proof.
    pub mode: ProofMode,
    /// Circuit version.
    pub version: String,
}

/// Need that the jobs and workers of an index share.
pub type SharedNeed = Arc<Need>;

impl Need {
    /// The need of a job.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        Self { mode: spec.mode, version: spec.circuit_version.clone() }
    }

    /// The first one in the order of needs.
    pub(super) const fn lowest() -> Self {
        Self { mode: ProofMode::ALL[0], version: String::new() }
    }
}
