//! Leaving in good order.

use network_lib::job::FailureClass;
use network_lib::wire::{FromWorker, ToWorker};

use crate::fake_executor::proved;
use crate::setup::{Setup, uploads};

#[tokio::test]
async fn a_drained_contemplant_finishes_its_work_and_ends() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    let call = setup.executor.next_call().await;
    connection.say(&ToWorker::Drain { reason: "maintenance".to_owned() });
    let (late, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    assert!(matches!(connection.expect_end(late).await, FromWorker::Failed { .. }));
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    connection.rest().await;
    setup.contemplant.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_contemplant_that_is_shut_down_gives_its_work_back() {
    let mut setup = Setup::start().await;
    let connection = setup.hierophant.welcome(&[]).await;
    let (program, stdin) = uploads();
    let (lease, order) = setup.hierophant.lease(&program, &stdin);
    connection.say(&order);
    let call = setup.executor.next_call().await;
    setup.shutdown.cancel();
    call.cancel.cancelled().await;
    drop(call);

    let messages = connection.rest().await;
    assert!(messages.iter().any(|message| matches!(message, FromWorker::Draining { .. })));
    assert!(messages.iter().any(|message| matches!(
        message,
        FromWorker::Failed { lease_id, failure }
            if *lease_id == lease && failure.class == FailureClass::Infrastructure
    )));
    setup.contemplant.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutting_down_works_without_a_hierophant_too() {
    let setup = Setup::start_with(|config| {
        config.hierophant_ws_address = "ws://127.0.0.1:9/ws".to_owned();
    })
    .await;
    setup.shutdown.cancel();
    setup.contemplant.await.unwrap().unwrap();
}
