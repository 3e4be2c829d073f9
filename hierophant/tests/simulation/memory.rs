//! State that survives a crash of Hierophant: committed records and stored proofs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::{
    Accepted, AttemptOutcome, AttemptRecord, Change, JobRecord, JobState, Millis, RequestRecord,
    RequestState, Setting, SettingKind, ShardingRecord, TaskRecord, UnfinishedJob,
    UnfinishedSharding,
};
use hierophant_scheduler::proofs::core::RestoredState;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::FailureClass;

#[derive(Debug, Default)]
pub struct Memory {
    pub jobs: BTreeMap<JobId, JobRecord>,
    pub requests: BTreeMap<RequestId, RequestRecord>,
    pub attempts: BTreeMap<LeaseId, AttemptRecord>,
    /// How many attempts were leased ahead.
    pub ahead: u64,
    pub calls: BTreeMap<Sha256Digest, Accepted>,
    /// Whether a stored proof is valid.
    pub genuine: BTreeMap<ArtifactId, bool>,
    pub settings: BTreeMap<(SettingKind, String), Setting>,
    /// Divisions that have not ended, and their tasks.
    pub shardings: BTreeMap<JobId, ShardingRecord>,
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    /// Bytes of tasks on Hierophant's disk.
    pub blobs: BTreeMap<JobId, BTreeSet<Sha256Digest>>,
    /// When an operator queued a job again the last time.
    pub requeued: BTreeMap<JobId, Millis>,
}

impl Memory {
    pub fn save(&mut self, change: &Change) {
        match change {
            Change::Job(job) => drop(self.jobs.insert(job.id, job.clone())),
            Change::Request(request, spec) => {
                let accepted = Accepted { request: request.id, job: request.job };
                self.calls.insert(request.idempotency_key(spec), accepted);
                self.requests.insert(request.id, request.clone());
            }
            Change::Attempt(attempt) => {
                let old = self.attempts.insert(attempt.lease, attempt.clone());
                if old.is_none() && attempt.outcome == AttemptOutcome::Ahead {
                    self.ahead += 1;
                }
            }
            Change::Set(setting) => {
                self.settings.insert((setting.kind, setting.subject.clone()), setting.clone());
            }
            Change::Sharding(sharding) => {
                self.shardings.insert(sharding.job, sharding.clone());
            }
            Change::ShardingEnded(job, _) => {
                self.shardings.remove(job);
                self.tasks.retain(|_, task| task.job != *job);
            }
            Change::Task(task) => drop(self.tasks.insert(task.id, task.clone())),
            Change::Unset(kind, subject) => drop(self.settings.remove(&(*kind, subject.clone()))),
            _ => {}
        }
    }

    /// State that a start reads.
    pub fn restored_state(&self, strikes_since: Millis) -> RestoredState {
        let mut strikes: Vec<_> = self.strikes(strikes_since).collect();
        strikes.sort_by_key(|(_, at)| *at);
        let finished = self.jobs.values().filter(|job| job.state.is_terminal());
        let mut ended: Vec<_> = finished.cloned().collect();
        ended.sort_by_key(|job| Reverse(job.finished_at));
        let settings = self.settings.values().cloned().collect();
        RestoredState {
            unfinished: self.unfinished(),
            strikes,
            ended,
            settings,
            shardings: self.unfinished_shardings(),
            ..RestoredState::default()
        }
    }

    /// Failures by a worker's fault since then: worker and time.
    pub fn strikes(&self, since: Millis) -> impl Iterator<Item = (WorkerId, Millis)> {
        let strike = move |attempt: &AttemptRecord| {
            let blamed = attempt.outcome == AttemptOutcome::Failed
                && attempt.failure_class == Some(FailureClass::Worker);
            let at = attempt.ended_at.filter(|at| blamed && *at >= since)?;
            Some((attempt.prover.worker, at))
        };
        self.attempts.values().filter_map(strike)
    }

    /// New attempts among the changes.
    pub fn new_attempts(&self, changes: &[&Change]) -> Vec<LeaseId> {
        let new = |change: &&Change| match change {
            Change::Attempt(new) if !self.attempts.contains_key(&new.lease) => Some(new.lease),
            _ => None,
        };
        changes.iter().filter_map(new).collect()
    }

    /// Whether another attempt at the same job is running.
    pub fn is_race(&self, lease: LeaseId) -> bool {
        if self.attempts[&lease].task.is_some() {
            return false;
        }
        let goes_on = |other: &AttemptRecord| {
            other.lease != lease && other.outcome == AttemptOutcome::Running
        };
        self.attempts_of(self.attempts[&lease].job).any(goes_on)
    }

    /// Number of proofs of an attempt that was not stopped while an earlier one was.
    pub fn won_by_racer(&self) -> u64 {
        let won = |attempt: &&AttemptRecord| {
            let beaten = |other: &AttemptRecord| {
                other.outcome == AttemptOutcome::Cancelled && other.started_at < attempt.started_at
            };
            attempt.outcome == AttemptOutcome::Completed
                && self.attempts_of(attempt.job).any(beaten)
        };
        self.attempts.values().filter(won).count() as u64
    }

    fn unfinished_shardings(&self) -> Vec<(UnfinishedSharding, Vec<Sha256Digest>)> {
        let of = |sharding: &ShardingRecord| {
            let job = sharding.job;
            let tasks = self.tasks.values().filter(|task| task.job == job).cloned().collect();
            let stored = self.blobs.get(&job).into_iter().flatten().copied().collect();
            (UnfinishedSharding { sharding: sharding.clone(), tasks }, stored)
        };
        self.shardings.values().map(of).collect()
    }

    /// The start removes bytes of divisions that have ended.
    pub fn clear_ended(&mut self) {
        let shardings = &self.shardings;
        self.blobs.retain(|job, _| shardings.contains_key(job));
    }

    pub fn has_blob(&self, job: JobId, blob: Sha256Digest) -> bool {
        self.blobs.get(&job).is_some_and(|blobs| blobs.contains(&blob))
    }

    fn unfinished(&self) -> Vec<UnfinishedJob> {
        let unfinished = self.jobs.values().filter(|job| !job.state.is_terminal());
        let with_all = unfinished.map(|job| UnfinishedJob {
            job: job.clone(),
            requests: self
                .requests
                .values()
                .filter(|request| request.job == job.id && request.state == RequestState::Open)
                .cloned()
                .collect(),
            attempts: self.all_attempts_of(job.id).cloned().collect(),
        });
        with_all.collect()
    }

    /// Attempts at a whole job.
    pub fn attempts_of(&self, job: JobId) -> impl Iterator<Item = &AttemptRecord> {
        self.all_attempts_of(job).filter(|attempt| attempt.task.is_none())
    }

    fn all_attempts_of(&self, job: JobId) -> impl Iterator<Item = &AttemptRecord> {
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
