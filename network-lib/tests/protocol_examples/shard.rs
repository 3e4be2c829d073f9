//! Examples of the messages about tasks, and the rules of their types.

use network_lib::codec::{MAX_FRAME_BYTES, decode, encode};
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId};
use network_lib::job::{BlobInfo, Execution, Failure, FailureClass, ProofMode};
use network_lib::shard::{
    Blob, KnownShard, MAX_BLOBS_PER_MESSAGE, MAX_SHARDS_PER_MESSAGE, Named, NewShard, ShardState,
    Sharding, Source, TaskFromWorker, TaskInput, TaskKind, TaskToWorker, TaskUsage,
};
use network_lib::wire::{FromWorker, ToWorker};
use shard_plan::{ShardKind, ShardRange};

const JOB: JobId = JobId([0x3a; 16]);
const TASK: TaskId = TaskId([0x2b; 16]);
const LEASE: LeaseId = LeaseId([0x1e; 16]);
const EVENTS: &str = "artifact_01j";

fn info(byte: u8, size: u64) -> BlobInfo {
    BlobInfo { size, sha256: Sha256Digest([byte; 32]) }
}

fn named<T>(blob: T) -> Named<T> {
    Named { id: EVENTS.into(), blob }
}

fn new_shard() -> NewShard {
    NewShard {
        no: 0,
        key: Sha256Digest([0xc0; 32]),
        kind: ShardKind::Core,
        range: ShardRange { timestamp_range: (1, 8_000_001), ..ShardRange::PRECOMPILE },
        record: info(0x04, 45_000_000),
        named: Vec::new(),
    }
}

pub(crate) fn to_worker() -> Vec<TaskToWorker> {
    let common = Blob { info: info(0x03, 900), from: vec![Source::Hierophant] };
    let record = Blob { info: info(0x04, 45_000_000), from: vec![Source::Own, Source::Hierophant] };
    let deferred = Blob { info: info(0x05, 700), from: vec![Source::Hierophant] };
    vec![
        TaskToWorker::Run {
            lease_id: LEASE,
            job: JOB,
            task: TASK,
            input: TaskInput::ProveShard {
                program: info(0x01, 41_000),
                common,
                record,
                named: Vec::new(),
                defers: true,
                mode: ProofMode::Core,
            },
            traceparent: Some(format!("00-{}-{}-01", "3a".repeat(16), "5b".repeat(8))),
        },
        TaskToWorker::ShardsKnown {
            lease_id: LEASE,
            shards: vec![
                KnownShard {
                    no: 0,
                    task: TASK,
                    state: ShardState::Traced { deferred: named(deferred), named: Vec::new() },
                },
                KnownShard { no: 1, task: TaskId([0x2c; 16]), state: ShardState::Waiting },
            ],
        },
        TaskToWorker::Provide { lease_id: LEASE, blob: Sha256Digest([0x04; 32]) },
        TaskToWorker::Forget { job: JOB, blobs: Some(vec![Sha256Digest([0x04; 32])]) },
    ]
}

pub(crate) fn from_worker() -> Vec<TaskFromWorker> {
    vec![
        TaskFromWorker::Shards {
            lease_id: LEASE,
            common: info(0x03, 900),
            shards: vec![new_shard()],
        },
        TaskFromWorker::Traced {
            lease_id: LEASE,
            deferred: named(info(0x05, 700)),
            named: vec![named(info(0x06, 16_000_000))],
        },
        TaskFromWorker::ExecuteEnded {
            lease_id: LEASE,
            shards: 14,
            execution: Execution {
                cycles: 100_000_000,
                gas: Some(130_000_000),
                public_values_hash: Sha256Digest([0xa5; 32]),
            },
            public_values: info(0x07, 48),
        },
        TaskFromWorker::TaskDone {
            lease_id: LEASE,
            output: info(0x08, 1_400_000),
            used: TaskUsage {
                wall_ms: 9_100,
                prove_ms: 7_900,
                peak_bytes: Some(4_294_967_296),
                fetched_bytes: 45_000_900,
            },
        },
        TaskFromWorker::TaskFailed {
            lease_id: LEASE,
            failure: Failure::new(FailureClass::Infrastructure, "a record is missing"),
            lost: vec![Sha256Digest([0x04; 32])],
            suspect: Vec::new(),
        },
        TaskFromWorker::Depot {
            job: JOB,
            blobs: vec![Sha256Digest([0x04; 32])],
            more: false,
            used_bytes: 45_000_000,
            free_bytes: 8_000_000_000,
        },
    ]
}

#[test]
fn messages_about_tasks_travel_among_the_others() {
    for message in to_worker() {
        assert_eq!(encode(&ToWorker::Task(message.clone())), encode(&message));
        assert_eq!(decode::<ToWorker>(&encode(&message)).expect("reads"), ToWorker::Task(message));
    }
    for message in from_worker() {
        assert_eq!(encode(&FromWorker::Task(message.clone())), encode(&message));
        assert_eq!(
            decode::<FromWorker>(&encode(&message)).expect("reads"),
            FromWorker::Task(message)
        );
    }
}

#[test]
fn the_greatest_messages_fit_into_a_frame() {
    let range = ShardRange {
        timestamp_range: (u64::MAX, u64::MAX),
        initialized_address_range: (u64::MAX, u64::MAX),
        finalized_address_range: (u64::MAX, u64::MAX),
        initialized_page_index_range: (u64::MAX, u64::MAX),
        finalized_page_index_range: (u64::MAX, u64::MAX),
        deferred_proof_range: (u64::MAX, u64::MAX),
    };
    let shard = NewShard { no: u32::MAX, range, record: info(4, u64::MAX), ..new_shard() };
    let shards = vec![shard; MAX_SHARDS_PER_MESSAGE];
    let blobs = vec![Sha256Digest([4; 32]); MAX_BLOBS_PER_MESSAGE];
    let common = info(3, u64::MAX);
    let shards = TaskFromWorker::Shards { lease_id: LEASE, common, shards };
    assert!(encode(&shards).len() < MAX_FRAME_BYTES, "{}", encode(&shards).len());
    let forget = TaskToWorker::Forget { job: JOB, blobs: Some(blobs) };
    assert!(encode(&forget).len() < MAX_FRAME_BYTES);
}

#[test]
fn kinds_of_tasks_have_the_same_names_in_text_and_in_json() {
    for kind in TaskKind::ALL {
        assert_eq!(serde_json::to_value(kind).expect("serializes"), kind.as_str());
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
}

#[test]
fn what_is_optional_may_be_missing() {
    let text = r#"{"engine":"sp1-6.10.0 native","kinds":["prove_shard"],"prove_slots":1,
        "max_elements":402653184,"depot_bytes":0}"#;
    let sharding: Sharding = serde_json::from_str(text).expect("reads");
    assert_eq!((sharding.prefetch, sharding.depot_port), (0, None));
    let forget = TaskToWorker::Forget { job: JOB, blobs: None };
    assert_eq!(encode(&forget), format!(r#"{{"type":"forget","job":"{JOB}"}}"#));
}
