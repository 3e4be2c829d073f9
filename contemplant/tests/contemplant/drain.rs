//! Leaving in good order.

use std::time::Duration;

use axum::http::StatusCode;
use network_lib::job::FailureClass;
use network_lib::wire::{FromWorker, ToWorker};
use tokio::time::{Instant, timeout};

use crate::fake_executor::proved;
use crate::setup::{Setup, uploads};

/// Longer than any test waits.
const AN_HOUR: Duration = Duration::from_secs(3600);

async fn with_grace(grace: Duration) -> Setup {
    Setup::start_with(|config| config.shutdown_grace = Some(grace)).await
}

fn is_given_back(message: &FromWorker) -> bool {
    matches!(message, FromWorker::Failed { failure, .. }
        if failure.class == FailureClass::Infrastructure)
}

#[tokio::test]
async fn a_drained_contemplant_finishes_its_work_and_ends() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    connection.say(&ToWorker::Drain { reason: "maintenance".to_owned() });
    let (program, stdin) = uploads();
    let (late, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    assert!(matches!(connection.expect_end(late).await, FromWorker::Failed { .. }));
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    connection.rest().await;
    setup.expect_end().await;
}

#[tokio::test]
async fn after_a_signal_the_work_is_finished_and_no_more_taken() {
    let mut setup = with_grace(AN_HOUR).await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    setup.shutdown.requested.cancel();
    connection.expect(|m| matches!(m, FromWorker::Draining { .. }).then_some(())).await;
    let (program, stdin) = uploads();
    let (late, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    assert!(is_given_back(&connection.expect_end(late).await));
    assert!(!call.cancel.is_cancelled());

    setup.hierophant.withhold_settled(true);
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    assert!(setup.hierophant.proof(lease).is_some());
    // What is not confirmed may be lost, so it waits.
    connection.expect_held(&[]).await;
    connection.expect_held(&[]).await;
    assert!(!setup.contemplant.is_finished());
    connection.say(&ToWorker::Settled { lease_id: lease });
    connection.rest().await;
    setup.expect_end().await;
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn without_grace_the_work_is_given_back_at_once() {
    let mut setup = with_grace(Duration::ZERO).await;
    let connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    setup.shutdown.requested.cancel();
    call.expect_cancelled().await;
    drop(call);

    let messages = connection.rest().await;
    assert!(messages.iter().any(|message| matches!(message, FromWorker::Draining { .. })));
    assert!(messages.iter().any(|message| is_given_back(message)
        && matches!(message, FromWorker::Failed { lease_id, .. } if *lease_id == lease)));
    setup.expect_end().await;
}

#[tokio::test]
async fn work_that_outlasts_the_grace_is_given_back() {
    let grace = Duration::from_millis(300);
    let mut setup = with_grace(grace).await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    let start = Instant::now();
    setup.shutdown.requested.cancel();
    assert!(is_given_back(&connection.expect_end(lease).await));
    assert!(start.elapsed() >= grace, "{:?}", start.elapsed());
    call.expect_cancelled().await;
    drop(call);
    setup.expect_end().await;
}

#[tokio::test]
async fn a_second_signal_gives_the_work_back_at_once() {
    let mut setup = with_grace(AN_HOUR).await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    setup.shutdown.requested.cancel();
    connection.expect(|m| matches!(m, FromWorker::Draining { .. }).then_some(())).await;
    setup.shutdown.at_once.cancel();
    assert!(is_given_back(&connection.expect_end(lease).await));
    call.expect_cancelled().await;
    drop(call);
    connection.rest().await;
    setup.expect_end().await;
}

#[tokio::test]
async fn hierophant_may_come_back_while_the_grace_lasts() {
    let mut setup = with_grace(AN_HOUR).await;
    let connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    setup.hierophant.vanish(connection).await;
    setup.shutdown.requested.cancel();
    call.finish(proved());
    setup.expect_on_disk(&[lease]).await;

    setup.hierophant.come_back().await;
    let mut connection = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(connection.hello.held, [lease]);
    connection.expect(|m| matches!(m, FromWorker::Draining { .. }).then_some(())).await;
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    connection.rest().await;
    setup.expect_end().await;
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn a_proof_that_nobody_takes_is_there_at_the_next_start() {
    let mut setup = with_grace(Duration::from_millis(300)).await;
    let connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    setup.hierophant.vanish(connection).await;
    call.finish(proved());
    setup.expect_on_disk(&[lease]).await;
    setup.shutdown.requested.cancel();
    setup.expect_end().await;
    setup.expect_on_disk(&[lease]).await;

    setup.hierophant.come_back().await;
    setup.restart();
    let mut connection = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(connection.hello.held, [lease]);
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn a_finished_proof_is_never_given_back() {
    let mut setup = with_grace(Duration::ZERO).await;
    setup.hierophant.refuse_proofs(&[StatusCode::SERVICE_UNAVAILABLE; 100]);
    let connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    setup.expect_on_disk(&[lease]).await;
    setup.shutdown.requested.cancel();
    let messages = connection.rest().await;
    assert!(!messages.iter().any(is_given_back), "{messages:?}");
    setup.expect_end().await;
    setup.expect_on_disk(&[lease]).await;
}

#[tokio::test]
async fn an_idle_contemplant_says_good_bye_and_ends() {
    let mut setup = with_grace(AN_HOUR).await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    connection.expect_held(&[]).await;
    setup.shutdown.requested.cancel();
    let messages = connection.rest().await;
    assert!(messages.iter().any(|message| matches!(message, FromWorker::Draining { .. })));
    setup.expect_end().await;
}

#[tokio::test]
async fn an_idle_contemplant_does_not_wait_for_a_hierophant() {
    let mut setup = Setup::start_with(|config| {
        config.hierophant_ws_address = "ws://127.0.0.1:9/ws".to_owned();
        config.shutdown_grace = Some(AN_HOUR);
    })
    .await;
    let early = timeout(Duration::from_millis(100), &mut setup.contemplant).await;
    assert!(early.is_err(), "it has ended before: {early:?}");
    setup.shutdown.requested.cancel();
    setup.expect_end().await;
}
