//! Second attempts at tasks of slow workers, by workers that have nothing else to do.

use hierophant_model::records::Millis;
use network_lib::ids::{JobId, LeaseId, WorkerId};

use super::{Effect, MAX_EFFECTS, ProofsCore};
use crate::proofs::fleet::TaskShape;
use crate::proofs::shards::Offer;

impl ProofsCore {
    /// Begins second attempts at tasks that are late, on workers with a free place. Runs after `dispatch`, because waiting
    /// tasks come first.
    pub(super) fn race_tasks(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let late = |(job, division): (&JobId, &super::divisions::Division)| {
            division.tasks.has_late(now).then_some(*job)
        };
        let jobs: Vec<_> = self.divisions.jobs.iter().filter_map(late).collect();
        if self.paused.is_some() || jobs.is_empty() {
            return;
        }
        self.update_index();
        let idle: Vec<_> = self.workers.open_for_tasks(false).iter().copied().collect();
        for worker in idle {
            // The next sweep goes on.
            if effects.len() >= MAX_EFFECTS {
                return;
            }
            let mut jobs = jobs.iter();
            let _ = jobs.any(|job| self.race_task(now, *job, worker, effects));
        }
    }

    /// Begins one second attempt on a worker. Returns whether there was a task for it.
    fn race_task(
        &mut self,
        now: Millis,
        job: JobId,
        id: WorkerId,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        let Some(sharding) = &worker.capabilities.sharding else { return false };
        let private = self.is_private(job);
        if !worker.may_get(private) {
            return false;
        }
        let Some(division) = self.divisions.jobs.get_mut(&job) else { return false };
        let shape = TaskShape::of(&sharding.engine, &division.tasks, private);
        let kinds = sharding.kinds_of(shape.mode);
        let kinds = division.shortages.allowed(kinds, (id, worker), &self.workers, shape);
        let places = worker.task_places(false);
        if worker.tasks.len() >= self.divisions.demand.limit(places, (id, worker), shape, &kinds) {
            return false;
        }
        let offer = Offer {
            worker: id,
            engine: &sharding.engine,
            kinds: &kinds,
            max_elements: sharding.max_elements,
            slots: usize::MAX,
            others: &[],
        };
        let Some(task) = division.tasks.race_for(now, &offer) else { return false };
        let decided = division.tasks.race(now, (LeaseId(self.ids.draw()), task), &offer);
        let is_begun = !decided.is_empty();
        self.carry_out(now, job, decided, effects);
        is_begun
    }
}
