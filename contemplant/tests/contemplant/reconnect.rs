//! Connections break; attempts do not.

use axum::http::StatusCode;
use network_lib::handshake::{Capabilities, ProtocolRange, Refusal, RefusalCode};
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass, ProofMode};
use network_lib::wire::{FromWorker, ToWorker};

use crate::fake_executor::proved;
use crate::setup::{Setup, uploads};

#[tokio::test]
async fn a_proof_finished_while_away_is_handed_in_to_the_next_connection() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    let identity = first.hello.worker_id;
    drop(first);
    call.finish(proved());

    let mut second = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(second.hello.worker_id, identity);
    assert_eq!(second.hello.held, [lease]);
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
    assert!(setup.hierophant.proof(lease).is_some());
}

#[tokio::test]
async fn an_attempt_goes_on_over_a_reconnect() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    drop(first);
    let mut second = setup.hierophant.welcome(&[lease]).await;
    second.expect_held(&[lease]).await;
    assert!(!call.cancel.is_cancelled());
    call.finish(proved());
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn an_attempt_that_is_not_resumed_is_stopped() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    drop(first);
    let mut second = setup.hierophant.welcome(&[]).await;
    call.expect_cancelled().await;
    call.finish(proved());
    second.expect_held(&[]).await;
    assert_eq!(setup.hierophant.proof(lease), None);
}

#[tokio::test]
async fn an_end_that_may_not_have_arrived_is_told_again() {
    let mut setup = Setup::start().await;
    let mut first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    first.expect_held(&[lease]).await;
    // From here on nothing is read: what is said is lost with the connection.
    first.be_silent();
    call.finish(proved());

    let mut second = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn an_end_is_told_to_each_connection_until_it_is_settled() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    call.finish(proved());
    let end = first.expect_end(lease).await;
    // It was read, and heartbeats are exchanged, but it was not acknowledged as stored.
    first.expect_held(&[]).await;
    first.expect_held(&[]).await;
    setup.expect_on_disk(&[lease]).await;
    drop(first);

    let mut second = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    assert_eq!(second.expect_end(lease).await, end);
    second.say(&ToWorker::Settled { lease_id: lease });
    setup.expect_on_disk(&[]).await;
    drop(second);

    let third = setup.hierophant.welcome(&[]).await;
    assert_eq!(third.hello.held, []);
}

#[tokio::test]
async fn an_end_that_is_not_wanted_any_more_is_forgotten() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    call.finish(proved());
    first.expect_end(lease).await;
    drop(first);
    let second = setup.hierophant.welcome(&[]).await;
    assert_eq!(second.hello.held, [lease]);
    setup.expect_on_disk(&[]).await;
    drop(second);
    assert_eq!(setup.hierophant.welcome(&[]).await.hello.held, []);
}

#[tokio::test]
async fn a_failure_is_told_again_too() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    call.finish(Err(Failure::new(FailureClass::Guest, "it panics")));
    let end = first.expect_end(lease).await;
    drop(first);
    let mut second = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    assert_eq!(second.expect_end(lease).await, end);
}

#[tokio::test]
async fn a_hierophant_that_was_down_gets_what_was_finished_meanwhile() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    setup.hierophant.vanish(first).await;
    call.finish(proved());
    // It is safe before it is handed in.
    setup.expect_on_disk(&[lease]).await;
    assert_eq!(setup.hierophant.proof(lease), None);

    setup.hierophant.come_back().await;
    let mut second = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
    assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn a_403_before_the_handshake_costs_no_proof() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    drop(first);
    let mut second = setup.hierophant.accept().await;
    setup.hierophant.end_leases(1);
    call.finish(proved());
    setup.hierophant.expect_ended_leases().await;
    setup.expect_on_disk(&[lease]).await;
    assert_eq!(setup.hierophant.proof(lease), None);

    second.welcome(&[lease]);
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
    assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
}

#[tokio::test]
async fn an_upload_with_an_outdated_key_is_tried_again_with_the_key_of_the_next_welcome() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&first).await;
    drop(first);
    let mut second = setup.hierophant.accept().await;
    setup.hierophant.forget_key();
    call.finish(proved());
    setup.hierophant.expect_turned_away(1).await;
    setup.expect_on_disk(&[lease]).await;
    assert_eq!(setup.hierophant.proof(lease), None);

    second.welcome(&[lease]);
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
    assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
    assert_eq!(setup.hierophant.turned_away(), 1, "it is not tried before there is another key");
}

#[tokio::test]
async fn a_download_with_an_outdated_key_is_tried_again_with_the_key_of_the_next_welcome() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    setup.hierophant.forget_key();
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    first.say(&order);
    // The program and the input.
    setup.hierophant.expect_turned_away(2).await;
    drop(first);
    let mut second = setup.hierophant.welcome(&[lease]).await;
    setup.executor.next_call().await.finish(proved());
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
    assert_eq!(setup.hierophant.turned_away(), 2);
}

#[tokio::test]
async fn a_contemplant_that_is_not_wanted_any_more_is_told_why_and_ends() {
    let mut setup = Setup::start().await;
    let connection = setup.hierophant.welcome(&[]).await;
    connection.say(&ToWorker::Refused(Refusal {
        code: RefusalCode::Unauthorized,
        message: "the token rig-7 was revoked".to_owned(),
        protocol: ProtocolRange::OURS,
    }));
    let error = setup.contemplant.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the token rig-7 was revoked"), "{error}");
}

#[tokio::test]
async fn a_resumed_attempt_that_is_not_here_is_given_back() {
    let mut setup = Setup::start().await;
    let lease = LeaseId::random();
    let mut connection = setup.hierophant.welcome(&[lease]).await;
    let FromWorker::Failed { failure, .. } = connection.expect_end(lease).await else {
        panic!("it was never held");
    };
    assert_eq!(failure.class, FailureClass::Infrastructure);
}

#[tokio::test]
async fn a_cancelled_attempt_leaves_nothing_on_disk() {
    let mut setup = Setup::start().await;
    setup.hierophant.refuse_proofs(&[StatusCode::SERVICE_UNAVAILABLE; 100]);
    let connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    setup.expect_on_disk(&[lease]).await;
    connection.say(&ToWorker::Cancel { lease_id: lease, reason: "not wanted".to_owned() });
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn new_modes_are_announced_and_a_broken_prover_ends_the_program() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let modes = vec![ProofMode::Core, ProofMode::Compressed];
    setup.executor.capabilities.send_modify(|capabilities| capabilities.modes.clone_from(&modes));
    connection
        .expect(|message| match message {
            FromWorker::CapabilitiesChanged { capabilities: Capabilities { modes: new, .. } } => {
                (*new == modes).then_some(())
            }
            _ => None,
        })
        .await;
    drop(setup.executor);
    let error = setup.contemplant.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("prover has stopped working"), "{error}");
}
