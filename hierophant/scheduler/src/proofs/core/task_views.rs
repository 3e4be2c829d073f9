//! What is shown of jobs that are proved as tasks.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::TaskState;
use network_lib::ids::{JobId, WorkerId};
use network_lib::shard::TaskKind;

use super::ProofsCore;
use super::divisions::Division;
use crate::proofs::{DividedProof, RunningTask, TaskNumbers, WaitingTask};

impl ProofsCore {
    /// What the unfinished tasks of a job wait for; those in work are left out. Empty for a job that is not divided.
    #[must_use]
    pub fn waiting_tasks_of(&self, job: JobId) -> Vec<WaitingTask> {
        let Some(Division { tasks, .. }) = self.divisions.jobs.get(&job) else { return Vec::new() };
        let waiting = tasks.tasks().filter_map(|task| {
            let (wait, holder) = tasks.waits_for(task)?;
            Some(WaitingTask { task: task.id, wait, holder })
        });
        waiting.collect()
    }

    /// Running attempts at tasks, by worker.
    pub(super) fn running_tasks(&self) -> BTreeMap<WorkerId, Vec<RunningTask>> {
        let mut by_worker: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for held in self.divisions.attempts.values() {
            let Some(task) = held.record.task else { continue };
            by_worker.entry(held.record.prover.worker).or_default().push(RunningTask {
                job: held.record.job,
                task: task.id,
                kind: task.kind,
                started_at: held.record.started_at,
            });
        }
        by_worker
    }

    /// Proofs that several workers make, oldest first.
    pub(super) fn divided_proofs(&self) -> Vec<DividedProof> {
        let mut running: BTreeMap<JobId, BTreeSet<WorkerId>> = BTreeMap::new();
        let mut attempts: BTreeMap<JobId, usize> = BTreeMap::new();
        for held in self.divisions.attempts.values() {
            running.entry(held.record.job).or_default().insert(held.record.prover.worker);
            *attempts.entry(held.record.job).or_default() += 1;
        }
        let divided = self.divisions.jobs.iter().filter_map(|(job, division)| {
            let mut workers = running.remove(job).unwrap_or_default();
            let mut tasks =
                TaskNumbers { running: attempts.remove(job).unwrap_or(0), ..Default::default() };
            for task in division.tasks.tasks() {
                tasks.done += usize::from(task.state == TaskState::Done);
                tasks.all += usize::from(task.state != TaskState::Obsolete);
                workers.extend(task.maker);
            }
            tasks.workers = workers.len();
            Some(DividedProof { proof: self.running(division.attempt)?, tasks })
        });
        let mut divided: Vec<_> = divided.collect();
        divided.sort_by_key(|divided| (divided.proof.started_at, divided.proof.job));
        divided
    }

    /// Number of waiting tasks by kind.
    pub(super) fn waiting_tasks(&self) -> BTreeMap<TaskKind, usize> {
        let mut by_kind = BTreeMap::new();
        let tasks = self.divisions.jobs.values().flat_map(|division| division.tasks.tasks());
        for task in tasks.filter(|task| task.state == TaskState::Waiting) {
            *by_kind.entry(task.kind).or_default() += 1;
        }
        by_kind
    }
}
