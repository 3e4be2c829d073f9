//! Who works on what: leases, and the workers as the scheduler sees them.

use std::collections::{BTreeMap, BTreeSet};

use network_lib::handshake::{Backend, Capabilities};
use network_lib::ids::{ArtifactId, JobId, LeaseId, WorkerId};
use network_lib::job::{BlobInfo, JobSpec, Progress};

use crate::records::{AttemptRecord, Millis, Prover};

/// One attempt in progress.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// What is stored about the attempt.
    pub attempt: AttemptRecord,
    /// The proof's bytes, once they were handed in.
    pub upload: Option<(ArtifactId, BlobInfo)>,
    /// Latest word from the worker.
    pub progress: Option<Progress>,
    /// Whether the worker is done and the proof is being checked.
    pub checking: bool,
}

/// How a worker has done since Hierophant started.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerStats {
    /// Proofs that were accepted.
    pub completed: u64,
    /// Attempts that failed by the worker's fault.
    pub strikes: u64,
    /// Time from lease to accepted proof, summed over the completed ones.
    pub proof_millis: u64,
}

/// A connected worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Connection that it came by; facts about an older one are stale.
    pub session: u64,
    /// Its name.
    pub name: String,
    /// What it can prove.
    pub capabilities: Capabilities,
    /// Whether it takes no more jobs.
    pub draining: bool,
    /// Attempts that occupy its slots, those that it was told to stop included.
    pub leases: BTreeSet<LeaseId>,
}

impl Worker {
    /// Slots that a job could take now.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        if self.draining {
            return 0;
        }
        let slots = usize::try_from(self.capabilities.slots).unwrap_or(usize::MAX);
        slots.saturating_sub(self.leases.len())
    }

    /// Whether it can prove this.
    #[must_use]
    pub fn fits(&self, spec: &JobSpec) -> bool {
        self.capabilities.modes.contains(&spec.mode)
            && self.capabilities.circuit_versions.contains(&spec.circuit_version)
    }

    /// As it is remembered with a job.
    #[must_use]
    pub fn as_prover(&self, id: WorkerId) -> Prover {
        Prover { worker: id, name: self.name.clone(), backend: self.backend() }
    }

    /// What makes its proofs.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.capabilities.backend
    }
}

/// All connected workers.
pub type Workers = BTreeMap<WorkerId, Worker>;

/// How long a job that was interrupted for the `count`-th time rests before it is given out again.
///
/// The first time not at all: a machine went away and another may take over. After that it doubles up
/// to a minute, so that a broken disk or link does not spin the fleet.
#[must_use]
pub fn rest_after_interruptions(count: u32) -> Millis {
    match count {
        0 | 1 => Millis(0),
        _ => Millis((1000_i64 << (count - 2).min(6)).min(60_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_doubles_up_to_a_minute() {
        let rests: Vec<i64> = (0..12).map(|n| rest_after_interruptions(n).0).collect();
        assert_eq!(
            rests,
            [0, 0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000]
        );
    }
}
