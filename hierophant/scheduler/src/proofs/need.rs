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
    /// Right to private inputs: whether any open request of the job has a private one.
    pub private: bool,
}

/// Need that the jobs and workers of an index share.
pub type SharedNeed = Arc<Need>;

/// Proof that a job is to get.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its specification.
    pub spec: &'a JobSpec,
    /// Whether its input is private.
    pub private: bool,
}

impl Need {
    /// The need of a job.
    #[must_use]
    pub fn of(wanted: Wanted<'_>) -> Self {
        let Wanted { spec, private } = wanted;
        Self { mode: spec.mode, version: spec.circuit_version.clone(), private }
    }

    /// The first one in the order of needs.
    pub(super) const fn lowest() -> Self {
        Self { mode: ProofMode::ALL[0], version: String::new(), private: false }
    }
}
