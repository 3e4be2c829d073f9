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
    Shards(LeaseId, BlobInfo, Vec<NewShard>),
    Traced(LeaseId, DeferredEvents),
    Ended(LeaseId, u32, BlobInfo),
    Done(LeaseId, BlobInfo),
    /// The complete list of the depot.
    Depot(BTreeSet<Sha256Digest>),
    Failed(LeaseId, Failure, Vec<Sha256Digest>, Vec<Sha256Digest>),
}

/// An execution on a worker.
#[derive(Debug)]
pub(super) struct Execution {
    /// What it announces.
    pub(super) program: Program,
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

    /// Takes the state of a shard. Events that do not come in the order of clocks would change the packing of precompile
    /// shards.
    pub(super) fn told(
        &mut self,
        lease: LeaseId,
        no: u32,
        state: &ShardState,
    ) -> Result<(), String> {
        let attempt = self.attempts.get_mut(&lease);
        let Some(execution) = attempt.and_then(|attempt| attempt.execution.as_mut()) else {
            return Ok(());
        };
        match state {
            ShardState::Waiting => {}
            ShardState::Done => {
                execution.done.insert(no);
                self.depot.remove(&execution.program.record_of(no).sha256);
            }
            ShardState::Traced { .. } if execution.markers.contains(&no) => {}
            ShardState::Traced { .. } if usize::try_from(no) != Ok(execution.markers.len()) => {
                return Err(format!("events of shard {no} after those of {:?}", execution.markers));
            }
            ShardState::Traced { .. } => execution.markers.push(no),
        }
        Ok(())
    }

    /// A restarted process has lost everything but its id.
    pub(super) fn restart(&mut self) {
        self.depot.clear();
        self.attempts.clear();
        self.outbox.clear();
    }
}

/// What an execution announces: cores and memories, then precompiles, which need all markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) shards: Vec<NewShard>,
    pub(super) cores: usize,
    pub(super) precompiles: usize,
    /// What all its shards have in common.
    pub(super) common: BlobInfo,
}

/// How an execution differs from others of the same program, if workers do not execute alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// It does not.
    Usual,
    /// Shards are cut at other clocks.
    Wider,
    /// One core shard more, at the end.
    Longer,
}

pub(super) fn digest(kind: u8, number: u64) -> Sha256Digest {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Sha256Digest(bytes)
}

pub(super) fn info(kind: u8, number: u64) -> BlobInfo {
    BlobInfo { size: 10 + number % 7, sha256: digest(kind, number) }
}

/// The blob with this digest.
pub(super) fn info_of(digest: Sha256Digest) -> BlobInfo {
    info(digest.0[31], number_of(digest))
}

/// Number of a blob among those of its kind.
pub(super) fn number_of(digest: Sha256Digest) -> u64 {
    let (number, _) = digest.0.split_first_chunk().expect("32 bytes");
    u64::from_be_bytes(*number)
}

/// Precompile events of the core shard whose record has this number.
pub(super) fn events(core: u64) -> DeferredEvents {
    let named = |kind, number| Named { id: format!("a{kind}{number}"), blob: info(kind, number) };
    DeferredEvents { index: named(b'i', core), events: vec![named(b'e', core)] }
}

impl Program {
    /// The usual execution.
    pub(super) fn new(cores: u64, memories: u64, precompiles: u64) -> Self {
        Self::executed((cores, memories, precompiles), Variant::Usual, 0)
    }

    /// One execution. Records of core and memory shards are the same in all of a variant. Those of precompile shards
    /// contain random names: they differ, under the same keys.
    pub(super) fn executed(
        (cores, memories, precompiles): (u64, u64, u64),
        variant: Variant,
        execution: u64,
    ) -> Self {
        let mut shards: Vec<NewShard> = Vec::new();
        let mut add = |kind, key: Key, range, record, named| {
            let no = u32::try_from(shards.len()).expect("few");
            shards.push(NewShard { no, key: Sha256Digest(key.0), kind, range, record, named });
        };
        let (width, first) = if variant == Variant::Wider { (12, 1_000) } else { (10, 0) };
        let cores = cores + u64::from(variant == Variant::Longer);
        for core in 0..cores {
            let clocks = (1 + core * width, 1 + (core + 1) * width);
            let range = ShardRange { timestamp_range: clocks, ..ShardRange::PRECOMPILE };
            let record = info(b'r', first + core);
            add(ShardKind::Core, Key::core(ENGINE, record.sha256.0), range, record, vec![]);
        }
        let end = 1 + cores * width;
        for memory in 0..memories {
            let range = ShardRange {
                timestamp_range: (end, end),
                initialized_address_range: (memory, memory + 1),
                ..ShardRange::PRECOMPILE
            };
            let record = info(b'r', 100_000 + end * 10 + memory);
            add(ShardKind::Memory, Key::memory(ENGINE, record.sha256.0), range, record, vec![]);
        }
        for number in 0..precompiles {
            let named = events(first + number % cores).events;
            let events = named[0].blob.sha256.0;
            let key =
                Key::precompile(ENGINE, 9, &[Slice { events, start: number, end: number + 1 }]);
            let record = info(b'r', 1_000_000 + execution * 100 + number);
            add(ShardKind::Precompile, key, ShardRange::PRECOMPILE, record, named);
        }
        let count = |number| usize::try_from(number).expect("few");
        let common = info(b'c', first);
        Self { shards, cores: count(cores), precompiles: count(precompiles), common }
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
