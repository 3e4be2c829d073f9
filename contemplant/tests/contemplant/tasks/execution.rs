//! Executions.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use contemplant::executor::tasks::{CutShard, ShardNews};
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};
use network_lib::shard::{Named, NewShard, ShardState, TaskFromWorker, TaskInput};
use network_lib::wire::ToWorker;
use shard_plan::ShardKind;
use tokio::time::timeout;

use super::{
    COMMON, EVENTS, INDEX, JOB, begin_execution, cut, executed, execution, known, record, run,
    shards_known, traced,
};
use crate::fake_executor::execution as found;
use crate::fake_hierophant::{Connection, blob_info};
use crate::fake_tasks::ExecutionCall;
use crate::setup::Setup;
use crate::waiting::{PATIENCE, until};

/// Time in which nothing happens that must not.
const MOMENT: Duration = Duration::from_millis(200);

/// The next announced shards, which are those of this execution.
async fn next_shards(connection: &mut Connection, lease: LeaseId) -> Vec<NewShard> {
    match connection.next_task().await {
        TaskFromWorker::Shards { lease_id, common, shards } => {
            assert_eq!((lease_id, common), (lease, blob_info(COMMON)));
            shards
        }
        other => panic!("{other:?}"),
    }
}

async fn next_failure(connection: &mut Connection, lease: LeaseId) -> (Failure, usize) {
    match connection.next_task().await {
        TaskFromWorker::TaskFailed { lease_id, failure, lost, .. } => {
            assert_eq!(lease_id, lease);
            (failure, lost.len())
        }
        other => panic!("{other:?}"),
    }
}

/// Announces a shard in the background, and returns when that has ended.
fn announce(call: &ExecutionCall, shard: CutShard) -> tokio::task::JoinHandle<()> {
    let sink = Arc::clone(&call.sink);
    network_lib::task::spawn("announce", async move { sink.shard(shard).await })
}

async fn expect_records(setup: &Setup, records: &[&[u8]]) {
    let mut wanted: Vec<String> =
        records.iter().map(|record| blob_info(record).sha256.to_string()).collect();
    wanted.sort_unstable();
    let folder = setup.depot_folder().join(JOB.to_string());
    let found = || {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    let waited = until(|| found() == wanted).await;
    assert!(waited.is_ok(), "{:?} instead of {wanted:?}", found());
}

#[tokio::test]
async fn an_execution_announces_its_shards_and_ends_when_it_is_settled() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, mut call) = begin_execution(&mut setup, &connection, 8).await;
    assert_eq!(*call.task.elf, b"\x7fELF");
    assert_eq!((call.task.stdin.as_slice(), call.task.max_elements), (&b"input"[..], 1 << 20));
    connection.expect_held(&[lease]).await;
    call.sink.common(COMMON.to_vec()).await;
    for no in 0..3 {
        call.sink.shard(cut(no)).await;
    }
    let mut shards = Vec::new();
    while shards.len() < 3 {
        shards.extend(next_shards(&mut connection, lease).await);
    }
    assert_eq!(setup.hierophant.received(lease, COMMON), 1);
    for (no, shard) in (0_u8..).zip(&shards) {
        assert_eq!((shard.no, shard.key.0, shard.kind), (no.into(), [no; 32], ShardKind::Core));
        assert_eq!(shard.record, blob_info(&record(no)));
    }
    expect_records(&setup, &[&record(0), &record(1), &record(2)]).await;

    // What is done need not be kept.
    let states = [ShardState::Done, ShardState::Waiting, ShardState::Waiting];
    let states = (0..).zip(states).map(|(no, state)| known(no, state)).collect();
    connection.say(&shards_known(lease, states));
    assert!(matches!(call.next_news().await, ShardNews::Done { no: 0 }));
    expect_records(&setup, &[&record(1), &record(2)]).await;

    setup.hierophant.withhold_settled(true);
    call.finish(Ok(executed()));
    let ended = TaskFromWorker::ExecuteEnded {
        lease_id: lease,
        shards: 3,
        execution: found(),
        public_values: blob_info(b"public values"),
    };
    assert_eq!(connection.next_task().await, ended);
    assert_eq!(setup.hierophant.received(lease, b"public values"), 1);
    connection.expect_held(&[]).await;
    connection.say(&ToWorker::Settled { lease_id: lease });
    // The records are still needed.
    expect_records(&setup, &[&record(1), &record(2)]).await;
    drop(connection);
    let again = setup.hierophant.welcome_tasks(&[]).await;
    assert_eq!(again.hello.held, []);
}

