//! Handing in a finished proof when its way is barred, slow or refused, and what Hierophant learns of it.

use std::time::Duration;

use axum::http::StatusCode;
use network_lib::ids::LeaseId;
use network_lib::job::{FailureClass, Phase, ProofMode};
use network_lib::wire::{FromWorker, ToWorker};

use crate::fake_executor::{proved, proved_as};
use crate::fake_hierophant::Connection;
use crate::setup::{Setup, uploads};

/// More refusals than a test gets.
const ALWAYS: usize = 10_000;

/// A Contemplant that tries again at once after a foreign answer.
async fn impatient() -> Setup {
    Setup::start_with(|config| config.foreign_pause = Duration::from_millis(5)).await
}

/// Waits until the worker offers these modes, and returns its obstacle.
async fn offered(connection: &mut Connection, modes: &[ProofMode]) -> Option<String> {
    connection
        .expect(|message| match message {
            FromWorker::CapabilitiesChanged { capabilities } => {
                (capabilities.modes == modes).then(|| capabilities.unavailable_reason.clone())
            }
            _ => None,
        })
        .await
}

/// Waits until the attempt is complete and the worker offers everything again, in any order.
async fn completed_and_offered(connection: &mut Connection, lease: LeaseId) {
    let (mut completed, mut offered) = (false, false);
    while !(completed && offered) {
        let is_end = connection
            .expect(|message| match message {
                FromWorker::Completed { lease_id, .. } => (*lease_id == lease).then_some(true),
                FromWorker::CapabilitiesChanged { capabilities } => {
                    let ready = capabilities.unavailable_reason.is_none();
                    (ready && capabilities.modes == [ProofMode::Core]).then_some(false)
                }
                _ => None,
            })
            .await;
        completed |= is_end;
        offered |= !is_end;
    }
}

#[tokio::test]
async fn an_answer_of_a_proxy_costs_no_proof_and_is_an_obstacle_with_its_remedy() {
    for (status, remedy) in [
        (StatusCode::PAYLOAD_TOO_LARGE, "client_max_body_size"),
        (StatusCode::BAD_REQUEST, "below /leases/ unchanged"),
        (StatusCode::UNAUTHORIZED, "without an authenticating proxy"),
        (StatusCode::FORBIDDEN, "below /leases/ unchanged"),
        (StatusCode::GONE, "below /leases/ unchanged"),
        (StatusCode::METHOD_NOT_ALLOWED, "pass `PUT`"),
        (StatusCode::LENGTH_REQUIRED, "proxy_request_buffering"),
        (StatusCode::PERMANENT_REDIRECT, "hierophant_ws_address"),
        (StatusCode::IM_A_TEAPOT, "below /leases/ unchanged"),
    ] {
        let mut setup = impatient().await;
        let mut connection = setup.hierophant.welcome(&[]).await;
        setup.hierophant.refuse_proofs(&[status; ALWAYS]);
        let (lease, call) = setup.begin(&connection).await;
        call.finish(proved());
        let reason = offered(&mut connection, &[]).await.unwrap();
        assert!(reason.contains(status.as_str()) && reason.contains(remedy), "{reason}");
        assert!(setup.hierophant.uploads() > 0);
        setup.expect_on_disk(&[lease]).await;

        // The proxy is corrected.
        setup.hierophant.refuse_proofs(&[]);
        completed_and_offered(&mut connection, lease).await;
        assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
        setup.expect_on_disk(&[]).await;
    }
}

#[tokio::test]
async fn a_proof_that_a_proxy_refuses_survives_the_process() {
    let mut setup = impatient().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    setup.hierophant.refuse_proofs(&[StatusCode::PAYLOAD_TOO_LARGE; ALWAYS]);
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    offered(&mut connection, &[]).await;
    setup.kill().await;
    setup.hierophant.refuse_proofs(&[]);
    setup.restart();
    let mut connection = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(connection.hello.held, [lease]);
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn a_proof_that_is_no_longer_wanted_removes_the_obstacle() {
    let mut setup = impatient().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    setup.hierophant.refuse_proofs(&[StatusCode::PAYLOAD_TOO_LARGE; ALWAYS]);
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    offered(&mut connection, &[]).await;
    let reason = "the job is cancelled".to_owned();
    connection.say(&ToWorker::Cancel { lease_id: lease, reason });
    assert_eq!(offered(&mut connection, &[ProofMode::Core]).await, None);
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn a_proof_that_hierophant_itself_rejects_is_the_request_s_fault_and_not_uploaded_again() {
    let mut setup = impatient().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    setup.hierophant.reject_proofs("larger than max_artifact_bytes");
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    let FromWorker::Failed { failure, .. } = connection.expect_end(lease).await else {
        panic!("it was accepted");
    };
    assert_eq!(failure.class, FailureClass::Request);
    assert!(failure.message.contains("larger than max_artifact_bytes"), "{failure}");
    assert_eq!(setup.hierophant.uploads(), 1);
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_a_stall_is_awaited() {
    let stall = Duration::from_millis(300);
    let mut setup = Setup::start_with(|config| config.http_timeout = stall).await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    setup.hierophant.store_slowly(stall * 6);
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    assert_eq!(setup.hierophant.uploads(), 1, "it was uploaded again while it was stored");
}

/// Waits for a report of this phase with more steps than these.
async fn steps_after(connection: &mut Connection, phase: Phase, steps: Option<u64>) -> Option<u64> {
    connection
        .expect(|message| match message {
            FromWorker::Progress { progress, .. } if progress.phase == phase => {
                (progress.steps_done > steps).then_some(progress.steps_done)
            }
            _ => None,
        })
        .await
}

/// Of the reports within a second only the first is sent, so the transfers take longer.
#[tokio::test]
async fn downloaded_bytes_are_steps() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    setup.hierophant.serve_slowly(Duration::from_millis(1200));
    let (_lease, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    let steps = steps_after(&mut connection, Phase::Downloading, None).await;
    let all = (program.len() + stdin.len()) as u64;
    assert!(steps > Some(0) && steps <= Some(all), "{steps:?} of {all}");
    setup.executor.next_call().await.finish(proved());
}

/// A worker whose proof is refused again and again by a proxy has not stalled.
#[tokio::test]
async fn uploaded_bytes_are_steps_and_those_of_repeated_uploads_count_too() {
    let mut setup = impatient().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let proof = vec![7; 600_000];
    setup.hierophant.refuse_proofs(&[StatusCode::PAYLOAD_TOO_LARGE; ALWAYS]);
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved_as(proof.clone()));
    let first = steps_after(&mut connection, Phase::Uploading, None).await;
    let later = steps_after(&mut connection, Phase::Uploading, first).await;
    assert!(later > Some(proof.len() as u64), "{later:?}");
    setup.hierophant.refuse_proofs(&[]);
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}
