//! One attempt, from its lease to its end.

use axum::http::StatusCode;
use network_lib::handshake::GpuLoad;
use network_lib::job::{Failure, FailureClass, Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker};

use crate::fake_executor::{execution, proved, proved_as};
use crate::fake_hierophant::blob_info;
use crate::setup::{Setup, uploads};

fn failure_of(end: FromWorker) -> Failure {
    let FromWorker::Failed { failure, .. } = end else { panic!("not a failure: {end:?}") };
    failure
}

#[tokio::test]
async fn a_proof_is_made_handed_in_and_reported() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);

    let call = setup.executor.next_call().await;
    assert_eq!(*call.job.elf, b"\x7fELF");
    assert_eq!(call.job.stdin, b"input");
    assert_eq!(call.job.program_digest, blob_info(&program).sha256);
    call.events.executed(execution());
    let progress = Progress { fraction: Some(0.5), ..Progress::phase(Phase::Proving) };
    call.events.progress(progress);
    connection
        .expect(|message| {
            let wanted = FromWorker::Executed { lease_id: lease, execution: execution() };
            (*message == wanted).then_some(())
        })
        .await;
    connection
        .expect(|message| {
            (*message == FromWorker::Progress { lease_id: lease, progress }).then_some(())
        })
        .await;
    connection.expect_held(&[lease]).await;
    call.finish(proved());

    let proof = blob_info(b"a proof");
    let end = connection.expect_end(lease).await;
    assert_eq!(end, FromWorker::Completed { lease_id: lease, execution: execution(), proof });
    assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
    connection.expect_held(&[]).await;
}

#[tokio::test]
async fn what_is_kept_for_another_attempt_goes_with_a_proof_or_a_cancellation_and_not_with_a_failure()
 {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (failed, call) = setup.begin(&connection).await;
    call.finish(Err(Failure::new(FailureClass::Worker, "a shard failed")));
    failure_of(connection.expect_end(failed).await);
    assert!(!setup.executor.has_forgotten());

    let (proved_lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    assert!(matches!(connection.expect_end(proved_lease).await, FromWorker::Completed { .. }));
    assert_eq!(setup.executor.next_forgotten().await, proved_lease);

    let (cancelled, call) = setup.begin(&connection).await;
    let reason = "the test says so".to_owned();
    connection.say(&ToWorker::Cancel { lease_id: cancelled, reason });
    call.expect_cancelled().await;
    assert_eq!(setup.executor.next_forgotten().await, cancelled);
}

#[tokio::test]
async fn heartbeats_say_how_busy_the_gpus_are() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let load = GpuLoad { utilisation_percent: Some(97), ..GpuLoad::default() };
    for loads in [vec![load], vec![]] {
        setup.executor.gpu_loads.send_replace(loads.clone());
        connection
            .expect(|message| match message {
                FromWorker::Heartbeat { gpus, .. } => (*gpus == loads).then_some(()),
                _ => None,
            })
            .await;
    }
}

#[tokio::test]
async fn a_proof_of_many_pieces_arrives_whole() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    // Longer than what goes out at once, and no multiple of it.
    let proof: Vec<u8> = (0..1_500_001_u32).map(|n| (n % 251) as u8).collect();
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved_as(proof.clone()));
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    assert!(setup.hierophant.proof(lease).unwrap() == proof, "other bytes arrived");
}

#[tokio::test]
async fn transfers_are_tried_again_when_hierophant_stumbles() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    setup.hierophant.fail_file(lease, "program", &[StatusCode::SERVICE_UNAVAILABLE]);
    setup.hierophant.refuse_proofs(&[StatusCode::INTERNAL_SERVER_ERROR]);
    connection.say(&order);
    setup.executor.next_call().await.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn an_attempt_whose_lease_is_gone_ends_without_blame() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (gone, order) = setup.hierophant.lease(&program, &stdin);
    setup.hierophant.fail_file(gone, "stdin", &[StatusCode::FORBIDDEN]);
    connection.say(&order);
    let failure = failure_of(connection.expect_end(gone).await);
    assert_eq!(failure.class, FailureClass::Infrastructure);

    // Nor is a proof uploaded again indefinitely that Hierophant rejects.
    setup.hierophant.end_leases(2);
    let (gone, call) = setup.begin(&connection).await;
    call.finish(proved());
    let failure = failure_of(connection.expect_end(gone).await);
    assert_eq!(failure.class, FailureClass::Infrastructure);
    setup.expect_on_disk(&[]).await;

    // The slot is free.
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn uploads_that_cannot_be_used_are_the_request_s_fault() {
    let mut setup = Setup::start_with(|config| config.max_decompressed_bytes = 1 << 20).await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (good_program, good_stdin) = uploads();
    let bomb = zstd::encode_all(vec![0; 2 << 20].as_slice(), 3).unwrap();
    let mut broken = good_program.clone();
    broken.truncate(broken.len() - 2);
    let cases: [(&[u8], &[u8], &str); 3] = [
        (b"\x7fELF not wrapped", &good_stdin, "the program cannot be used: it is not a bincode"),
        (&broken, &good_stdin, "the program cannot be used: its zstd compression is broken"),
        (&good_program, &bomb, "the input cannot be used: it unpacks to more than 1048576 bytes"),
    ];
    for (program, stdin, message) in cases {
        let (lease, order) = setup.hierophant.lease(program, stdin);
        connection.say(&order);
        let failure = failure_of(connection.expect_end(lease).await);
        assert_eq!(failure.class, FailureClass::Request);
        assert!(failure.message.starts_with(message), "{}", failure.message);
    }
}

#[tokio::test]
async fn another_circuit_version_is_turned_down_by_name() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (lease, mut order) = setup.hierophant.lease(&program, &stdin);
    if let ToWorker::Prove { spec, .. } = &mut order {
        spec.circuit_version = "v5.0.0".to_owned();
    }
    connection.say(&order);
    let failure = failure_of(connection.expect_end(lease).await);
    assert_eq!(failure.class, FailureClass::Request);
    assert!(failure.message.contains("v5.0.0") && failure.message.contains("v6.1.0"));
}

#[tokio::test]
async fn one_job_too_many_is_handed_back() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (_, first) = setup.hierophant.lease(&program, &stdin);
    let (second_lease, second) = setup.hierophant.lease(&program, &stdin);
    connection.say(&first);
    connection.say(&second);
    let failure = failure_of(connection.expect_end(second_lease).await);
    assert_eq!(failure.class, FailureClass::Infrastructure);
    setup.executor.next_call().await.finish(proved());
}

#[tokio::test]
async fn a_cancelled_attempt_keeps_its_slot_until_the_machine_is_free() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (cancelled, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    let winding_down = setup.executor.next_call().await;
    let reason = "not wanted".to_owned();
    connection.say(&ToWorker::Cancel { lease_id: cancelled, reason });
    winding_down.expect_cancelled().await;

    // The next job is taken and waits its turn.
    let (next, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    let both = if cancelled < next { [cancelled, next] } else { [next, cancelled] };
    connection.expect_held(&both).await;
    winding_down.finish(proved());
    connection.expect_held(&[next]).await;
    setup.executor.next_call().await.finish(proved());
    assert!(matches!(connection.expect_end(next).await, FromWorker::Completed { .. }));
    assert_eq!(setup.hierophant.proof(cancelled), None);
}

#[tokio::test]
async fn a_message_from_the_future_is_passed_over() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    connection.say_text("{\"type\":\"not_invented_yet\",\"x\":1}".to_owned());
    connection.say_text("no json at all".to_owned());
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    setup.executor.next_call().await.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}
