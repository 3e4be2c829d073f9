//! Tally of a proof's tasks, from which its progress is estimated.
//!
//! Shards are submitted while the program is still being cut up, so their number is unknown at first. But
//! each shard of the execution contains its range of SP1's clock, and the end of the clock is
//! known from the execution before the proof: that gives the done part, and by extrapolation the number of
//! tasks to come. Programs of a few shards finish few tasks; between two of them the estimate is
//! extrapolated from the pace of this proof, or before its first task from that of the last proof, and
//! marked so.

use std::time::Duration;

use sp1_verifier::SP1ProofMode;

/// How many proofs SP1 joins into one.
const ARITY: u64 = 4;

/// A kind of task that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// One shard: of the execution, with the clock ticks that it covers, or of memory and precompiles.
    Shard { ticks: Option<u64> },
    /// Preparing a proof from the program's input.
    Deferred,
    /// Joining proofs.
    Reduce,
    /// Wrapping the one proof for PLONK or Groth16, two steps.
    Wrap,
}

/// Tasks of a proof, submitted and done.
#[derive(Debug, Clone)]
pub struct Tally {
    mode: SP1ProofMode,
    cycles: u64,
    clock_ticks: u64,
    /// From an earlier proof.
    past_pace: Option<f64>,
    submitted: Counts,
    done: Counts,
    /// Those of the done ones whose proofs were there already: they say nothing about the pace.
    found: Counts,
    last_done: Duration,
    all_submitted: bool,
}

/// How far a proof is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Done part of the proof, 0 to 1.
    pub fraction: f32,
    /// Cycles whose shards are done.
    pub cycles_done: u64,
    /// Cycles of the whole execution.
    pub cycles_total: u64,
    /// Tasks that are done, of every kind: measured, whatever is estimated.
    pub tasks_done: u64,
    /// Seconds until the proof is expected; absent until the first task of the first proof is done.
    pub eta_seconds: Option<u64>,
    /// Whether the fraction is more than what was counted, by the pace of earlier tasks or proofs.
    pub extrapolated: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    timed_shards: u64,
    other_shards: u64,
    ticks: u64,
    deferred: u64,
    reduce: u64,
    wrap: u64,
}

impl Counts {
    fn add(&mut self, step: Step) {
        match step {
            Step::Shard { ticks: Some(ticks) } => {
                self.timed_shards += 1;
                self.ticks += ticks;
            }
            Step::Shard { ticks: None } => self.other_shards += 1,
            Step::Deferred => self.deferred += 1,
            Step::Reduce => self.reduce += 1,
            Step::Wrap => self.wrap += 1,
        }
    }

    /// Number of tasks.
    const fn tasks(&self) -> u64 {
        self.timed_shards + self.other_shards + self.deferred + self.reduce + self.wrap
    }

    /// Work in units of about one recursive proof.
    fn units(&self, mode: SP1ProofMode) -> f64 {
        // Beyond core, each shard's proof is also brought into recursive form.
        let shard = if mode == SP1ProofMode::Core { 1 } else { 2 };
        let shards = (self.timed_shards + self.other_shards) * shard;
        (shards + self.deferred + self.reduce + 2 * self.wrap) as f64
    }
}

impl Tally {
    /// A proof of an execution with `cycles` cycles and `clock_ticks` of SP1's clock.
    /// `seconds_per_unit` comes from an earlier proof ([`crate::Node::seconds_per_unit`]).
    #[must_use]
    pub fn new(
        mode: SP1ProofMode,
        cycles: u64,
        clock_ticks: u64,
        seconds_per_unit: Option<f64>,
    ) -> Self {
        Self {
            mode,
            cycles,
            clock_ticks: clock_ticks.max(1),
            past_pace: seconds_per_unit,
            submitted: Counts::default(),
            done: Counts::default(),
            found: Counts::default(),
            last_done: Duration::ZERO,
            all_submitted: false,
        }
    }

    pub(crate) fn submitted(&mut self, step: Step) {
        self.submitted.add(step);
    }

