//! The process dies; what it has proved does not.

use std::fs;

use network_lib::ids::LeaseId;
use network_lib::wire::FromWorker;

use crate::fake_executor::{execution, proved};
use crate::fake_hierophant::blob_info;
use crate::setup::Setup;

/// A Contemplant that was killed after it had finished a proof and before it could hand it in.
async fn killed_with_a_finished_proof() -> (Setup, LeaseId) {
    let mut setup = Setup::start().await;
    let connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    setup.hierophant.vanish(connection).await;
    call.finish(proved());
    setup.expect_on_disk(&[lease]).await;
    setup.kill().await;
    assert_eq!(setup.hierophant.proof(lease), None);
    setup.hierophant.come_back().await;
    (setup, lease)
}

#[tokio::test]
async fn a_finished_proof_is_handed_in_by_the_next_process() {
    let (mut setup, lease) = killed_with_a_finished_proof().await;
    setup.restart();
    let mut connection = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(connection.hello.held, [lease]);
    let proof = blob_info(b"a proof");
    let end = connection.expect_end(lease).await;
    assert_eq!(end, FromWorker::Completed { lease_id: lease, execution: execution(), proof });
    assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
    setup.expect_on_disk(&[]).await;
    connection.expect_held(&[]).await;

    // And it works on as ever.
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn a_finished_proof_that_is_not_wanted_any_more_is_removed() {
    let (mut setup, lease) = killed_with_a_finished_proof().await;
    setup.restart();
    let mut connection = setup.hierophant.welcome(&[]).await;
    assert_eq!(connection.hello.held, [lease]);
    setup.expect_on_disk(&[]).await;
    connection.expect_held(&[]).await;
    assert_eq!(setup.hierophant.proof(lease), None);
}

#[tokio::test]
async fn a_finished_proof_outlives_any_number_of_deaths() {
    let (mut setup, lease) = killed_with_a_finished_proof().await;
    for _ in 0..3 {
        setup.restart();
        assert_eq!(setup.hierophant.accept().await.hello.held, [lease]);
        setup.kill().await;
    }
    setup.restart();
    let mut connection = setup.hierophant.welcome(&[lease]).await;
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn a_process_that_dies_before_the_end_is_settled_tells_it_again() {
    let mut setup = Setup::start().await;
    setup.hierophant.withhold_settled(true);
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    call.finish(proved());
    let end = connection.expect_end(lease).await;
    setup.kill().await;

    setup.hierophant.withhold_settled(false);
    setup.restart();
    let mut connection = setup.hierophant.welcome(&[lease]).await;
    assert_eq!(connection.hello.held, [lease]);
    assert_eq!(connection.expect_end(lease).await, end);
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn an_attempt_that_had_no_proof_yet_is_not_held_after_a_restart() {
    let mut setup = Setup::start().await;
    let connection = setup.hierophant.welcome(&[]).await;
    let (_lease, _call) = setup.begin(&connection).await;
    setup.kill().await;
    setup.restart();
    assert_eq!(setup.hierophant.accept().await.hello.held, []);
}

#[tokio::test]
async fn half_written_and_damaged_proofs_are_cleared() {
    let (mut setup, lease) = killed_with_a_finished_proof().await;
    let held = setup.held_folder();
    let half = held.join("incomplete-7f3a");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("proof"), b"a pr").unwrap();
    fs::write(held.join(lease.to_string()).join("proof"), b"a prooF").unwrap();
    setup.restart();
    let mut connection = setup.hierophant.welcome(&[]).await;
    assert_eq!(connection.hello.held, []);
    connection.expect_held(&[]).await;
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn a_disk_that_takes_nothing_does_not_cost_the_proof() {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    // A file in the folder's place refuses every write, as a full disk does, to root too.
    fs::remove_dir(setup.held_folder()).unwrap();
    fs::write(setup.held_folder(), b"").unwrap();
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    assert_eq!(setup.hierophant.proof(lease).unwrap(), b"a proof");
}
