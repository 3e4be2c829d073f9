//! In which order divided jobs get workers.

use std::collections::BTreeMap;

use hierophant_model::clients::ClientKey;
use hierophant_model::records::Millis;
use network_lib::ids::JobId;

use super::ProofsCore;

/// Divided jobs with waiting tasks, in the order in which they get the next free worker: the more urgent class first, then
/// the requester with fewer running tasks, then the nearer deadline, then the older job.
#[derive(Debug)]
pub(super) struct TaskTurns {
    jobs: Vec<Turn>,
    /// Number of running tasks of each requester, of its other divided jobs as well.
    running: BTreeMap<ClientKey, usize>,
}

#[derive(Debug)]
struct Turn {
    class: u8,
    requester: ClientKey,
    /// Unix seconds.
    deadline: u64,
    created_at: Millis,
    job: JobId,
}

impl TaskTurns {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The jobs in their order.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.iter().map(|turn| turn.job)
    }

    /// A task of a job was leased.
    pub(super) fn leased(&mut self, job: JobId) {
        let turn = self.jobs.iter().find(|turn| turn.job == job);
        if let Some(requester) = turn.map(|turn| turn.requester) {
            *self.running.entry(requester).or_default() += 1;
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.jobs.sort_by_key(|turn| {
            let running = self.running.get(&turn.requester).copied().unwrap_or_default();
            (turn.class, running, turn.deadline, turn.created_at, turn.job)
        });
    }
}

impl ProofsCore {
    /// The order of the divided jobs now.
    pub(super) fn task_turns(&self) -> TaskTurns {
        let (mut jobs, mut running) = (Vec::new(), BTreeMap::<_, usize>::new());
        for (job, division) in &self.divisions.jobs {
            let Some(live) = self.jobs.get(job) else { continue };
            let requester = live.requester();
            *running.entry(requester).or_default() += division.tasks.running();
            if division.tasks.has_waiting() {
                jobs.push(Turn {
                    class: self.class(live),
                    requester,
                    deadline: live.requests.deadline().unwrap_or(u64::MAX),
                    created_at: live.record.created_at,
                    job: *job,
                });
            }
        }
        let mut turns = TaskTurns { jobs, running };
        turns.sort();
        turns
    }
}
