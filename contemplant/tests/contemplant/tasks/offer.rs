//! The offer of tasks, and Hierophants that do not know them.

use std::fs;

use network_lib::job::ProofMode;
use network_lib::shard::{Sharding, TaskFromWorker};
use network_lib::wire::FromWorker;

use super::{JOB, begin_execution, cut, execution};
use crate::fake_executor::proved;
use crate::fake_tasks::sharding;
use crate::setup::Setup;

#[tokio::test]
async fn tasks_are_offered_with_the_size_of_the_depot_while_proofs_are() {
    let mut setup = Setup::start_with(|config| config.max_depot_bytes = 1_000).await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let offered = Sharding { depot_bytes: 1_000, ..sharding() };
    assert_eq!(connection.hello.capabilities.sharding, Some(offered.clone()));
    let changed = |message: &FromWorker| match message {
        FromWorker::CapabilitiesChanged { capabilities } => Some(capabilities.sharding.clone()),
        _ => None,
    };
    setup.executor.tasks.offered.send_replace(None);
    assert_eq!(connection.expect(changed).await, None);
    setup.executor.tasks.offered.send_replace(Some(sharding()));
    assert_eq!(connection.expect(changed).await, Some(offered));
    // A machine that cannot prove takes no tasks.
    setup.executor.capabilities.send_modify(|now| now.modes.clear());
    assert_eq!(connection.expect(changed).await, None);
}

#[tokio::test]
async fn without_take_tasks_none_are_offered_and_an_old_depot_is_removed() {
    let mut setup = Setup::start_with(|config| {
        config.take_tasks = false;
        fs::create_dir_all(config.data_dir.join("depot").join(JOB.to_string())).unwrap();
    })
    .await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    assert_eq!(connection.hello.capabilities.sharding, None);
    assert!(!setup.depot_folder().exists());
    // Whole proofs are made as before.
    let (_, order) = execution(&setup.hierophant, 8);
    connection.say(&order);
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn a_hierophant_of_protocol_2_hears_nothing_of_tasks() {
    let mut setup = Setup::start().await;
    let connection = setup.hierophant.welcome_tasks(&[]).await;
    let (_, call) = begin_execution(&mut setup, &connection, 8).await;
    call.sink.common(b"common".to_vec()).await;
    call.sink.shard(cut(0)).await;
    drop(connection);

    let mut old = setup.hierophant.welcome(&[]).await;
    call.expect_cancelled().await;
    call.sink.shard(cut(1)).await;
    drop(call);
    let (_, order) = execution(&setup.hierophant, 8);
    old.say(&order);
    setup.executor.capabilities.send_modify(|now| now.modes.push(ProofMode::Compressed));
    old.expect(|message| match message {
        FromWorker::Task(task) => panic!("{task:?}"),
        FromWorker::CapabilitiesChanged { capabilities } => {
            assert_eq!(capabilities.sharding, None);
            Some(())
        }
        _ => None,
    })
    .await;
    let (lease, call) = setup.begin(&old).await;
    call.finish(proved());
    old.expect(|message| match message {
        FromWorker::Task(task) => panic!("{task:?}"),
        FromWorker::Completed { lease_id, .. } => (*lease_id == lease).then_some(()),
        _ => None,
    })
    .await;
    drop(old);

    // The depot is listed to the next one that knows tasks.
    let mut new = setup.hierophant.welcome_tasks(&[]).await;
    let TaskFromWorker::Depot { job, blobs, .. } = new.next_task().await else { panic!() };
    assert_eq!((job, blobs.len()), (JOB, 1));
}