#[tokio::test]
async fn a_full_window_holds_the_execution_back_until_a_shard_is_done() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_execution(&mut setup, &connection, 2).await;
    call.sink.common(COMMON.to_vec()).await;
    call.sink.shard(cut(0)).await;
    // The second one is announced, but the next must not be cut.
    let mut second = announce(&call, cut(1));
    let mut shards = next_shards(&mut connection, lease).await;
    while shards.len() < 2 {
        shards.extend(next_shards(&mut connection, lease).await);
    }
    assert!(timeout(MOMENT, &mut second).await.is_err(), "the window is full");
    connection.say(&shards_known(lease, vec![known(1, ShardState::Done)]));
    timeout(PATIENCE, second).await.expect("there is room").unwrap();
    let third = announce(&call, cut(2));
    let [shard] = &next_shards(&mut connection, lease).await[..] else { panic!() };
    assert_eq!(shard.no, 2);
    // A cancelled execution does not wait.
    connection.say(&ToWorker::Cancel { lease_id: lease, reason: "not wanted".to_owned() });
    timeout(PATIENCE, third).await.expect("it still waits").unwrap();
    call.expect_cancelled().await;
    call.finish(Ok(executed()));
    connection.expect_held(&[]).await;
    assert_eq!(setup.hierophant.received(lease, b"public values"), 0);
}

#[tokio::test]
async fn traced_shards_are_given_once_in_their_order_with_the_list_of_their_events() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, mut call) = begin_execution(&mut setup, &connection, 8).await;
    call.sink.common(COMMON.to_vec()).await;
    for no in 0..2 {
        call.sink.shard(cut(no)).await;
    }
    let mut announced = 0;
    while announced < 2 {
        announced += next_shards(&mut connection, lease).await.len();
    }
    let second = b"another list";
    setup.hierophant.serve_blob(lease, INDEX, &[]);
    setup.hierophant.serve_blob(lease, second, &[]);
    let states = vec![known(1, traced("b", second)), known(0, traced("a", INDEX))];
    connection.say(&shards_known(lease, states.clone()));
    connection.say(&shards_known(lease, states));
    for (no, id, index) in [(1, "b", &second[..]), (0, "a", INDEX)] {
        match call.next_news().await {
            ShardNews::Traced { no: given, deferred, named } => {
                assert_eq!(given, no);
                assert_eq!(deferred, (format!("index of {id}"), index.to_vec()));
                assert_eq!(named, [(id.to_owned(), blob_info(EVENTS))]);
            }
            other => panic!("{other:?}"),
        }
    }
    connection.say(&shards_known(lease, vec![known(0, ShardState::Done)]));
    assert!(matches!(call.next_news().await, ShardNews::Done { no: 0 }));

    // A precompile shard refers to events, of which the worker knows size and digest.
    let named = vec!["a".to_owned(), "b".to_owned()];
    call.sink.shard(CutShard { kind: ShardKind::Precompile, named, ..cut(2) }).await;
    let shards = next_shards(&mut connection, lease).await;
    let named = |id: &str| Named { id: id.to_owned(), blob: blob_info(EVENTS) };
    assert_eq!(shards[0].named, [named("a"), named("b")]);

    // What no core shard has traced cannot be referred to.
    let unknown = vec!["c".to_owned()];
    call.sink.shard(CutShard { named: unknown, ..cut(3) }).await;
    let (failure, _) = next_failure(&mut connection, lease).await;
    assert_eq!(failure.class, FailureClass::Worker);
    assert!(failure.message.contains("unknown precompile events \"c\""), "{failure}");
    call.expect_cancelled().await;
}

