//! Connections break; attempts do not.

use network_lib::handshake::Capabilities;
use network_lib::job::ProofMode;
use network_lib::wire::FromWorker;

use crate::fake_executor::proved;
use crate::setup::{Setup, uploads};

#[tokio::test]
async fn a_proof_finished_while_away_is_handed_in_to_the_next_connection() {
    let mut setup = Setup::start().await;
    let first = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    first.say(&order);
    let call = setup.executor.next_call().await;
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
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    first.say(&order);
    let call = setup.executor.next_call().await;
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
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    first.say(&order);
    let call = setup.executor.next_call().await;
    drop(first);
    let mut second = setup.hierophant.welcome(&[]).await;
    call.cancel.cancelled().await;
    call.finish(proved());
    second.expect_held(&[]).await;
    assert_eq!(setup.hierophant.proof(lease), None);
}

#[tokio::test]
async fn an_end_that_may_not_have_arrived_is_told_again() {
    let mut setup = Setup::start().await;
    let mut first = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    first.say(&order);
    let call = setup.executor.next_call().await;
    first.expect_held(&[lease]).await;
    // From here on nothing is read: what is said is lost with the connection.
    first.be_silent();
    call.finish(proved());

    let mut second = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(second.hello.held, [lease]);
    assert!(matches!(second.expect_end(lease).await, FromWorker::Completed { .. }));
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
