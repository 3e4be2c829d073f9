//! Restoration of jobs that are proved as tasks.

use hierophant_model::records::{
    AttemptOutcome, AttemptRecord, AttemptTask, Change, Millis, TaskLease, UnfinishedSharding,
};
use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::{Failure, FailureClass};
use network_lib::shard::TaskKind;

use super::divisions::{Division, TaskAttempt};
use super::{Effect, ProofsCore};
use crate::proofs::shards::{Rows, ShardedJob};

/// Prove slots that are assumed for the window of a running execution: the fleet of the time when it began is not known.
const PROVE_SLOTS: u32 = 100_000;

impl ProofsCore {
    /// Restores the tasks of a job whose attempt continues. Their workers have as much time to return as those of other
    /// attempts.
    pub(super) fn restore_division(
        &mut self,
        now: Millis,
        unfinished: UnfinishedSharding,
        attempts: Vec<AttemptRecord>,
        stored: Vec<Sha256Digest>,
        effects: &mut Vec<Effect>,
    ) {
        let UnfinishedSharding { sharding, tasks } = unfinished;
        let job = sharding.job;
        let running = attempts.into_iter().filter(|it| it.outcome == AttemptOutcome::Running);
        let Some(attempt) = self.attempt_of_fleet(job) else {
            running.for_each(|attempt| lose(now, attempt, effects));
            effects.push(Effect::Save(Change::ShardingEnded(job, now)));
            effects.push(Effect::FreeTaskBlobs(job));
            return;
        };
        let executes: Vec<_> = tasks
            .iter()
            .filter(|task| task.kind == TaskKind::Execute)
            .map(|task| task.id)
            .collect();
        let mut leases = Vec::new();
        for record in running {
            let Some(AttemptTask { id: task, .. }) = record.task else { continue };
            let (lease, worker, started_at) =
                (record.lease, record.prover.worker, record.started_at);
            leases.push(TaskLease { lease, task, worker, started_at });
            let executes = executes.contains(&task);
            let held = TaskAttempt { record, task, executes, sent: true, unlisted_since: None };
            self.divisions.attempts.insert(lease, held);
        }
        let rows = Rows { sharding, tasks, leases, stored };
        let (limits, ids) = (self.limits.sharding.job, self.ids.clone());
        match ShardedJob::restore(now, rows, limits, ids, PROVE_SLOTS) {
            Ok((tasks, restored)) => {
                self.divisions.jobs.insert(job, Division::new(attempt, tasks));
                self.carry_out(now, job, restored, effects);
            }
            Err(error) => {
                let of_job: Vec<_> = self
                    .divisions
                    .attempts
                    .extract_if(.., |_, held| held.record.job == job)
                    .collect();
                of_job.into_iter().for_each(|(_, held)| lose(now, held.record, effects));
                let failure = Failure::new(FailureClass::Infrastructure, error.to_string());
                self.fail_attempt(now, attempt, failure, effects);
            }
        }
    }

    /// Attempts of several workers without rows of tasks cannot go on, unless their proofs are assembled already.
    pub(super) fn fail_undivided(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let is_left = |job: &JobId| !self.divisions.jobs.contains_key(job);
        let left: Vec<LeaseId> = self
            .leases
            .values()
            .filter(|held| held.attempt.prover.is_fleet() && !held.checking && is_left(&held.job))
            .map(|held| held.attempt.lease)
            .collect();
        for lease in left {
            let reason = "the tasks of the job are missing: the job is proved as a whole";
            let failure = Failure::new(FailureClass::Infrastructure, reason);
            self.fail_attempt(now, lease, failure, effects);
        }
    }

    /// The running attempt of several workers at a job, unless its proof is being checked.
    fn attempt_of_fleet(&self, job: JobId) -> Option<LeaseId> {
        let live = self.jobs.get(&job)?;
        let held = live.leases.iter().filter_map(|lease| self.leases.get(lease));
        let mut goes_on = held.filter(|held| held.attempt.prover.is_fleet() && !held.checking);
        goes_on.next().map(|held| held.attempt.lease)
    }
}

fn lose(now: Millis, mut attempt: AttemptRecord, effects: &mut Vec<Effect>) {
    attempt.outcome = AttemptOutcome::Lost;
    attempt.ended_at = Some(now);
    effects.push(Effect::Save(Change::Attempt(attempt)));
}
