//! A store that does not answer for a while, as a database that fails over: decisions go on, and nothing of them is
//! stored, sent or answered before it does.

use hierophant_model::records::{AttemptOutcome, JobState, Millis};
use hierophant_scheduler::proofs::core::Effect;
use network_lib::wire::ToWorker;
use rand::Rng;

use super::super::clients::FIRST_FAILING;
use super::super::workers::{MAX_MEMORY, Temper};
use super::{CALM, Event, MINUTE, SECOND, STORM, Tally, World};

/// Longest time for which the program waits for its store.
pub(super) const PATIENCE: i64 = 60 * SECOND;

/// Duration of a stall that must not cost anything.
const HARMLESS: i64 = 45 * SECOND;

impl World {
    /// A world in which nothing goes wrong but the store.
    pub fn stalling(seed: u64) -> Self {
        let mut world = Self::new(seed);
        (world.storm, world.racing) = (false, false);
        for worker in &mut world.workers {
            (worker.temper, worker.memory) = (Temper::Honest, MAX_MEMORY);
            // A private request that joins a job of workers without the right has it made again.
            worker.private_inputs = true;
        }
        for client in &mut world.clients {
            client.content %= FIRST_FAILING;
            (client.cancels, client.impatient, client.guest_fails) = (false, false, false);
        }
        world
    }

    /// Lets the store stall again and again while jobs are made. No job may be attempted twice, and no proof be thrown
    /// away; that no worker gets more than it takes is checked with every job.
    pub fn run_stalls(&mut self) -> Tally {
        self.at(0, Event::Start);
        self.at(0, Event::Sweep);
        for n in 0..self.workers.len() {
            self.at(0, Event::WorkerStart(n));
        }
        for n in 0..self.clients.len() {
            let delay = self.rng.random_range(0..STORM);
            self.at(delay, Event::Ask(n));
        }
        let mut next = 0;
        while next < STORM {
            next += self.rng.random_range(MINUTE..3 * MINUTE);
            self.at(next, Event::Stall(HARMLESS));
        }
        let end = Millis(self.now.0 + STORM + CALM);
        while self.now < end && (self.now.0 < end.0 - CALM || !self.all_ended()) {
            self.until(Millis(self.now.0 + MINUTE));
        }
        self.check_ends();
        for job in self.memory.jobs.values() {
            assert_eq!(job.state, JobState::Proved, "{job:?}");
            let begun = |outcome: &AttemptOutcome| *outcome != AttemptOutcome::GivenBack;
            let outcomes = self.memory.attempts_of(job.id).map(|attempt| attempt.outcome);
            let begun: Vec<_> = outcomes.filter(begun).collect();
            let why: Vec<_> = self.memory.attempts_of(job.id).map(|it| &it.message).collect();
            assert_eq!(begun, [AttemptOutcome::Completed], "attempted again: {why:?}, {job:?}");
        }
        assert_eq!(self.tally.wasted, 0, "a proof was thrown away");
        self.tally.attempts = self.memory.attempts.len() as u64;
        self.tally.clone()
    }

    pub(super) fn stall(&mut self, duration: i64) {
        if self.hierophant.is_some() && !self.stalled {
            self.tell("the store stalls".into());
            self.tally.stalls += 1;
            self.stalled = true;
            self.at(duration, Event::StoreAnswers(self.boot));
        }
    }

    pub(super) fn store_answers(&mut self, boot: u64) {
        if !self.stalled || boot != self.boot {
            return;
        }
        self.tell(format!("the store answers; decisions: {}", self.undone.len()));
        // What is decided from now on comes behind.
        while let Some(effects) = self.undone.pop_front() {
            let is_job =
                |effect: &Effect| matches!(effect, Effect::Send(_, ToWorker::Prove { .. }));
            let jobs = effects.iter().filter(|(_, effect)| is_job(effect)).count();
            self.tally.given_out_late += jobs as u64;
            if !self.commit(effects) {
                return;
            }
        }
        self.stalled = false;
    }
}
