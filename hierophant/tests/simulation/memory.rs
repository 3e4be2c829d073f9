//! What survives a crash of Hierophant: the committed records, and the proofs' bytes.

use std::collections::BTreeMap;

use hierophant::records::{
    AttemptRecord, Change, JobRecord, JobState, Millis, RequestRecord, RequestState,
};
use hierophant::store::UnfinishedJob;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest};
use network_lib::job::FailureClass;

#[derive(Debug, Default)]
pub struct Memory {
    pub jobs: BTreeMap<JobId, JobRecord>,
    pub requests: BTreeMap<RequestId, RequestRecord>,
    pub attempts: BTreeMap<LeaseId, AttemptRecord>,
    pub calls: BTreeMap<Sha256Digest, RequestId>,
    /// Whether a stored proof is what it should be.
    pub genuine: BTreeMap<ArtifactId, bool>,
}

impl Memory {
    pub fn save(&mut self, change: &Change) {
        match change {
            Change::Job(job) => drop(self.jobs.insert(job.id, job.clone())),
            Change::Request(request, spec) => {
                self.calls.insert(request.idempotency_key(spec), request.id);
                self.requests.insert(request.id, request.clone());
            }
            Change::Attempt(attempt) => drop(self.attempts.insert(attempt.lease, attempt.clone())),
            _ => {}
        }
    }

    pub fn unfinished(&self) -> Vec<UnfinishedJob> {
        let unfinished = self.jobs.values().filter(|job| !job.state.is_terminal());
        let with_all = unfinished.map(|job| UnfinishedJob {
            job: job.clone(),
            requests: self
                .requests
                .values()
                .filter(|request| request.job == job.id && request.state == RequestState::Open)
                .cloned()
                .collect(),
            attempts: self.attempts_of(job.id).cloned().collect(),
        });
        with_all.collect()
    }

    pub fn attempts_of(&self, job: JobId) -> impl Iterator<Item = &AttemptRecord> {
        self.attempts.values().filter(move |attempt| attempt.job == job)
    }

    /// An ended job that answers a new request with the same content.
    pub fn ended(&self, key: Sha256Digest, set_aside_since: Millis) -> Option<JobRecord> {
        let by_end = |job: &&JobRecord| job.finished_at;
        let same = || self.jobs.values().filter(|job| job.key == key);
        let proved = same().filter(|job| job.state == JobState::Proved).max_by_key(by_end);
        let blamed = |job: &&JobRecord| {
            let class = job.failure.as_ref().map(|failure| failure.class);
            job.state == JobState::Failed
                && class == Some(FailureClass::Worker)
                && job.finished_at >= Some(set_aside_since)
        };
        proved.or_else(|| same().filter(blamed).max_by_key(by_end)).cloned()
    }
}
