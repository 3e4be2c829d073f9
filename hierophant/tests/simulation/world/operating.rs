//! What an operator does while everything goes wrong: nothing that changes how a request ends.

use hierophant_model::commands::Command;
use hierophant_model::records::Priority;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::{Event, MINUTE, SECOND, World};

impl World {
    /// In the storm anything, in the calm only that work goes on.
    pub(super) fn operate(&mut self) {
        if self.stalled {
            return self.at(SECOND, Event::Operate);
        }
        if !self.storm {
            if self.decide(|proofs, now| proofs.command(now, &Command::Resume)).is_none() {
                self.at(SECOND, Event::Operate);
            }
            return;
        }
        let delay = self.rng.random_range(5 * SECOND..2 * MINUTE);
        self.at(delay, Event::Operate);
        let unfinished = self.memory.jobs.values().filter(|job| !job.state.is_terminal());
        let unfinished: Vec<_> = unfinished.map(|job| job.id).collect();
        let Some(job) = unfinished.choose(&mut self.rng).copied() else { return };
        let classes = [Priority::Urgent, Priority::Normal, Priority::Low];
        let command = match self.rng.random_range(0..6) {
            0 => Command::Pause("storm".into()),
            1 | 2 => Command::Resume,
            3 => Command::Prioritise(job, classes[self.rng.random_range(0..classes.len())]),
            _ => Command::Requeue(job),
        };
        self.tell(format!("the operator: {command:?}"));
        if let Command::Requeue(job) = command {
            self.memory.requeued.insert(job, self.now);
        }
        self.decide(|proofs, now| proofs.command(now, &command));
    }
}
