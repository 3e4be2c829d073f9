//! Simulated workers: what they hold, and how they work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hierophant_model::records::{DeferredEvents, TaskLease};
use network_lib::ids::{LeaseId, Sha256Digest, TaskId, WorkerId};
use network_lib::job::{BlobInfo, Failure};
use network_lib::shard::{Named, NewShard, ShardState};
use shard_plan::{Key, ShardKind, ShardRange, Slice};

pub(super) const ENGINE: &str = "sp1-test";

/// Message of a worker, with the bytes that it hands in before.
#[derive(Debug, Clone)]
pub(super) enum Word {
    PutIn(LeaseId, BlobInfo),
    Shards(LeaseId, Vec<NewShard>),
    Traced(LeaseId, DeferredEvents),
    Ended(LeaseId, u32, BlobInfo),
    Done(LeaseId, BlobInfo),
    Failed(LeaseId, Failure, Vec<Sha256Digest>, Vec<Sha256Digest>),
}

/// An execution on a worker.
#[derive(Debug, Default)]
pub(super) struct Execution {
    /// Number of shards that were announced over any connection.
    pub(super) announced: usize,
    /// States that Hierophant has sent.
    pub(super) done: BTreeSet<u32>,
    /// Numbers of core shards in the order in which their events were handed over.
    pub(super) markers: Vec<u32>,
    pub(super) window: usize,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) row: TaskLease,
    pub(super) execution: Option<Execution>,
    /// Inputs were fetched.
    pub(super) fetched: bool,
    pub(super) traced: Option<DeferredEvents>,
    /// End that is not settled.
    pub(super) end: Option<Word>,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) slots: usize,
    /// Whether it sometimes hands in false or other bytes than it says.
    pub(super) is_liar: bool,
    pub(super) is_connected: bool,
    pub(super) depot: BTreeSet<Sha256Digest>,
    pub(super) attempts: BTreeMap<LeaseId, Attempt>,
    /// Words on their way, in order.
    pub(super) outbox: VecDeque<Word>,
}

impl Worker {
    pub(super) fn new(number: u8, slots: usize, is_liar: bool) -> Self {
        Self {
            id: WorkerId([number; 16]),
            slots,
            is_liar,
            is_connected: true,
            depot: BTreeSet::new(),
            attempts: BTreeMap::new(),
            outbox: VecDeque::new(),
        }
    }

    pub(super) fn told(&mut self, lease: LeaseId, no: u32, state: &ShardState, program: &Program) {
        let attempt = self.attempts.get_mut(&lease);
        let Some(execution) = attempt.and_then(|attempt| attempt.execution.as_mut()) else {
            return;
        };
        match state {
            ShardState::Waiting => {}
            ShardState::Done => {
                execution.done.insert(no);
                self.depot.remove(&program.record_of(no).sha256);
            }
            ShardState::Traced { .. } if execution.markers.contains(&no) => {}
            ShardState::Traced { .. } => execution.markers.push(no),
        }
    }

    /// A restarted process has lost everything but its id.
    pub(super) fn restart(&mut self) {
        self.depot.clear();
        self.attempts.clear();
        self.outbox.clear();
    }
}

/// What an execution announces, the same each time: cores and memories, then precompiles, which need all markers.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) shards: Vec<NewShard>,
    pub(super) cores: usize,
    pub(super) precompiles: usize,
}

pub(super) fn digest(kind: u8, number: u64) -> Sha256Digest {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Sha256Digest(bytes)
}

pub(super) fn info(kind: u8, number: u64) -> BlobInfo {
    BlobInfo { size: 10 + number % 7, sha256: digest(kind, number) }
}

/// Precompile events of the core shard with this number.
pub(super) fn events(core: u64) -> DeferredEvents {
    let named = |kind, number| Named { id: format!("a{kind}{number}"), blob: info(kind, number) };
    DeferredEvents { index: named(b'i', core), events: vec![named(b'e', core)] }
}

impl Program {
    pub(super) fn new(cores: u64, memories: u64, precompiles: u64) -> Self {
        let mut shards: Vec<NewShard> = Vec::new();
        let mut add = |kind, key: Key, range, named| {
            let no = shards.len() as u64;
            shards.push(NewShard {
                no: u32::try_from(no).expect("few"),
                key: Sha256Digest(key.0),
                kind,
                range,
                record: info(b'r', no),
                named,
            });
        };
        for core in 0..cores {
            let clocks = (1 + core * 10, 11 + core * 10);
            let range = ShardRange { timestamp_range: clocks, ..ShardRange::PRECOMPILE };
            add(ShardKind::Core, Key::core(ENGINE, digest(b'r', core).0), range, vec![]);
        }
        let end = 1 + cores * 10;
        for memory in 0..memories {
            let range = ShardRange {
                timestamp_range: (end, end),
                initialized_address_range: (memory, memory + 1),
                ..ShardRange::PRECOMPILE
            };
            add(ShardKind::Memory, Key::memory(ENGINE, digest(b'm', memory).0), range, vec![]);
        }
        for number in 0..precompiles {
            let core = number % cores;
            let slice = Slice { events: digest(b'e', core).0, start: number, end: number + 1 };
            let named = events(core).events;
            let key = Key::precompile(ENGINE, 9, &[slice]);
            add(ShardKind::Precompile, key, ShardRange::PRECOMPILE, named);
        }
        let count = |number| usize::try_from(number).expect("few");
        Self { shards, cores: count(cores), precompiles: count(precompiles) }
    }

    pub(super) fn record_of(&self, no: u32) -> BlobInfo {
        self.shards[usize::try_from(no).expect("few")].record
    }

    /// How many shards can be announced with this many markers.
    pub(super) fn announceable(&self, markers: usize) -> usize {
        if markers == self.cores { self.shards.len() } else { self.shards.len() - self.precompiles }
    }
}

/// Result of one attempt at a task, true or false; no two are equal.
pub(super) fn output(task: TaskId, number: u64, is_false: bool) -> BlobInfo {
    info(if is_false { b'f' } else { b'o' }, number ^ u64::from(task.0[15]) << 40)
}

pub(super) fn is_false(blob: Sha256Digest) -> bool {
    blob.0[31] == b'f'
}
