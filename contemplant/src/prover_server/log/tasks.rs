//! Progress of a proof, read from the server's log: SP1 splits a proof into tasks and logs at level debug which are
//! submitted and which have succeeded.

use network_lib::job::ProofMode;

/// Number of proofs that SP1 joins into one.
const ARITY: u64 = 4;

/// End of the line of a finished task; the name of the span before it is the task's kind.
const DONE: &str = "task succeeded";
/// Text before the kind of a submitted task.
const SUBMITTED: &str = "submitting task of kind ";
/// Text after the execution in the server: nearly all shards are submitted.
const EXECUTED: &str = "minimal Executor finished";

/// The tasks of one proof.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tasks {
    submitted: Counts,
    done: Counts,
    executed: bool,
    /// Whether only wraps are left.
    compressed: bool,
    finished: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    shards: u64,
    joins: u64,
    wraps: u64,
}

impl Counts {
    fn of(&mut self, kind: &str) -> Option<&mut u64> {
        Some(match kind {
            "ProveShard" => &mut self.shards,
            "RecursionReduce" | "RecursionDeferred" => &mut self.joins,
            "ShrinkWrap" | "PlonkWrap" | "Groth16Wrap" => &mut self.wraps,
            _ => return None,
        })
    }

    /// Work, in units of about one recursive proof.
    fn units(&self, mode: ProofMode) -> f64 {
        // In modes other than core, each shard's proof is also converted to a recursive proof.
        let shard = if mode == ProofMode::Core { 1 } else { 2 };
        (self.shards * shard + self.joins + 2 * self.wraps) as f64
    }
}

impl Tasks {
    /// Counts a line. Returns whether it was about a task.
    pub(super) fn record(&mut self, line: &str) -> bool {
        if let Some(kind) = line.split(SUBMITTED).nth(1) {
            let kind = kind.trim();
            if let Some(count) = self.submitted.of(kind) {
                *count += 1;
            }
            self.begin_wrap(kind);
            return true;
        }
        if line.ends_with(DONE) {
            self.finished += 1;
            let kinds = line.split_whitespace().filter_map(|word| word.split_once('{'));
            for (kind, _) in kinds {
                if let Some(count) = self.done.of(kind.rsplit(':').next().unwrap_or(kind)) {
                    *count += 1;
                    break;
                }
            }
            return true;
        }
        let executed = line.contains(EXECUTED);
        self.executed |= executed;
        executed
    }

    /// Counts the step that has ended when a wrap begins: wraps follow everything else, one after the other. The line
    /// of a finished wrap does not name its kind.
    fn begin_wrap(&mut self, kind: &str) {
        let before = match kind {
            "ShrinkWrap" => 0,
            "PlonkWrap" | "Groth16Wrap" => 1,
            _ => return,
        };
        self.compressed = true;
        self.done.wraps = self.done.wraps.max(before);
    }

    /// Done part of a proof of this kind, 0 to 1, once the number of shards is known.
    #[must_use]
    pub fn fraction(&self, mode: ProofMode) -> Option<f64> {
        if !self.executed || self.submitted.shards == 0 {
            return None;
        }
        let (mut expected, mut done) = (self.submitted, self.done);
        if self.compressed {
            (done.shards, done.joins) = (expected.shards, expected.joins);
        } else if mode != ProofMode::Core {
            let joins = expected.shards.saturating_sub(1).div_ceil(ARITY - 1).max(1);
            expected.joins = expected.joins.max(joins);
        }
        if matches!(mode, ProofMode::Plonk | ProofMode::Groth16) {
            expected.wraps = 2;
        }
        Some((done.units(mode) / expected.units(mode)).clamp(0.0, 0.99))
    }

    /// Number of finished tasks, those of kinds without a part in the fraction included.
    #[must_use]
    pub const fn finished(&self) -> u64 {
        self.finished
    }

    /// Part of the shards that is done, 0 to 1, once their number is known.
    #[must_use]
    pub fn shards(&self) -> Option<f64> {
        (self.executed && self.submitted.shards > 0)
            .then(|| (self.done.shards as f64 / self.submitted.shards as f64).min(1.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const AT: &str = "2026-01-01T00:00:00.000000Z DEBUG";

    fn submit(tasks: &mut Tasks, kind: &str) {
        let line = format!("{AT} prove: sp1_prover::worker::client::local: {SUBMITTED}{kind}");
        assert!(tasks.record(&line));
    }

    fn done(tasks: &mut Tasks, kind: &str) {
        let at = "sp1_prover::worker::node::full::init";
        assert!(tasks.record(&format!("{AT} {kind}{{proof_id=p_1 task_id=t_2}}: {at}: {DONE}")));
    }

    #[test]
    fn shards_are_counted_once_their_number_is_known() {
        let mut tasks = Tasks::default();
        for _ in 0..4 {
            submit(&mut tasks, "ProveShard");
        }
        submit(&mut tasks, "Controller");
        done(&mut tasks, "ProveShard");
        assert_eq!(tasks.fraction(ProofMode::Core), None);
        assert!(tasks.record(&format!("{AT} minimal Executor finished. elapsed: 1s, mhz: 9")));
        assert_eq!(tasks.fraction(ProofMode::Core), Some(0.25));
        assert_eq!(tasks.shards(), Some(0.25));
        // Four shards of two units each, and one join.
        assert_eq!(tasks.fraction(ProofMode::Compressed), Some(2.0 / 9.0));
        // And two wraps of two units each.
        assert_eq!(tasks.fraction(ProofMode::Groth16), Some(2.0 / 13.0));
        assert_eq!(tasks.finished(), 1);
        // Of a wrap only the end is logged, outside its span.
        assert!(tasks.record(&format!("{AT} sp1_prover::worker::node::full::init: {DONE}")));
        assert_eq!((tasks.finished(), tasks.shards()), (2, Some(0.25)));
    }

    #[test]
    fn wraps_are_counted_by_the_beginning_of_the_next_one() {
        let mut tasks = Tasks::default();
        submit(&mut tasks, "ProveShard");
        tasks.record(&format!("{AT} minimal Executor finished. elapsed: 1s, mhz: 9"));
        submit(&mut tasks, "RecursionReduce");
        done(&mut tasks, "ProveShard");
        // A shard of two units, a join of one, two wraps of two each.
        assert_eq!(tasks.fraction(ProofMode::Plonk), Some(2.0 / 7.0));
        submit(&mut tasks, "ShrinkWrap");
        assert_eq!(tasks.fraction(ProofMode::Plonk), Some(3.0 / 7.0));
        assert!(tasks.record(&format!("{AT} sp1_prover::worker::node::full::init: {DONE}")));
        assert_eq!(tasks.fraction(ProofMode::Plonk), Some(3.0 / 7.0));
        submit(&mut tasks, "PlonkWrap");
        assert_eq!(tasks.fraction(ProofMode::Plonk), Some(5.0 / 7.0));
        let mut groth16 = tasks;
        submit(&mut groth16, "Groth16Wrap");
        assert_eq!(groth16.fraction(ProofMode::Groth16), Some(5.0 / 7.0));
    }

    #[test]
    fn other_lines_are_not_about_tasks() {
        assert!(!Tasks::default().record("INFO sp1_gpu_server: Connection accepted"));
        assert!(!Tasks::default().record(""));
    }
}
