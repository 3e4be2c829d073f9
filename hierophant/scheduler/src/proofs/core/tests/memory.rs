//! What a store would hold after the core's effects, as a start reads it.

use hierophant_model::records::UnfinishedJob;

use super::*;

/// Whether a start reads a request of an unfinished job.
fn is_restored(job: &JobRecord, request: &RequestRecord) -> bool {
    let is_again = job.finished_at.is_none() || job.proof.is_none();
    request.state == RequestState::Open || (request.state == RequestState::Fulfilled && is_again)
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) jobs: BTreeMap<JobId, JobRecord>,
    pub(super) requests: BTreeMap<RequestId, RequestRecord>,
    pub(super) attempts: BTreeMap<LeaseId, AttemptRecord>,
    settings: BTreeMap<(SettingKind, String), Setting>,
}

impl Memory {
    pub(super) fn save(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Save(Change::Job(job)) => drop(self.jobs.insert(job.id, job.clone())),
                Effect::Save(Change::Request(request, _)) => {
                    self.requests.insert(request.id, request.clone());
                }
                Effect::Save(Change::Attempt(attempt)) => {
                    self.attempts.insert(attempt.lease, attempt.clone());
                }
                Effect::Save(Change::Set(setting)) => {
                    let key = (setting.kind, setting.subject.clone());
                    self.settings.insert(key, setting.clone());
                }
                Effect::Save(Change::Unset(kind, subject)) => {
                    self.settings.remove(&(*kind, subject.clone()));
                }
                _ => {}
            }
        }
    }

    /// The job of a request.
    pub(super) fn job_of(&self, request: u8) -> &JobRecord {
        &self.jobs[&self.requests[&RequestId([request; 32])].job]
    }

    fn restored_state(&self) -> RestoredState {
        let unfinished = self.jobs.values().filter(|job| !job.state.is_terminal());
        let with_all = unfinished.map(|job| UnfinishedJob {
            job: job.clone(),
            requests: self
                .requests
                .values()
                .filter(|request| request.job == job.id && is_restored(job, request))
                .cloned()
                .collect(),
            attempts: self.attempts.values().filter(|it| it.job == job.id).cloned().collect(),
        });
        let strike = |attempt: &AttemptRecord| {
            let blamed = attempt.outcome == AttemptOutcome::Failed
                && attempt.failure_class == Some(FailureClass::Worker);
            blamed.then_some((attempt.prover.worker, attempt.ended_at?))
        };
        RestoredState {
            unfinished: with_all.collect(),
            strikes: self.attempts.values().filter_map(strike).collect(),
            ended: self.jobs.values().filter(|job| job.state.is_terminal()).cloned().collect(),
            settings: self.settings.values().cloned().collect(),
            ..RestoredState::default()
        }
    }

    pub(super) fn restart(&mut self) -> (ProofsCore, Vec<Effect>) {
        self.restart_with(limits(), &[])
    }

    pub(super) fn restart_at(&mut self, now: Millis) -> (ProofsCore, Vec<Effect>) {
        let state = self.restored_state();
        let (core, effects) = ProofsCore::restore(now, limits(), IdSource::random(), state);
        self.save(&effects);
        (core, effects)
    }

    pub(super) fn restart_with(
        &mut self,
        limits: Limits,
        damaged: &[ArtifactId],
    ) -> (ProofsCore, Vec<Effect>) {
        let state =
            RestoredState { damaged: damaged.iter().copied().collect(), ..self.restored_state() };
        let (core, effects) = ProofsCore::restore(START, limits, IdSource::random(), state);
        self.save(&effects);
        (core, effects)
    }
}
