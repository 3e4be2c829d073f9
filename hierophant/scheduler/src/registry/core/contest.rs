//! Two machines with one worker id, as after copying a data folder: each connection replaces the other one, and ends what
//! the other machine was working on.

use std::collections::{BTreeMap, VecDeque};

use hierophant_model::records::Millis;
use network_lib::ids::WorkerId;

/// Number of times that a live connection may be replaced within [`CONTEST_MS`]. A worker whose link breaks without a
/// word replaces its own connection, at most every few seconds.
const MAX_REPLACED: usize = 5;

/// Time for which a replacement counts, and for which a contested id is refused after each attempt to take it.
const CONTEST_MS: u64 = 60_000;

/// Attempts to replace live connections, by worker.
#[derive(Debug, Default)]
pub(super) struct Contests(BTreeMap<WorkerId, Contest>);

#[derive(Debug, Default)]
struct Contest {
    replaced_at: VecDeque<Millis>,
    refused_at: Option<Millis>,
}

impl Contests {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Counts an attempt to replace a worker's live connection. Returns whether there were too many.
    pub(super) fn is_contested(&mut self, now: Millis, worker: WorkerId) -> bool {
        let is_recent = |at: Millis| now.since(at) < CONTEST_MS;
        // Only workers of the last minute are kept.
        self.0.retain(|_, contest| {
            contest.replaced_at.retain(|at| is_recent(*at));
            contest.refused_at = contest.refused_at.filter(|at| is_recent(*at));
            !contest.replaced_at.is_empty() || contest.refused_at.is_some()
        });
        let contest = self.0.entry(worker).or_default();
        if contest.refused_at.is_some() || contest.replaced_at.len() >= MAX_REPLACED {
            contest.refused_at = Some(now);
            return true;
        }
        contest.replaced_at.push_back(now);
        false
    }

    /// Adjusts all times to a wall clock that was set by `by` milliseconds.
    pub(super) fn clock_set(&mut self, by: i64) {
        for contest in self.0.values_mut() {
            contest
                .replaced_at
                .iter_mut()
                .chain(&mut contest.refused_at)
                .for_each(|at| at.shift(by));
        }
    }
}
