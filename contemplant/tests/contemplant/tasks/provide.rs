//! Records for other workers, and what is forgotten.

use axum::http::StatusCode;
use network_lib::ids::LeaseId;
use network_lib::shard::{TaskFromWorker, TaskToWorker};
use network_lib::wire::ToWorker;

use super::{COMMON, JOB, begin_execution, begin_shard, cut, record};
use crate::fake_hierophant::{Connection, blob_info};
use crate::fake_tasks::ExecutionCall;
use crate::setup::Setup;
use crate::waiting::until;

fn provide(lease_id: LeaseId, record: &[u8]) -> ToWorker {
    let blob = blob_info(record).sha256;
    ToWorker::Task(TaskToWorker::Provide { lease_id, blob })
}

/// A worker whose depot has two records, which are announced.
async fn with_records() -> (Setup, Connection, LeaseId, ExecutionCall) {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_execution(&mut setup, &connection, 8).await;
    call.sink.common(COMMON.to_vec()).await;
    let mut announced = 0;
    for no in 0..2 {
        call.sink.shard(cut(no)).await;
    }
    while announced < 2 {
        match connection.next_task().await {
            TaskFromWorker::Shards { shards, .. } => announced += shards.len(),
            other => panic!("{other:?}"),
        }
    }
    (setup, connection, lease, call)
}

async fn expect_depot(connection: &mut Connection, records: &[&[u8]]) {
    let mut wanted: Vec<_> = records.iter().map(|record| blob_info(record).sha256).collect();
    wanted.sort_unstable();
    match connection.next_task().await {
        TaskFromWorker::Depot { job, blobs, more, used_bytes, .. } => {
            assert_eq!((job, blobs, more), (JOB, wanted, false));
            assert_eq!(used_bytes, records.iter().map(|record| record.len() as u64).sum::<u64>());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_record_is_handed_in_for_another_worker() {
    let (setup, connection, _, _call) = with_records().await;
    let other = LeaseId::random();
    setup.hierophant.refuse_blobs(&[StatusCode::SERVICE_UNAVAILABLE]);
    connection.say(&provide(other, &record(0)));
    setup.hierophant.expect_received(other, &record(0), 1).await;
    // It is kept, because the shard is not done.
    let again = LeaseId::random();
    connection.say(&provide(again, &record(0)));
    setup.hierophant.expect_received(again, &record(0), 1).await;
}

#[tokio::test]
async fn a_record_that_is_missing_or_damaged_is_answered_with_the_list() {
    let (setup, mut connection, _, _call) = with_records().await;
    connection.say(&provide(LeaseId::random(), b"never kept"));
    expect_depot(&mut connection, &[&record(0), &record(1)]).await;
    let file = blob_info(&record(0)).sha256.to_string();
    std::fs::remove_file(setup.depot_folder().join(JOB.to_string()).join(file)).unwrap();
    connection.say(&provide(LeaseId::random(), &record(0)));
    expect_depot(&mut connection, &[&record(1)]).await;
}

#[tokio::test]
async fn a_worker_without_its_old_depot_answers_with_the_empty_list_of_a_job_that_it_works_on() {
    let (mut setup, _before, _, _call) = with_records().await;
    setup.kill().await;
    std::fs::remove_dir_all(setup.depot_folder()).unwrap();
    setup.restart();
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let _shard = begin_shard(&mut setup, &connection, &record(7)).await;
    connection.say(&provide(LeaseId::random(), &record(0)));
    expect_depot(&mut connection, &[]).await;
}

#[tokio::test]
async fn what_is_forgotten_is_deleted() {
    let (setup, mut connection, lease, call) = with_records().await;
    let blobs = Some(vec![blob_info(&record(0)).sha256]);
    connection.say(&ToWorker::Task(TaskToWorker::Forget { job: JOB, blobs }));
    let folder = setup.depot_folder().join(JOB.to_string());
    let file = |no| folder.join(blob_info(&record(no)).sha256.to_string());
    until(|| !file(0).exists()).await.expect("the record is not deleted");
    assert!(file(1).exists());
    connection.say(&provide(LeaseId::random(), &record(0)));
    expect_depot(&mut connection, &[&record(1)]).await;

    connection.say(&ToWorker::Cancel { lease_id: lease, reason: "the job has ended".to_owned() });
    drop(call);
    connection.say(&ToWorker::Task(TaskToWorker::Forget { job: JOB, blobs: None }));
    until(|| !folder.exists()).await.expect("the job's folder is not deleted");
}