    /// A task was done, `elapsed` after the start.
    pub(crate) fn done(&mut self, step: Step, elapsed: Duration) {
        self.done.add(step);
        self.last_done = elapsed;
    }

    /// A task's proof was there already, from an earlier attempt.
    pub(crate) fn found(&mut self, step: Step) {
        self.done.add(step);
        self.found.add(step);
    }

    /// The program is cut up: no more shards will come.
    pub(crate) fn all_shards_submitted(&mut self) {
        self.all_submitted = true;
    }

    /// Seconds that one unit of work took in this proof, once a task is done.
    pub(crate) fn seconds_per_unit(&self) -> Option<f64> {
        let units = self.done.units(self.mode) - self.found.units(self.mode);
        (units > 0.0).then(|| self.last_done.as_secs_f64() / units)
    }

    /// The estimate at `elapsed` after the start.
    pub(crate) fn estimate(&self, elapsed: Duration) -> Estimate {
        let total = self.expected().units(self.mode);
        let measured = self.done.units(self.mode) / total;
        let in_sight = self.submitted.units(self.mode) / total;
        let found = self.found.units(self.mode);
        let pace = self.seconds_per_unit().or(self.past_pace);
        let expected_seconds = pace.map(|pace| pace * (total - found));
        let fraction = expected_seconds
            .map(|seconds| elapsed.as_secs_f64() / seconds.max(f64::MIN_POSITIVE))
            .map(|guess| (found + guess * (total - found)) / total)
            // Not beyond what is being worked on.
            .map_or(measured, |guess| guess.min(0.98 * in_sight).max(measured))
            .clamp(0.0, 0.99);
        let eta_seconds = expected_seconds
            .map(|seconds| (seconds - elapsed.as_secs_f64()).ceil().max(1.0) as u64);
        let timed = (self.done.ticks as f64 / self.clock_ticks as f64).min(1.0);
        Estimate {
            fraction: fraction as f32,
            cycles_done: (self.cycles as f64 * timed) as u64,
            cycles_total: self.cycles,
            tasks_done: self.done.tasks(),
            eta_seconds,
            extrapolated: fraction > measured,
        }
    }

