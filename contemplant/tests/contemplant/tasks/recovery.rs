//! Reconnects: what is repeated, and in which order.

use contemplant::executor::tasks::ShardNews;
use network_lib::ids::LeaseId;
use network_lib::shard::{NewShard, ShardState, TaskFromWorker};

use super::{
    COMMON, EVENTS, INDEX, PROOF, begin_execution, begin_shard, cut, events, executed, known,
    record, shard_proof, shards_known, traced,
};
use crate::fake_hierophant::{Connection, blob_info};
use crate::setup::Setup;
use crate::waiting::until;

/// Shards until that many are announced, in one or more messages.
async fn shards(connection: &mut Connection, lease: LeaseId, count: usize) -> Vec<NewShard> {
    let mut all = Vec::new();
    while all.len() < count {
        match connection.next_task().await {
            TaskFromWorker::Shards { lease_id, shards, .. } => {
                assert_eq!(lease_id, lease);
                all.extend(shards);
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

/// The next message is the list of these records.
async fn depot(connection: &mut Connection, records: &[Vec<u8>]) {
    let mut wanted: Vec<_> = records.iter().map(|record| blob_info(record).sha256).collect();
    wanted.sort_unstable();
    match connection.next_task().await {
        TaskFromWorker::Depot { blobs, more: false, .. } => assert_eq!(blobs, wanted),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_connection_gets_the_depot_then_all_shards_then_the_end() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut first = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, mut call) = begin_execution(&mut setup, &first, 200).await;
    call.sink.common(COMMON.to_vec()).await;
    for no in 0..120 {
        call.sink.shard(cut(no)).await;
    }
    let announced = shards(&mut first, lease, 120).await;
    setup.hierophant.serve_blob(lease, INDEX, &[]);
    let states = vec![
        known(0, ShardState::Done),
        known(1, traced("a", INDEX)),
        known(2, ShardState::Waiting),
    ];
    first.say(&shards_known(lease, states.clone()));
    assert!(matches!(call.next_news().await, ShardNews::Done { no: 0 }));
    assert!(matches!(call.next_news().await, ShardNews::Traced { no: 1, .. }));
    drop(first);
    // While it is away, it continues.
    call.sink.shard(cut(120)).await;

    let mut second = setup.hierophant.welcome_tasks(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    depot(&mut second, &(1..=120).map(record).collect::<Vec<_>>()).await;
    let repeated = shards(&mut second, lease, 121).await;
    assert_eq!(setup.hierophant.received(lease, COMMON), 2);
    assert_eq!(repeated[..120], announced);
    assert_eq!(repeated[120].no, 120);
    // What was news before is not news again.
    second.say(&shards_known(lease, states));
    second.say(&shards_known(lease, vec![known(3, ShardState::Done)]));
    assert!(matches!(call.next_news().await, ShardNews::Done { no: 3 }));
    call.finish(Ok(executed()));
    let end = second.next_task().await;
    assert!(matches!(end, TaskFromWorker::ExecuteEnded { shards: 121, .. }), "{end:?}");
    drop(second);

    let mut third = setup.hierophant.welcome_tasks(&[lease]).await;
    assert_eq!(third.hello.held, [lease]);
    let left = [1, 2].into_iter().chain(4..=120).map(record).collect::<Vec<_>>();
    depot(&mut third, &left).await;
    assert_eq!(shards(&mut third, lease, 121).await, repeated);
    assert_eq!(third.next_task().await, end);
    assert_eq!(setup.hierophant.received(lease, b"public values"), 2);
    third.say(&network_lib::wire::ToWorker::Settled { lease_id: lease });
    third.expect_held(&[]).await;
}

#[tokio::test]
async fn a_new_connection_gets_the_events_and_then_the_proof_again() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut first = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &first, &record(1)).await;
    call.traced.send(events()).await.unwrap();
    let traced = first.next_task().await;
    assert!(matches!(traced, TaskFromWorker::Traced { .. }));
    drop(first);

    // It is traced and not proved yet.
    let mut second = setup.hierophant.welcome_tasks(&[lease]).await;
    assert_eq!(second.next_task().await, traced);
    assert_eq!(setup.hierophant.received(lease, EVENTS), 2);
    assert_eq!(setup.hierophant.received(lease, INDEX), 2);
    assert!(!call.cancel.is_cancelled());
    call.finish(Ok(shard_proof()));
    let done = second.next_task().await;
    assert!(matches!(done, TaskFromWorker::TaskDone { .. }));
    second.expect_held(&[]).await;
    drop(second);

    // It is proved and not settled: both are handed in again before the messages.
    let mut third = setup.hierophant.welcome_tasks(&[lease]).await;
    assert_eq!(third.hello.held, [lease]);
    assert_eq!(third.next_task().await, traced);
    assert_eq!(third.next_task().await, done);
    assert_eq!(setup.hierophant.received(lease, EVENTS), 3);
    assert_eq!(setup.hierophant.received(lease, PROOF), 2);
    third.say(&network_lib::wire::ToWorker::Settled { lease_id: lease });
    third.expect_held(&[]).await;
    drop(third);
    assert_eq!(setup.hierophant.welcome_tasks(&[]).await.hello.held, []);
}

#[tokio::test]
async fn a_failure_is_repeated_until_it_is_settled() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut first = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &first, &record(1)).await;
    call.traced.send(events()).await.unwrap();
    first.next_task().await;
    drop(call);
    let failed = first.next_task().await;
    assert!(matches!(failed, TaskFromWorker::TaskFailed { .. }), "{failed:?}");
    drop(first);
    let mut second = setup.hierophant.welcome_tasks(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    // Its events are of no use to an attempt that has failed.
    assert_eq!(second.next_task().await, failed);
}

#[tokio::test]
async fn a_proof_that_was_finished_while_away_is_handed_in_to_the_next_connection() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &first, &record(1)).await;
    setup.hierophant.vanish(first).await;
    call.traced.send(events()).await.unwrap();
    call.finish(Ok(shard_proof()));
    setup.hierophant.come_back().await;
    let mut second = setup.hierophant.welcome_tasks(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    assert!(matches!(second.next_task().await, TaskFromWorker::Traced { .. }));
    assert!(matches!(second.next_task().await, TaskFromWorker::TaskDone { .. }));
    assert_eq!(setup.hierophant.received(lease, PROOF), 1);
}

#[tokio::test]
async fn a_task_that_is_not_resumed_is_stopped_and_leaves_nothing() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut first = setup.hierophant.welcome_tasks(&[]).await;
    let (done, call) = begin_shard(&mut setup, &first, &record(1)).await;
    call.traced.send(events()).await.unwrap();
    call.finish(Ok(shard_proof()));
    while !matches!(first.next_task().await, TaskFromWorker::TaskDone { .. }) {}
    let (running, call) = begin_shard(&mut setup, &first, &record(2)).await;
    drop(first);
    let mut second = setup.hierophant.welcome_tasks(&[]).await;
    let mut held = [done, running];
    held.sort_unstable();
    assert_eq!(second.hello.held, held);
    call.expect_cancelled().await;
    drop(call);
    second.expect_held(&[]).await;
    let is_empty = || std::fs::read_dir(setup.depot_folder()).unwrap().count() == 0;
    until(is_empty).await.expect("the result is not deleted");
    assert_eq!(setup.hierophant.received(running, PROOF), 0);
}
