//! Tasks of proofs that many workers make: the whole conversation with a played Hierophant and a scripted executor.

mod execution;
mod join;
mod offer;
mod provide;
mod recovery;
mod restart;
mod shard;

use contemplant::executor::tasks::{CutShard, Executed, TaskProof, Traced};
use network_lib::ids::{JobId, LeaseId, TaskId, VkHash};
use network_lib::job::{JobSpec, ProofMode};
use network_lib::shard::{Blob, KnownShard, Named, ShardState, Source, TaskInput, TaskToWorker};
use network_lib::wire::ToWorker;
use shard_plan::{Key, ShardKind, ShardRange};

use crate::fake_executor::execution as found;
use crate::fake_hierophant::blobs::from_hierophant;
use crate::fake_hierophant::{Connection, FakeHierophant, blob_info};
use crate::fake_tasks::{ExecutionCall, ShardCall};
use crate::setup::{Setup, uploads};

const JOB: JobId = JobId([0x3a; 16]);

const COMMON: &[u8] = b"what all shards have in common";

const EVENTS: &[u8] = b"events";

const INDEX: &[u8] = b"list of events";

const PROOF: &[u8] = b"proof of a shard";

/// Order to execute, with its files in place.
fn execution(hierophant: &FakeHierophant, window: u32) -> (LeaseId, ToWorker) {
    let (program, stdin) = uploads();
    let (lease_id, _) = hierophant.lease(&program, &stdin);
    let spec = JobSpec {
        vk_hash: VkHash([7; 32]),
        circuit_version: "v6.1.0".to_owned(),
        mode: ProofMode::Core,
        cycle_limit: u64::MAX,
        gas_limit: 0,
    };
    let (program, stdin) = (blob_info(&program), blob_info(&stdin));
    let max_elements = 1 << 20;
    let window_bytes = 1 << 30;
    let input = TaskInput::Execute { spec, program, stdin, max_elements, window, window_bytes };
    (lease_id, run(lease_id, input))
}

fn run(lease_id: LeaseId, input: TaskInput) -> ToWorker {
    let task = TaskId([0x2b; 16]);
    ToWorker::Task(TaskToWorker::Run { lease_id, job: JOB, task, input, traceparent: None })
}

/// Order to prove a shard whose record is at `from`, with all other inputs in place.
fn shard(hierophant: &FakeHierophant, record: &[u8], from: &[Source]) -> (LeaseId, ToWorker) {
    let (program, stdin) = uploads();
    let (lease_id, _) = hierophant.lease(&program, &stdin);
    let common = hierophant.serve_blob(lease_id, COMMON, &[]);
    let input = TaskInput::ProveShard {
        program: blob_info(&program),
        common,
        record: Blob { info: blob_info(record), from: from.to_vec() },
        named: Vec::new(),
        defers: true,
        mode: ProofMode::Core,
    };
    (lease_id, run(lease_id, input))
}

/// Takes a shard to the point where the prover works on it.
async fn begin_shard(
    setup: &mut Setup,
    connection: &Connection,
    record: &[u8],
) -> (LeaseId, ShardCall) {
    let (lease, order) = shard(&setup.hierophant, record, &[Source::Hierophant]);
    setup.hierophant.serve_blob(lease, record, &[]);
    connection.say(&order);
    (lease, setup.executor.tasks.next_shard().await)
}

/// Takes an execution to the point where the executor works on it.
async fn begin_execution(
    setup: &mut Setup,
    connection: &Connection,
    window: u32,
) -> (LeaseId, ExecutionCall) {
    let (lease, order) = execution(&setup.hierophant, window);
    connection.say(&order);
    (lease, setup.executor.tasks.next_execution().await)
}

/// A core shard that is unlike others.
fn cut(no: u8) -> CutShard {
    CutShard {
        key: Key([no; 32]),
        kind: ShardKind::Core,
        range: ShardRange::PRECOMPILE,
        record: record(no),
        named: Vec::new(),
    }
}

fn record(no: u8) -> Vec<u8> {
    format!("record {no}").into_bytes()
}

fn known(no: u32, state: ShardState) -> KnownShard {
    KnownShard { no, task: TaskId([9; 16]), state }
}

fn shards_known(lease_id: LeaseId, shards: Vec<KnownShard>) -> ToWorker {
    ToWorker::Task(TaskToWorker::ShardsKnown { lease_id, shards })
}

/// State of a shard whose events are known under this id.
fn traced(id: &str, index: &[u8]) -> ShardState {
    ShardState::Traced {
        deferred: Named { id: format!("index of {id}"), blob: from_hierophant(index) },
        named: vec![Named { id: id.to_owned(), blob: from_hierophant(EVENTS) }],
    }
}

fn events() -> Traced {
    Traced {
        deferred: ("index".to_owned(), INDEX.to_vec()),
        named: vec![("events".to_owned(), EVENTS.to_vec())],
    }
}

fn executed() -> Executed {
    Executed { execution: found(), public_values: b"public values".to_vec() }
}

fn shard_proof() -> TaskProof {
    TaskProof { bytes: PROOF.to_vec(), prove_ms: 7 }
}
