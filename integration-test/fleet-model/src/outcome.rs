//! What came out of a simulation.

use serde::Serialize;

use crate::clock::{Micros, SECOND};

/// The part of the system that bounds a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wall {
    /// The execution of a program reaches its shards too slowly.
    Execution,
    /// The link over which an executing machine sends its records.
    ExecutorLink,
    /// Hierophant's link, towards it or from it.
    HierophantLink,
    /// The number of shards: the last of them leave machines without work.
    Tail,
    /// None of these: the provers work nearly all the time.
    Provers,
}

impl Wall {
    /// The name in a table.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Execution => "execution",
            Self::ExecutorLink => "executor's link",
            Self::HierophantLink => "Hierophant's link",
            Self::Tail => "number of shards",
            Self::Provers => "provers",
        }
    }
}

/// The end of all proofs of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// Time until each proof was complete.
    pub(crate) proofs: Vec<Micros>,
    /// Share of the time until the last end in which the provers made results that count.
    pub(crate) efficiency: f64,
    /// What the parts of the system need of that time.
    pub(crate) used: Used,
    /// What bounds it.
    pub(crate) wall: Wall,
    /// Number of tasks that were done by two machines.
    pub(crate) raced: usize,
}

impl Outcome {
    /// Time until the last proof was complete.
    pub(crate) fn ended(&self) -> Micros {
        self.proofs.iter().copied().max().unwrap_or(0)
    }

    /// The same in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.ended() as f64 / SECOND as f64
    }
}

/// Time that each part of the system needs at least, as a share of the time until the last end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Used {
    /// Computing of the longest execution.
    pub(crate) execution: f64,
    /// The busiest link of an executing machine, towards Hierophant.
    pub(crate) executor_link: f64,
    /// Hierophant's link, in its busier direction.
    pub(crate) hierophant_link: f64,
    /// Whole shards: as many one after the other as the machine with most of them has.
    pub(crate) rounds: f64,
}

impl Used {
    /// What bounds a fleet of this efficiency: the part that needs the greatest share.
    pub(crate) fn wall(&self, efficiency: f64) -> Wall {
        if efficiency >= 0.9 {
            return Wall::Provers;
        }
        let parts = [
            (self.execution, Wall::Execution),
            (self.executor_link, Wall::ExecutorLink),
            (self.hierophant_link, Wall::HierophantLink),
            (self.rounds, Wall::Tail),
        ];
        let greatest = parts.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        greatest.map_or(Wall::Provers, |(_, wall)| wall)
    }
}
