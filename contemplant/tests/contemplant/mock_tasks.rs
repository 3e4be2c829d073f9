//! Tasks of the mock backend.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contemplant::config::MockShards;
use contemplant::executor::Executor;
use contemplant::executor::keys::KeyFiles;
use contemplant::executor::mock::MockExecutor;
use contemplant::executor::tasks::{CutShard, ExecuteTask, ShardTask, TaskExecutor};
use network_lib::ids::{Sha256Digest, VkHash};
use network_lib::job::{Failure, FailureClass, JobSpec, ProofMode};
use network_lib::shard::TaskKind;
use shard_plan::{Plan, ShardKind};
use sp1_core_machine::io::SP1Stdin;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::mock_backend::helper;
use super::sharded::{Announced, PATIENCE, make};
use crate::waiting::until;

const SHARDS: MockShards = MockShards {
    count: 11,
    record_bytes: 10_000,
    prove_time: Duration::from_millis(10),
    part_bytes: 300,
};

fn executor(data_dir: &Path) -> Arc<dyn TaskExecutor> {
    let keys = KeyFiles::new(&data_dir.join("keys"));
    let mock = MockExecutor::new(Duration::ZERO, ProofMode::ALL.to_vec(), helper(data_dir), keys);
    mock.with_shards(SHARDS, 3).tasks().expect("it makes tasks")
}

