//! A machine of the fleet: its prover, its depot of records, and its attempts at tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::BlobInfo;
use network_lib::shard::TaskFromWorker;

use crate::clock::Micros;
use crate::links::Pipe;

/// A machine.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Factor by which its prover is slower than that of others.
    pub(crate) slowness: u64,
    /// Its link towards Hierophant.
    pub(crate) up: Pipe,
    /// Its link from Hierophant.
    pub(crate) down: Pipe,
    /// Records that its executions have made and that are still needed.
    pub(crate) depot: BTreeMap<JobId, BTreeSet<Sha256Digest>>,
    /// Attempts that it holds.
    pub(crate) attempts: BTreeMap<LeaseId, Attempt>,
    /// Attempts whose inputs are here, in the order of their arrival.
    pub(crate) ready: VecDeque<LeaseId>,
    /// The attempt that its prover works on.
    pub(crate) proving: Option<LeaseId>,
    /// Whether it has executed a program.
    pub(crate) has_executed: bool,
}

impl Machine {
    /// A machine with nothing to do.
    pub(crate) fn new(slowness: u64, gigabits: f64) -> Self {
        Self {
            slowness,
            up: Pipe::new(gigabits),
            down: Pipe::new(gigabits),
            depot: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ready: VecDeque::new(),
            proving: None,
            has_executed: false,
        }
    }

    /// Whether a record of a job is here.
    pub(crate) fn holds(&self, job: JobId, blob: Sha256Digest) -> bool {
        self.depot.get(&job).is_some_and(|blobs| blobs.contains(&blob))
    }

    /// Attempts that a heartbeat lists.
    pub(crate) fn held(&self) -> Vec<LeaseId> {
        let held = self.attempts.iter().filter(|(_, attempt)| !attempt.is_reported);
        held.map(|(lease, _)| *lease).collect()
    }
}

/// An attempt at a task.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Its job.
    pub(crate) job: JobId,
    /// What it does.
    pub(crate) task: Task,
    /// What it hands in and says next, in this order.
    pub(crate) steps: VecDeque<Step>,
    /// Whether a step is in progress.
    pub(crate) is_stepping: bool,
    /// Whether its end was said.
    pub(crate) is_reported: bool,
}

impl Attempt {
    /// An attempt that begins.
    pub(crate) const fn new(job: JobId, task: Task) -> Self {
        Self { job, task, steps: VecDeque::new(), is_stepping: false, is_reported: false }
    }
}

/// What an attempt does.
#[derive(Debug)]
pub(crate) enum Task {
    /// It executes a program.
    Execute(Execution),
    /// It proves a shard.
    Prove {
        /// Number of the shard.
        number: u64,
        /// Inputs that are not here yet.
        missing: BTreeSet<Sha256Digest>,
    },
}

/// An execution.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Number of the proof.
    pub(crate) proof: usize,
    /// Announced shards.
    pub(crate) announced: u64,
    /// Announced shards that are not done, by number.
    pub(crate) open: BTreeSet<u64>,
    /// Most shards that may be open.
    pub(crate) window: usize,
    /// Most bytes of their records.
    pub(crate) window_bytes: u64,
    /// Whether a shard is computed that the window has no room for.
    pub(crate) is_blocked: bool,
    /// Time in which it has computed.
    pub(crate) computed: Micros,
}

/// A step of an attempt.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// It hands in a blob.
    HandIn(BlobInfo),
    /// It says something.
    Say(TaskFromWorker),
}
