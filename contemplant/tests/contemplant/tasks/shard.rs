//! Proofs of shards.

use axum::http::StatusCode;
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass, ProofMode};
use network_lib::shard::{Named, Source, TaskFromWorker, TaskInput, TaskToWorker, TaskUsage};
use network_lib::wire::ToWorker;

use super::{
    COMMON, EVENTS, INDEX, JOB, PROOF, begin_execution, begin_shard, cut, events, record, shard,
    shard_proof,
};
use crate::fake_hierophant::{Connection, blob_info};
use crate::setup::Setup;
use crate::waiting::until;

/// The next failure, which is that of this attempt.
async fn failure(connection: &mut Connection, lease: LeaseId) -> (Failure, Vec<[u8; 32]>) {
    connection
        .expect(|message| match message {
            network_lib::wire::FromWorker::Task(TaskFromWorker::TaskFailed {
                lease_id,
                failure,
                lost,
                ..
            }) => (*lease_id == lease)
                .then(|| (failure.clone(), lost.iter().map(|blob| blob.0).collect())),
            _ => None,
        })
        .await
}

fn traced(lease_id: LeaseId) -> TaskFromWorker {
    let named = |id: &str, bytes| Named { id: id.to_owned(), blob: blob_info(bytes) };
    let (deferred, named) = (named("index", INDEX), vec![named("events", EVENTS)]);
    TaskFromWorker::Traced { lease_id, deferred, named }
}

#[tokio::test]
async fn a_shard_is_traced_proved_and_handed_in() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let record = record(1);
    let (lease, order) = shard(&setup.hierophant, &record, &[Source::Own, Source::Hierophant]);
    setup.hierophant.serve_blob(lease, &record, &[StatusCode::SERVICE_UNAVAILABLE; 2]);
    setup.hierophant.serve_blob(lease, b"events of others", &[]);
    let ToWorker::Task(TaskToWorker::Run { input, .. }) = order else { panic!() };
    let TaskInput::ProveShard { program, common, record: from, .. } = input else { panic!() };
    let id = "named".to_owned();
    let named = vec![Named {
        id: id.clone(),
        blob: crate::fake_hierophant::blobs::from_hierophant(b"events of others"),
    }];
    let (defers, mode) = (true, ProofMode::Core);
    let input = TaskInput::ProveShard { program, common, record: from, named, defers, mode };
    connection.say(&super::run(lease, input));

    let call = setup.executor.tasks.next_shard().await;
    assert_eq!(setup.hierophant.asked(lease, &record), 3);
    assert_eq!(*call.task.elf, b"\x7fELF");
    assert_eq!((call.task.common.as_slice(), &call.task.record), (COMMON, &record));
    assert_eq!(call.task.named, [(id, b"events of others".to_vec())]);
    assert_eq!((&call.task.events_prefix, call.task.defers), (&lease.to_string(), true));
    // The record was looked for in the depot, which lacks it.
    let TaskFromWorker::Depot { job, blobs, more, .. } = connection.next_task().await else {
        panic!()
    };
    assert_eq!((job, blobs.len(), more), (JOB, 0, false));

    call.traced.send(events()).await.unwrap();
    assert_eq!(connection.next_task().await, traced(lease));
    assert_eq!(setup.hierophant.received(lease, EVENTS), 1);
    assert_eq!(setup.hierophant.received(lease, INDEX), 1);
    connection.expect_held(&[lease]).await;
    call.finish(Ok(shard_proof()));
    let TaskFromWorker::TaskDone { lease_id, output, used } = connection.next_task().await else {
        panic!()
    };
    assert_eq!((lease_id, output), (lease, blob_info(PROOF)));
    assert_eq!(setup.hierophant.received(lease, PROOF), 1);
    let TaskUsage { prove_ms, fetched_bytes, .. } = used;
    assert_eq!(prove_ms, 7);
    assert!(fetched_bytes >= (COMMON.len() + record.len() + 16) as u64, "{fetched_bytes}");
    connection.expect_held(&[]).await;
    // Nothing of a settled task is kept, and a fetched record is not either.
    let job = setup.depot_folder().join(JOB.to_string());
    until(|| !job.exists()).await.expect("the result is not deleted");
}

#[tokio::test]
async fn an_own_record_is_taken_from_the_depot_unless_it_is_damaged() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (_, execution) = begin_execution(&mut setup, &connection, 8).await;
    execution.sink.common(COMMON.to_vec()).await;
    for no in 0..2 {
        execution.sink.shard(cut(no)).await;
    }
    let (lease, order) = shard(&setup.hierophant, &record(0), &[Source::Own]);
    connection.say(&order);
    let call = setup.executor.tasks.next_shard().await;
    assert_eq!(call.task.record, record(0));
    assert_eq!(setup.hierophant.asked(lease, &record(0)), 0);
    call.finish(Err(Failure::new(FailureClass::Worker, "out of memory")));
    assert_eq!(failure(&mut connection, lease).await.0.message, "out of memory");

    let file = blob_info(&record(1)).sha256.to_string();
    let file = setup.depot_folder().join(JOB.to_string()).join(file);
    std::fs::write(file, b"Record 1").unwrap();
    let sources = [Source::Own, Source::Hierophant];
    let (lease, order) = shard(&setup.hierophant, &record(1), &sources);
    setup.hierophant.serve_blob(lease, &record(1), &[]);
    connection.say(&order);
    assert_eq!(setup.executor.tasks.next_shard().await.task.record, record(1));
    assert_eq!(setup.hierophant.asked(lease, &record(1)), 1);
    // Hierophant gets the list of what is left.
    let blobs = connection
        .expect(|message| match message {
            network_lib::wire::FromWorker::Task(TaskFromWorker::Depot { blobs, .. }) => {
                Some(blobs.clone())
            }
            _ => None,
        })
        .await;
    assert_eq!(blobs, [blob_info(&record(0)).sha256]);
}