pub(crate) fn task(n: u32) -> ExecuteTask {
    let mut stdin = SP1Stdin::new();
    stdin.write(&n);
    ExecuteTask {
        spec: JobSpec {
            vk_hash: VkHash(fibonacci::VK_HASH),
            circuit_version: "v6.1.0".to_owned(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        },
        program_digest: Sha256Digest([1; 32]),
        elf: Arc::new(fibonacci::ELF.to_vec()),
        stdin: bincode::serialize(&stdin).unwrap(),
        max_elements: 1 << 28,
    }
}

/// One test, since deriving the program's key takes seconds and is done once for all of it.
#[tokio::test]
async fn a_mock_proof_is_made_by_tasks() {
    let data_dir = tempfile::tempdir().unwrap();
    let executor = executor(data_dir.path());
    let offered = executor.offered().borrow().clone().expect("ready at once");
    let never_planned = |kind: &TaskKind| matches!(kind, TaskKind::Measure | TaskKind::Retrace);
    let all = TaskKind::ALL.into_iter().filter(|kind| !never_planned(kind));
    assert!(offered.recursion && offered.kinds.iter().copied().eq(all), "{offered:?}");
    assert_eq!((offered.prove_slots, offered.prefetch), (3, 1));

    let made = make(&executor, &task(10)).await.unwrap();
    assert_eq!(made.executed.public_values, fibonacci::public_values(10));
    assert!(made.executed.execution.cycles > 1_000);
    let mut plan = Plan::default();
    for (shard, part) in &made.shards {
        plan.announce(shard.key, shard.kind, shard.range).unwrap();
        assert_eq!((shard.record.len(), part.len()), (10_000, 300));
    }
    plan.execute_ended().unwrap();
    assert_eq!(plan.leaves(), 11);
    let precompile = |(shard, _): &&(CutShard, Vec<u8>)| shard.kind == ShardKind::Precompile;
    let packed: Vec<_> = made.shards.iter().filter(precompile).collect();
    assert_eq!(packed.len(), 2);
    assert!(packed.iter().all(|(shard, _)| !shard.named.is_empty()));

    assert_eq!(make(&executor, &task(10)).await.unwrap().keys(), made.keys());
    assert_ne!(make(&executor, &task(11)).await.unwrap().keys(), made.keys());
    let mut compressed = task(10);
    compressed.spec.mode = ProofMode::Compressed;
    assert_eq!(make(&executor, &compressed).await.unwrap().keys(), made.keys());
    failures_have_the_classes_of_whole_proofs(&executor, &made.executed.execution.cycles).await;
    wrong_inputs_are_refused(&executor, &made.shards).await;
    a_cancelled_execution_ends_while_its_window_is_full(&executor).await;
}

async fn failures_have_the_classes_of_whole_proofs(executor: &Arc<dyn TaskExecutor>, cycles: &u64) {
    let failed = async |task: ExecuteTask| match make(executor, &task).await {
        Ok(_) => panic!("it has not failed"),
        Err(Failure { class, .. }) => class,
    };
    let mut limited = task(10);
    limited.spec.cycle_limit = cycles - 1;
    assert_eq!(failed(limited).await, FailureClass::Request);
    let mut other = task(10);
    other.spec.vk_hash = VkHash([7; 32]);
    assert_eq!(failed(other).await, FailureClass::Request);
    let mut without_input = task(10);
    without_input.stdin = bincode::serialize(&SP1Stdin::new()).unwrap();
    assert_eq!(failed(without_input).await, FailureClass::Guest);
}

async fn wrong_inputs_are_refused(
    executor: &Arc<dyn TaskExecutor>,
    shards: &[(CutShard, Vec<u8>)],
) {
    let (receiver, _announced) = Announced::new(0);
    let (_news, states) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let stop = cancel.clone().drop_guard();
    let common = {
        let executing = executor.execute(task(10), Arc::clone(&receiver) as _, states, cancel);
        tokio::pin!(executing);
        tokio::select! {
            _ = &mut executing => panic!("its window is full"),
            waited = until(|| !receiver.common().is_empty()) => waited.expect("no common input"),
        }
        receiver.common()
    };
    drop(stop);
    let shard = |record: Vec<u8>| ShardTask {
        program_digest: Sha256Digest([1; 32]),
        elf: Arc::new(fibonacci::ELF.to_vec()),
        common: common.clone(),
        record,
        named: Vec::new(),
        events_prefix: "prefix".to_owned(),
        defers: false,
        mode: ProofMode::Core,
    };
    let prove = async |task: ShardTask| {
        let (traced, mut events) = mpsc::channel(1);
        let proved = executor.prove_shard(task, traced, CancellationToken::new()).await;
        assert!(events.recv().await.is_none(), "events that were not wanted");
        proved.map(|proof| proof.bytes).map_err(|failure| failure.message)
    };
    let (core, part) = &shards[0];
    assert_eq!(&prove(shard(core.record.clone())).await.unwrap(), part);
    let mut changed = core.record.clone();
    changed[9_000] ^= 1;
    assert!(prove(shard(changed)).await.unwrap_err().contains("not those of its shard"));
    let mut of_another = shard(core.record.clone());
    // The first digit of the program's digest, after the length of the text.
    of_another.common[8] ^= 1;
    assert!(
        prove(of_another).await.unwrap_err().contains("another program, input or kind of proof")
    );
    let (packed, _) = &shards[shards.len() - 1];
    assert!(prove(shard(packed.record.clone())).await.unwrap_err().contains("are missing"));
    let mut false_events = shard(packed.record.clone());
    false_events.named = packed.named.iter().map(|id| (id.clone(), vec![0; 64])).collect();
    assert!(prove(false_events).await.unwrap_err().contains("have other bytes"));
}

async fn a_cancelled_execution_ends_while_its_window_is_full(executor: &Arc<dyn TaskExecutor>) {
    let (receiver, mut announced) = Announced::new(1);
    let (_news, states) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let executing = executor.execute(task(10), receiver, states, cancel.clone());
    let cancelling = async {
        announced.recv().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(announced.is_empty(), "the window holds one shard");
        cancel.cancel();
    };
    let (executed, ()) =
        timeout(PATIENCE, async { tokio::join!(executing, cancelling) }).await.unwrap();
    assert_eq!(executed.unwrap_err().class, FailureClass::Infrastructure);
}