#[tokio::test]
async fn a_lost_list_of_events_ends_the_execution() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_execution(&mut setup, &connection, 8).await;
    call.sink.common(COMMON.to_vec()).await;
    call.sink.shard(cut(0)).await;
    next_shards(&mut connection, lease).await;
    connection.say(&shards_known(lease, vec![known(0, traced("a", INDEX))]));
    let (failure, lost) = next_failure(&mut connection, lease).await;
    assert_eq!((failure.class, lost), (FailureClass::Infrastructure, 1));
    assert_eq!(setup.hierophant.asked(lease, INDEX), 2, "one answer may be that of a proxy");
    call.expect_cancelled().await;
    call.finish(Ok(executed()));
    connection.expect_held(&[]).await;
}

#[tokio::test]
async fn a_full_depot_holds_the_execution_back_or_ends_it() {
    let mut setup = Setup::start_with(|config| config.max_depot_bytes = 12).await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_execution(&mut setup, &connection, 8).await;
    call.sink.common(COMMON.to_vec()).await;
    call.sink.shard(cut(0)).await;
    assert_eq!(next_shards(&mut connection, lease).await.len(), 1);
    let mut second = announce(&call, cut(1));
    assert!(timeout(MOMENT, &mut second).await.is_err(), "there is no room");
    connection.say(&shards_known(lease, vec![known(0, ShardState::Done)]));
    timeout(PATIENCE, second).await.expect("there is room").unwrap();
    assert_eq!(next_shards(&mut connection, lease).await[0].no, 1);
    connection.say(&shards_known(lease, vec![known(1, ShardState::Done)]));
    expect_records(&setup, &[]).await;
    call.sink.shard(CutShard { record: vec![0; 13], ..cut(2) }).await;
    let (failure, _) = next_failure(&mut connection, lease).await;
    assert_eq!(failure.class, FailureClass::Infrastructure);
    assert!(failure.message.contains("the depot is full"), "{failure}");
    call.expect_cancelled().await;
}

#[tokio::test]
async fn a_failure_of_the_program_is_reported_and_common_is_kept_back_without_shards() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_execution(&mut setup, &connection, 8).await;
    call.sink.common(COMMON.to_vec()).await;
    call.finish(Err(Failure::new(FailureClass::Guest, "it panics")));
    let (failure, lost) = next_failure(&mut connection, lease).await;
    assert_eq!((failure.class, lost), (FailureClass::Guest, 0));
    assert_eq!(setup.hierophant.received(lease, COMMON), 0);
    connection.expect_held(&[]).await;
}

#[tokio::test]
async fn what_this_worker_does_not_take_is_refused() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let blob = setup.hierophant.serve_blob(LeaseId::random(), PROOF, &[]);
    let lease = LeaseId::random();
    connection.say(&run(lease, TaskInput::Retrace { common: blob.clone(), record: blob }));
    let (failure, _) = next_failure(&mut connection, lease).await;
    assert_eq!(failure.class, FailureClass::Infrastructure);
    assert!(failure.message.contains("tasks of kind retrace are not taken"), "{failure}");

    let (lease, mut order) = execution(&setup.hierophant, 8);
    if let ToWorker::Task(network_lib::shard::TaskToWorker::Run { input, .. }) = &mut order
        && let TaskInput::Execute { spec, .. } = input
    {
        spec.circuit_version = "v5".to_owned();
    }
    connection.say(&order);
    let (failure, _) = next_failure(&mut connection, lease).await;
    assert_eq!(failure.class, FailureClass::Request);
    assert!(failure.message.contains("circuit version v5"), "{failure}");
}

const PROOF: &[u8] = b"a proof";
