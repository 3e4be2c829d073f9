//! What is simulated: machines, links, proofs, and the times and sizes of their work.

use serde::Serialize;

use crate::clock::{Micros, SECOND};

/// Times and sizes of a shard's work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Work {
    /// Time of a prover for a shard.
    pub(crate) prove: Micros,
    /// Greatest share by which that time differs for single shards, either way.
    pub(crate) spread: f64,
    /// Time in which an execution reaches the end of another shard.
    pub(crate) cut: Micros,
    /// Size of the record of a shard.
    pub(crate) record_bytes: u64,
    /// Size of the input that all shards share.
    pub(crate) common_bytes: u64,
    /// Size of a shard's precompile events.
    pub(crate) event_bytes: u64,
    /// Size of the proof of a shard.
    pub(crate) part_bytes: u64,
}

impl Work {
    /// Large shards on GPUs.
    ///
    /// Assumed, not measured: 4 s a shard of 8 million cycles, and an execution of 80 million cycles a second, which agrees with
    /// Succinct's statement that one execution occupies 30 to 40 GPUs (SP1's FAQ on provers). 45 MB are 16 bytes for
    /// each memory access of a shard (`sp1-core-executor`).
    pub(crate) const GPU: Self = Self {
        prove: 4 * SECOND,
        spread: 0.15,
        cut: SECOND / 10,
        record_bytes: 45_000_000,
        common_bytes: 100_000,
        event_bytes: 1_000_000,
        part_bytes: 1_400_000,
    };

    /// Small shards, each on one core of a CPU, as measured (`docs/benchmarks/2026-11-30-task-trial.json` and `-shards.json`).
    pub(crate) const CPU: Self = Self {
        prove: 27 * SECOND,
        spread: 0.15,
        cut: SECOND / 10,
        record_bytes: 300,
        common_bytes: 20_000,
        event_bytes: 1_000,
        part_bytes: 1_400_000,
    };

    /// Time of a prover for the shard with this number.
    pub(crate) fn prove_time(&self, number: u64) -> Micros {
        // The fractional parts of multiples of the golden ratio are spread evenly over 0 to 1.
        let share = (number as f64 * 0.618_033_988_749_895).fract();
        (self.prove as f64 * (1.0 + self.spread * (2.0 * share - 1.0))) as Micros
    }
}

/// A proof that is requested at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// Number of shards.
    pub(crate) shards: u64,
    /// Number of the requester.
    pub(crate) requester: u8,
    /// Deadline in hours.
    pub(crate) deadline: u64,
}

/// A fleet and its work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Plan {
    /// Number of machines, with one prover each.
    pub(crate) machines: usize,
    /// Number of them that take ten times as long.
    pub(crate) slow: usize,
    /// Rate of each machine's link and of Hierophant's, in each direction, in Gbit/s.
    pub(crate) gigabits: f64,
    /// Work of a shard.
    pub(crate) work: Work,
    /// Proofs.
    pub(crate) proofs: Vec<Proof>,
}

impl Plan {
    /// One proof on equal machines.
    pub(crate) fn one(machines: usize, shards: u64, gigabits: f64, work: Work) -> Self {
        let proofs = vec![Proof { shards, requester: 1, deadline: 24 }];
        Self { machines, slow: 0, gigabits, work, proofs }
    }
}
