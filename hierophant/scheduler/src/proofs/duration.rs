//! Durations of recent proofs, with which running proofs are compared.

use std::collections::VecDeque;

use hierophant_model::records::{JobRecord, JobState, Prover};
use network_lib::ids::{VkHash, WorkerId};
use network_lib::job::{JobSpec, ProofMode};

/// Maximum number of recent proofs that are considered.
pub const MAX_SAMPLES: u32 = 512;

/// A finished proof.
#[derive(Debug, Clone)]
struct Sample {
    program: VkHash,
    mode: ProofMode,
    circuit_version: String,
    worker: WorkerId,
    /// Time from lease to accepted proof.
    millis: u64,
    cycles: Option<u64>,
}

impl Sample {
    fn is_of(&self, spec: &JobSpec) -> bool {
        self.program == spec.vk_hash
            && self.mode == spec.mode
            && self.circuit_version == spec.circuit_version
    }

    /// Whether one worker made it.
    fn is_whole(&self) -> bool {
        self.worker != Prover::FLEET
    }

    /// Duration scaled to another number of cycles.
    fn scaled_to(&self, cycles: Option<u64>) -> u64 {
        match (self.cycles, cycles) {
            (Some(had), Some(has)) if had > 0 => {
                let scaled = u128::from(self.millis) * u128::from(has) / u128::from(had);
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
            _ => self.millis,
        }
    }
}

/// Estimator of proof durations from the latest proofs, the oldest first.
#[derive(Debug, Default)]
pub struct DurationEstimator(VecDeque<Sample>);

impl DurationEstimator {
    /// Records a proof. Has no effect if the job is not proved.
    pub fn record(&mut self, job: &JobRecord) {
        let times = job.started_at.zip(job.finished_at);
        let (JobState::Proved, Some(prover), Some((start, end))) = (job.state, &job.prover, times)
        else {
            return;
        };
        if self.0.len() >= MAX_SAMPLES as usize {
            self.0.pop_front();
        }
        self.0.push_back(Sample {
            program: job.spec.vk_hash,
            mode: job.spec.mode,
            circuit_version: job.spec.circuit_version.clone(),
            worker: prover.worker,
            millis: end.since(start),
            cycles: job.execution.map(|found| found.cycles),
        });
    }

    /// Cycles of the latest proof of a program; `None` if there was none.
    #[must_use]
    pub fn cycles_of(&self, program: VkHash) -> Option<u64> {
        let of_program = self.0.iter().rev().filter(|sample| sample.program == program);
        of_program.filter_map(|sample| sample.cycles).next()
    }

    /// Expected duration of a proof by one worker in milliseconds: the median of the latest proofs of the same program, mode and
    /// version, scaled by cycles where those are known. An estimate is never below the fastest of these proofs,
    /// because much of a proof's time does not depend on its length. `None` if there was no such proof.
    #[must_use]
    pub fn estimate(&self, spec: &JobSpec, cycles: Option<u64>) -> Option<u64> {
        self.median(spec, cycles, Sample::is_whole)
    }

    /// Expected duration from the proofs of one worker.
    #[must_use]
    pub fn estimate_for_worker(
        &self,
        worker: WorkerId,
        spec: &JobSpec,
        cycles: Option<u64>,
    ) -> Option<u64> {
        self.median(spec, cycles, |sample| sample.worker == worker)
    }

    fn median(
        &self,
        spec: &JobSpec,
        cycles: Option<u64>,
        counts: impl Fn(&Sample) -> bool,
    ) -> Option<u64> {
        let such = || self.0.iter().filter(|sample| sample.is_of(spec) && counts(sample));
        let fastest = such().map(|sample| sample.millis).min()?;
        let mut times: Vec<u64> =
            such().map(|sample| sample.scaled_to(cycles).max(fastest)).collect();
        let middle = (times.len() - 1) / 2;
        Some(*times.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use network_lib::handshake::Backend;
    use network_lib::ids::{ArtifactId, JobId, Sha256Digest};
    use network_lib::job::{BlobInfo, Execution};

    use super::*;
    use hierophant_model::records::{Millis, Prover};

    fn proved(worker: u8, seconds: i64, cycles: Option<u64>) -> JobRecord {
        let blob = BlobInfo { size: 1, sha256: Sha256Digest([1; 32]) };
        let execution =
            |cycles| Execution { cycles, gas: None, public_values_hash: Sha256Digest([2; 32]) };
        let worker = WorkerId([worker; 16]);
        let (id, key) = (JobId([1; 16]), Sha256Digest([1; 32]));
        let (program, stdin) = ((ArtifactId([1; 16]), blob), (ArtifactId([2; 16]), blob));
        JobRecord {
            state: JobState::Proved,
            execution: cycles.map(execution),
            proof: Some(ArtifactId([3; 16])),
            prover: Some(Prover { worker, name: "amos".into(), backend: Backend::Cpu }),
            attempts: 1,
            started_at: Some(Millis(1000)),
            finished_at: Some(Millis(1000 + seconds * 1000)),
            ..JobRecord::queued(id, key, spec(ProofMode::Core), program, stdin, Millis(0))
        }
    }

    fn spec(mode: ProofMode) -> JobSpec {
        JobSpec {
            vk_hash: VkHash([7; 32]),
            circuit_version: "v6.1.0".into(),
            mode,
            cycle_limit: 0,
            gas_limit: 0,
        }
    }

    #[test]
    fn the_middle_of_such_proofs_is_usual() {
        let mut durations = DurationEstimator::default();
        let core = spec(ProofMode::Core);
        assert_eq!(durations.estimate(&core, None), None);
        for seconds in [50, 10, 30] {
            durations.record(&proved(1, seconds, None));
        }
        assert_eq!(durations.estimate(&core, None), Some(30_000));
        assert_eq!(durations.estimate(&spec(ProofMode::Plonk), None), None);
        assert_eq!(durations.estimate_for_worker(WorkerId([2; 16]), &core, None), None);
        durations.record(&proved(2, 70, None));
        assert_eq!(durations.estimate_for_worker(WorkerId([2; 16]), &core, None), Some(70_000));
    }

    #[test]
    fn a_longer_execution_takes_longer_and_a_short_one_no_less_than_the_fastest() {
        let mut durations = DurationEstimator::default();
        let core = spec(ProofMode::Core);
        durations.record(&proved(1, 20, Some(100)));
        durations.record(&proved(1, 40, Some(200)));
        assert_eq!(durations.estimate(&core, Some(1000)), Some(200_000));
        assert_eq!(durations.estimate(&core, Some(1)), Some(20_000));
        assert_eq!(durations.estimate(&core, None), Some(20_000));
    }

    #[test]
    fn what_was_not_proved_or_is_long_ago_does_not_count() {
        let mut durations = DurationEstimator::default();
        durations.record(&JobRecord { state: JobState::Failed, ..proved(1, 20, None) });
        assert_eq!(durations.estimate(&spec(ProofMode::Core), None), None);
        durations.record(&proved(1, 20, None));
        for _ in 0..MAX_SAMPLES {
            durations.record(&JobRecord { spec: spec(ProofMode::Plonk), ..proved(1, 5, None) });
        }
        assert_eq!(durations.estimate(&spec(ProofMode::Core), None), None);
        assert_eq!(durations.0.len(), MAX_SAMPLES as usize);
    }
}