    /// The expected tasks of the whole proof.
    fn expected(&self) -> Counts {
        let mut expected = self.submitted;
        if !self.all_submitted {
            let covered = self.submitted.ticks as f64 / self.clock_ticks as f64;
            let shards = match covered > 0.0 {
                true => (self.submitted.timed_shards as f64 / covered).ceil() as u64,
                false => 1,
            };
            expected.timed_shards = expected.timed_shards.max(shards);
            // At least the one that settles memory comes last.
            expected.other_shards = expected.other_shards.max(1);
        }
        if self.mode != SP1ProofMode::Core {
            let leaves = expected.timed_shards + expected.other_shards + expected.deferred;
            let joins = leaves.saturating_sub(1).div_ceil(ARITY - 1).max(1);
            expected.reduce = expected.reduce.max(joins);
        }
        if matches!(self.mode, SP1ProofMode::Plonk | SP1ProofMode::Groth16) {
            expected.wrap = 2;
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Step = Step::Shard { ticks: Some(10) };
    const MEMORY: Step = Step::Shard { ticks: None };

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_clock_tells_how_much_is_left_before_the_number_of_shards_is_known() {
        let mut tally = Tally::new(SP1ProofMode::Core, 1000, 100, None);
        tally.submitted(TEN);
        tally.submitted(TEN);
        assert_eq!(tally.estimate(seconds(5)).eta_seconds, None);
        tally.done(TEN, seconds(10));
        let estimate = tally.estimate(seconds(10));
        // Ten shards of the execution and one of memory are expected.
        assert!((estimate.fraction - 1.0 / 11.0).abs() < 1e-6, "{estimate:?}");
        assert_eq!(estimate.eta_seconds, Some(100));
        assert_eq!((estimate.cycles_done, estimate.cycles_total), (100, 1000));
        assert!(!estimate.extrapolated);
    }

    #[test]
    fn between_two_tasks_the_pace_of_the_proof_carries_on_but_not_out_of_sight() {
        let mut tally = Tally::new(SP1ProofMode::Core, 1000, 10, None);
        tally.submitted(TEN);
        tally.submitted(MEMORY);
        tally.all_shards_submitted();
        tally.done(TEN, seconds(60));
        let between = tally.estimate(seconds(90));
        assert_eq!((between.fraction, between.extrapolated), (0.75, true));
        assert_eq!(between.eta_seconds, Some(30));
        let overdue = tally.estimate(seconds(1000));
        assert!(overdue.fraction < 0.99, "{overdue:?}");
        assert_eq!(overdue.eta_seconds, Some(1));
    }

    #[test]
    fn a_compressed_proof_is_not_done_with_its_shards() {
        let mut tally = Tally::new(SP1ProofMode::Compressed, 1000, 20, None);
        for step in [TEN, TEN, MEMORY] {
            tally.submitted(step);
            tally.done(step, seconds(60));
        }
        tally.all_shards_submitted();
        // Three shards of two units each, and one join to come.
        let fraction = tally.estimate(seconds(60)).fraction;
        assert!((fraction - 6.0 / 7.0).abs() < 1e-6, "{fraction}");
    }

    /// The fraction is an estimate most of the time, and the cycles stay the same once the shards are done.
    #[test]
    fn every_task_that_is_done_counts_however_the_rest_is_estimated() {
        let mut tally = Tally::new(SP1ProofMode::Plonk, 1000, 10, Some(50.0));
        assert_eq!(tally.estimate(seconds(1)).tasks_done, 0);
        let steps = [TEN, MEMORY, Step::Deferred, Step::Reduce, Step::Wrap, Step::Wrap];
        for step in steps {
            tally.submitted(step);
        }
        tally.all_shards_submitted();
        for (done, step) in (1..).zip(steps) {
            tally.done(step, seconds(60 * done));
            let estimate = tally.estimate(seconds(60 * done + 30));
            assert_eq!(estimate.tasks_done, done, "{estimate:?}");
            assert_eq!(estimate.cycles_done, 1000);
        }
    }

    #[test]
    fn shards_of_an_earlier_attempt_are_done_and_say_nothing_about_the_pace() {
        let mut tally = Tally::new(SP1ProofMode::Core, 1000, 30, None);
        for step in [TEN, TEN, TEN, MEMORY] {
            tally.submitted(step);
        }
        tally.all_shards_submitted();
        tally.found(TEN);
        tally.found(TEN);
        let estimate = tally.estimate(seconds(5));
        assert_eq!((estimate.fraction, estimate.cycles_done), (0.5, 666));
        assert_eq!((estimate.tasks_done, estimate.eta_seconds), (2, None));
        tally.done(TEN, seconds(60));
        let estimate = tally.estimate(seconds(60));
        assert_eq!((estimate.fraction, estimate.eta_seconds), (0.75, Some(60)));
        assert_eq!(tally.estimate(seconds(90)).fraction, 0.875);
        assert_eq!(tally.seconds_per_unit(), Some(60.0));
    }

    #[test]
    fn past_proofs_fill_in_where_nothing_is_done_yet() {
        let mut tally = Tally::new(SP1ProofMode::Core, 1000, 10, Some(50.0));
        tally.submitted(TEN);
        tally.submitted(MEMORY);
        tally.all_shards_submitted();
        let early = tally.estimate(seconds(25));
        assert_eq!((early.fraction, early.extrapolated), (0.25, true));
        assert_eq!(early.eta_seconds, Some(75));
        tally.done(TEN, seconds(60));
        tally.done(MEMORY, seconds(80));
        assert_eq!(tally.seconds_per_unit(), Some(40.0));
    }

    #[test]
    fn nothing_submitted_is_no_division_by_zero() {
        let tally = Tally::new(SP1ProofMode::Groth16, 0, 0, None);
        assert_eq!(tally.estimate(Duration::ZERO).fraction, 0.0);
    }
}
