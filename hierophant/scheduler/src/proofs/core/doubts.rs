//! Results of tasks that may be false: they are verified one by one, so that their makers are found.

use hierophant_model::records::{Change, Millis};
use network_lib::handshake::Backend;
use network_lib::ids::{JobId, LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{Failure, FailureClass};

use super::{Effect, ProofsCore};
use crate::proofs::{Doubt, DoubtedPart, PartCheck, PartVerdict};

impl ProofsCore {
    /// Has the parts of a rejected proof verified. Returns `false` if they cannot be.
    pub(super) fn doubt_parts(
        &self,
        lease: LeaseId,
        failure: &Failure,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(held) = self.leases.get(&lease) else { return false };
        let division = self.divisions.jobs.get(&held.job);
        let division = division.filter(|division| division.attempt == lease);
        let (Some(division), FailureClass::Worker) = (division, failure.class) else {
            return false;
        };
        let parts = division.tasks.doubted_parts();
        if parts.is_empty() || held.attempt.prover.backend == Backend::Mock {
            return false;
        }
        let doubt = Doubt::Rejected(lease, failure.clone());
        self.check_parts(held.job, doubt, parts, effects)
    }

    /// Has results verified that a worker has found false. Mock results cannot be: they count as false.
    pub(super) fn accused(
        &mut self,
        now: Millis,
        job: JobId,
        (accuser, parts): (WorkerId, Vec<DoubtedPart>),
        effects: &mut Vec<Effect>,
    ) {
        let attempt = self.divisions.jobs.get(&job).map(|division| division.attempt);
        let Some(held) = attempt.and_then(|attempt| self.leases.get(&attempt)) else { return };
        let is_mock = held.attempt.prover.backend == Backend::Mock;
        if !is_mock && self.check_parts(job, Doubt::Accused(accuser), parts.clone(), effects) {
            return;
        }
        let verdict = if is_mock { PartVerdict::False } else { PartVerdict::Unknown };
        for DoubtedPart { blob, .. } in parts {
            self.with_tasks(now, job, effects, |tasks| {
                tasks.judged(now, accuser, blob.sha256, verdict)
            });
        }
    }

    /// Has results verified. Returns `false` if they cannot be, because the common input is lost.
    fn check_parts(
        &self,
        job: JobId,
        doubt: Doubt,
        parts: Vec<DoubtedPart>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(live) = self.jobs.get(&job) else { return false };
        let program = live.record.spec.vk_hash;
        let common = self.divisions.jobs.get(&job).and_then(|division| division.tasks.common());
        let Some(common) = common else { return false };
        let check = PartCheck { job, program, common, doubt, parts };
        effects.push(Effect::CheckParts(Box::new(check)));
        true
    }

    /// The verdicts on results of tasks, in their order.
    pub fn parts_checked(
        &mut self,
        now: Millis,
        check: PartCheck,
        verdicts: &[PartVerdict],
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let PartCheck { job, doubt, parts, .. } = check;
        let judged = parts.iter().map(|part| part.blob.sha256).zip(verdicts.iter().copied());
        match doubt {
            Doubt::Accused(accuser) => {
                for (blob, verdict) in judged {
                    self.with_tasks(now, job, &mut effects, |tasks| {
                        tasks.judged(now, accuser, blob, verdict)
                    });
                }
            }
            Doubt::Rejected(lease, failure) => {
                let is_false = |(blob, verdict)| (verdict == PartVerdict::False).then_some(blob);
                let parts: Vec<_> = judged.filter_map(is_false).collect();
                self.parts_rejected(now, (job, lease), failure, &parts, &mut effects);
            }
        }
        self.dispatch(now, &mut effects);
        effects
    }

    /// A proof was rejected because of these parts, which are made again. Without any the job is proved as a whole.
    fn parts_rejected(
        &mut self,
        now: Millis,
        (job, lease): (JobId, LeaseId),
        failure: Failure,
        parts: &[Sha256Digest],
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get_mut(&lease).filter(|held| held.checking) else { return };
        let Some(division) = self.divisions.jobs.get_mut(&job) else {
            return self.fail_attempt(now, lease, failure, effects);
        };
        if parts.is_empty() {
            return self.fail_attempt(now, lease, failure, effects);
        }
        let decided = match division.tasks.parts_false(now, parts) {
            Ok(decided) => decided,
            Err(error) => {
                let failure = Failure::new(FailureClass::Infrastructure, error.to_string());
                return self.fail_attempt(now, lease, failure, effects);
            }
        };
        division.assembly = None;
        held.checking = false;
        held.attempt.proof = None;
        effects.push(Effect::Save(Change::Attempt(held.attempt.clone())));
        self.update(now, job, effects, |_| ());
        self.carry_out(now, job, decided, effects);
    }
}