#[tokio::test]
async fn an_input_that_no_source_has_is_reported_as_lost() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, order) = shard(&setup.hierophant, &record(1), &[Source::Own, Source::Hierophant]);
    connection.say(&order);
    let (gone, lost) = failure(&mut connection, lease).await;
    assert_eq!(gone.class, FailureClass::Infrastructure);
    assert_eq!(lost, [blob_info(&record(1)).sha256.0]);
    assert_eq!(setup.hierophant.asked(lease, &record(1)), 2, "one answer may be that of a proxy");

    // 410 means the same, and so do wrong bytes.
    let (lease, order) = shard(&setup.hierophant, &record(1), &[Source::Hierophant]);
    setup.hierophant.serve_blob(lease, &record(1), &[StatusCode::GONE; 2]);
    connection.say(&order);
    assert_eq!(failure(&mut connection, lease).await.1.len(), 1);
    let (lease, order) = shard(&setup.hierophant, &record(1), &[Source::Hierophant]);
    setup.hierophant.serve_instead(lease, &record(1), &record(2), &[]);
    connection.say(&order);
    assert_eq!(failure(&mut connection, lease).await.1.len(), 1);
    assert_eq!(setup.hierophant.asked(lease, &record(1)), 3);
    assert!(!setup.executor.tasks.has_shard());
}

#[tokio::test]
async fn inputs_of_the_next_shard_are_fetched_while_the_prover_works_on_one() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (_, first) = begin_shard(&mut setup, &connection, &record(1)).await;
    let (second, order) = shard(&setup.hierophant, &record(2), &[Source::Hierophant]);
    setup.hierophant.serve_blob(second, &record(2), &[]);
    connection.say(&order);
    setup.hierophant.expect_asked(second, &record(2), 1).await;
    // One more than slots and prefetch.
    let (third, order) = shard(&setup.hierophant, &record(3), &[Source::Hierophant]);
    connection.say(&order);
    assert_eq!(failure(&mut connection, third).await.0.message, "this worker has no free slot");
    assert!(!setup.executor.tasks.has_shard());
    first.traced.send(events()).await.unwrap();
    first.finish(Ok(shard_proof()));
    assert_eq!(setup.executor.tasks.next_shard().await.task.record, record(2));
}

#[tokio::test]
async fn a_cancelled_shard_occupies_the_machine_until_the_prover_returns() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &connection, &record(1)).await;
    call.traced.send(events()).await.unwrap();
    assert_eq!(connection.next_task().await, traced(lease));
    connection.say(&ToWorker::Cancel { lease_id: lease, reason: "not wanted".to_owned() });
    call.expect_cancelled().await;
    connection.expect_held(&[lease]).await;
    call.finish(Ok(shard_proof()));
    connection.expect_held(&[]).await;
    assert_eq!(setup.hierophant.received(lease, PROOF), 0);
    assert!(!setup.depot_folder().join(JOB.to_string()).exists());
}

#[tokio::test]
async fn a_result_that_is_rejected_is_not_handed_in_again() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &connection, &record(1)).await;
    setup.hierophant.reject_blobs("larger than max_artifact_bytes");
    call.traced.send(events()).await.unwrap();
    let (failure, _) = failure(&mut connection, lease).await;
    assert_eq!(failure.class, FailureClass::Request);
    assert!(failure.message.contains("larger than max_artifact_bytes"), "{failure}");
    call.expect_cancelled().await;
}

#[tokio::test]
async fn a_lease_that_has_ended_ends_the_attempt_at_the_second_answer() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &connection, &record(1)).await;
    setup.hierophant.refuse_blobs(&[StatusCode::FORBIDDEN]);
    call.traced.send(events()).await.unwrap();
    assert_eq!(connection.next_task().await, traced(lease));
    setup.hierophant.refuse_blobs(&[StatusCode::FORBIDDEN; 2]);
    call.finish(Ok(shard_proof()));
    let (failure, _) = failure(&mut connection, lease).await;
    assert_eq!(failure.class, FailureClass::Infrastructure);
    assert!(failure.message.contains("the lease is gone"), "{failure}");
}

#[tokio::test]
async fn a_prover_without_the_expected_events_fails() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome_tasks(&[]).await;
    let (lease, call) = begin_shard(&mut setup, &connection, &record(1)).await;
    call.finish(Ok(shard_proof()));
    let (failure, _) = failure(&mut connection, lease).await;
    assert_eq!(failure.class, FailureClass::Worker);
    assert!(failure.message.contains("no precompile events"), "{failure}");
}
