//! Attempts at tasks as their Contemplants see them, and the pseudo bytes that they make.

use std::collections::BTreeSet;

use hierophant_model::records::DeferredEvents;
use network_lib::ids::{JobId, Sha256Digest};
use network_lib::job::BlobInfo;
use network_lib::shard::{Named, NewShard, Sharding, TaskFromWorker, TaskKind};
use shard_plan::{Key, ShardKind, ShardRange, Slice};

pub const ENGINE: &str = "sim";

/// An attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub job: JobId,
    pub work: Work,
    /// What it has said, and says again after each welcome; before each word the blobs that it hands in.
    pub said: Vec<(Vec<BlobInfo>, TaskFromWorker)>,
    /// Whether the last word was said.
    pub has_ended: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    Execution {
        program: Program,
        window: usize,
        announced: usize,
        done: BTreeSet<u32>,
        /// Core shards whose events have come, in their order.
        markers: Vec<u32>,
    },
    /// A shard, or a task above the shards, which has no record.
    Proof {
        record: Option<BlobInfo>,
        inputs: Vec<BlobInfo>,
        defers: bool,
        is_fetched: bool,
        is_traced: bool,
    },
}

impl Work {
    /// A task above the shards.
    pub fn above(inputs: impl IntoIterator<Item = BlobInfo>) -> Self {
        Self::Proof {
            record: None,
            inputs: inputs.into_iter().collect(),
            defers: false,
            is_fetched: false,
            is_traced: false,
        }
    }
}

/// What an execution announces: cores and a memory shard, then precompile shards, which need all events.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub common: BlobInfo,
    pub values: BlobInfo,
    pub shards: Vec<NewShard>,
    pub cores: usize,
    pub before_events: usize,
}

impl Program {
    /// The same for each execution of a job's content, but for the records of precompile shards.
    pub fn of(job: JobId, content: u8, execution: u64) -> Self {
        let (cores, precompiles) = (1 + u64::from(content) % 5, u64::from(content) % 3);
        let mut shards = Vec::new();
        let mut add = |kind, key: Key, range, record, named| {
            let no = u32::try_from(shards.len()).expect("few");
            shards.push(NewShard { no, key: Sha256Digest(key.0), kind, range, record, named });
        };
        for core in 0..cores {
            let clocks = (1 + core * 10, 11 + core * 10);
            let range = ShardRange { timestamp_range: clocks, ..ShardRange::PRECOMPILE };
            let record = blob(job, b'r', core, true);
            add(ShardKind::Core, Key::core(ENGINE, record.sha256.0), range, record, vec![]);
        }
        let end = 1 + cores * 10;
        let range = ShardRange {
            timestamp_range: (end, end),
            initialized_address_range: (0, 1),
            ..ShardRange::PRECOMPILE
        };
        let record = blob(job, b'm', 0, true);
        add(ShardKind::Memory, Key::memory(ENGINE, record.sha256.0), range, record, vec![]);
        for number in 0..precompiles {
            let named = events(job, number % cores).events;
            let slice = Slice { events: named[0].blob.sha256.0, start: number, end: number + 1 };
            let record = blob(job, b'x', execution << 8 | number, true);
            let key = Key::precompile(ENGINE, 9, &[slice]);
            add(ShardKind::Precompile, key, ShardRange::PRECOMPILE, record, named);
        }
        let cores = usize::try_from(cores).expect("few");
        let (common, values) = (blob(job, b'c', 0, true), blob(job, b'v', 0, true));
        Self { common, values, shards, cores, before_events: cores + 1 }
    }
}

/// A blob of a job; that of a lie is not genuine.
pub fn blob(job: JobId, kind: u8, number: u64, genuine: bool) -> BlobInfo {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&job.0);
    bytes[16..24].copy_from_slice(&number.to_be_bytes());
    (bytes[30], bytes[31]) = (u8::from(genuine), kind);
    BlobInfo { size: 10, sha256: Sha256Digest(bytes) }
}

pub fn is_genuine(blob: Sha256Digest) -> bool {
    blob.0[30] == 1
}

/// Number of a blob among those of its kind.
pub fn number_of(blob: Sha256Digest) -> u64 {
    u64::from_be_bytes(blob.0[16..24].try_into().expect("eight bytes"))
}

/// Precompile events of a core shard.
pub fn events(job: JobId, core: u64) -> DeferredEvents {
    let named = |kind: char| Named {
        id: format!("{kind}{core}"),
        blob: blob(job, u8::try_from(kind).expect("ASCII"), core, true),
    };
    DeferredEvents { index: named('i'), events: vec![named('e')] }
}

pub fn sharding(prove_slots: u32, prefetch: u32) -> Sharding {
    Sharding {
        engine: ENGINE.into(),
        kinds: TaskKind::ALL.to_vec(),
        recursion: true,
        prove_slots,
        prefetch,
        max_elements: 1 << 22,
        depot_bytes: 1 << 30,
        depot_port: None,
        depot_fingerprint: None,
    }
}
