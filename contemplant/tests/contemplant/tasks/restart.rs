//! The process dies; records and finished results of tasks do not.

use network_lib::ids::LeaseId;
use network_lib::shard::TaskFromWorker;

use super::{
    COMMON, EVENTS, JOB, PROOF, begin_execution, begin_shard, cut, events, record, shard_proof,
};
use crate::fake_hierophant::blob_info;
use crate::setup::Setup;
use crate::waiting::until;

/// A worker that was killed after it had proved a shard, and before that was settled.
async fn killed_with_a_result() -> (Setup, LeaseId) {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &connection, &record(1)).await;
    call.traced.send(events()).await.unwrap();
    call.finish(Ok(shard_proof()));
    while !matches!(connection.next_task().await, TaskFromWorker::TaskDone { .. }) {}
    setup.kill().await;
    setup.hierophant.withhold_settled(false);
    setup.restart();
    (setup, lease)
}

#[tokio::test]
async fn records_are_listed_by_the_next_process() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_execution(&mut setup, &connection, 8).await;
    call.sink.common(COMMON.to_vec()).await;
    call.sink.shard(cut(1)).await;
    assert!(matches!(connection.next_task().await, TaskFromWorker::Shards { .. }));
    setup.kill().await;
    setup.restart();
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    // The execution itself has to begin again.
    assert!(!connection.hello.held.contains(&lease));
    let depot = connection.next_task().await;
    let TaskFromWorker::Depot { job, blobs, more: false, used_bytes, free_bytes } = depot else {
        panic!("{depot:?}")
    };
    assert_eq!((job, blobs), (JOB, vec![blob_info(&record(1)).sha256]));
    assert_eq!((used_bytes, free_bytes), (8, (16 << 30) - 8));
}

#[tokio::test]
async fn a_finished_result_is_handed_in_by_the_next_process() {
    let (mut setup, lease) = killed_with_a_result().await;
    let mut connection = setup.hierophant.welcome_tasks(&[lease]).await;
    assert_eq!(connection.hello.held, [lease]);
    assert!(matches!(connection.next_task().await, TaskFromWorker::Traced { .. }));
    let done = connection.next_task().await;
    let TaskFromWorker::TaskDone { lease_id, output, .. } = done else { panic!("{done:?}") };
    assert_eq!((lease_id, output), (lease, blob_info(PROOF)));
    assert_eq!(setup.hierophant.received(lease, PROOF), 2);
    assert_eq!(setup.hierophant.received(lease, EVENTS), 2);
    connection.expect_held(&[]).await;
    let folder = setup.depot_folder().join(JOB.to_string());
    until(|| !folder.exists()).await.expect("the result is not deleted");
}

#[tokio::test]
async fn a_finished_result_that_is_not_wanted_any_more_is_removed() {
    let (mut setup, lease) = killed_with_a_result().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    assert_eq!(connection.hello.held, [lease]);
    let folder = setup.depot_folder().join(JOB.to_string());
    until(|| !folder.exists()).await.expect("the result is not deleted");
    connection.expect_held(&[]).await;
    assert_eq!(setup.hierophant.received(lease, PROOF), 1);
}

#[tokio::test]
async fn a_shard_that_was_not_proved_is_not_held_by_the_next_process() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (_, call) = begin_shard(&mut setup, &connection, &record(1)).await;
    call.traced.send(events()).await.unwrap();
    assert!(matches!(connection.next_task().await, TaskFromWorker::Traced { .. }));
    setup.kill().await;
    setup.restart();
    assert_eq!(setup.hierophant.welcome_tasks(&[]).await.hello.held, []);
    assert!(!setup.depot_folder().join(JOB.to_string()).join("results").exists());
}
