//! What happened in runs, and the dice that decide it.

/// What happened in a run, or in several.
#[derive(Debug, Default)]
pub(in super::super) struct Tally {
    pub(super) runs: u64,
    pub(super) steps: u64,
    pub(super) tasks: u64,
    /// Starts of the coordinator after a kill.
    pub(super) restarts: u64,
    /// Of these, after a kill before rows were stored, and between rows and messages.
    pub(super) uncommitted: u64,
    pub(super) unsent: u64,
    pub(super) crashes: u64,
    pub(super) cuts: u64,
    pub(super) lost_blobs: u64,
    pub(super) lies: u64,
    pub(super) greedy: u64,
    pub(super) strikes: u64,
    pub(super) late: u64,
    pub(super) executions: u64,
    pub(super) provided: u64,
    /// Second attempts at running tasks.
    pub(super) races: u64,
    /// Greatest numbers of shards and bytes in a window.
    pub(super) widest: (usize, u64),
    /// Proofs that were planned again and finished.
    pub(super) planned_again: u64,
    /// Ends for a whole proof.
    pub(super) too_many_attempts: u64,
    pub(super) too_many_retries: u64,
    pub(super) too_many_restarts: u64,
}

impl Tally {
    pub(in super::super) fn add(&mut self, other: &Self) {
        self.runs += 1;
        self.steps += other.steps;
        self.tasks += other.tasks;
        self.restarts += other.restarts;
        self.uncommitted += other.uncommitted;
        self.unsent += other.unsent;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.lost_blobs += other.lost_blobs;
        self.lies += other.lies;
        self.greedy += other.greedy;
        self.strikes += other.strikes;
        self.late += other.late;
        self.executions += other.executions;
        self.provided += other.provided;
        self.races += other.races;
        self.widest.0 = self.widest.0.max(other.widest.0);
        self.widest.1 = self.widest.1.max(other.widest.1);
        self.planned_again += other.planned_again;
        self.too_many_attempts += other.too_many_attempts;
        self.too_many_retries += other.too_many_retries;
        self.too_many_restarts += other.too_many_restarts;
    }

    pub(in super::super) const fn has_tried_everything(&self) -> bool {
        self.uncommitted > 0
            && self.unsent > 0
            && self.crashes > 0
            && self.cuts > 0
            && self.lost_blobs > 0
            && self.lies > 0
            && self.greedy > 0
            && self.strikes > 0
            && self.late > 0
            && self.executions > self.runs
            && self.provided > 0
            && self.races > 0
            && self.planned_again > 0
            && self.too_many_attempts > 0
            && self.too_many_retries > 0
            && self.too_many_restarts > 0
    }
}

pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % (bound.max(1) as u64)).expect("below a usize")
    }

    pub(super) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}
