//! Jobs that are leased ahead, beyond the slots: they are downloaded, wait for their slot, and are taken back.

use std::collections::BTreeSet;
use std::time::Duration;

use network_lib::ids::LeaseId;
use network_lib::job::{FailureClass, Phase};
use network_lib::wire::{FromWorker, ToWorker};

use crate::fake_executor::proved;
use crate::fake_hierophant::Connection;
use crate::setup::{Setup, uploads};

/// A worker with one slot that takes one job ahead, and a proof in progress.
async fn with_one_ahead() -> (Setup, Connection) {
    let mut setup = Setup::start().await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    setup.executor.capabilities.send_modify(|offered| offered.prefetch = 1);
    connection
        .expect(|message| match message {
            FromWorker::CapabilitiesChanged { capabilities } => {
                (capabilities.prefetch == 1).then_some(())
            }
            _ => None,
        })
        .await;
    (setup, connection)
}

impl Setup {
    /// Assigns a job.
    fn assign(&self, connection: &Connection) -> LeaseId {
        let (program, stdin) = uploads();
        let (lease, order) = self.hierophant.lease(&program, &stdin);
        connection.say(&order);
        lease
    }
}

async fn is_downloading(connection: &mut Connection, lease: LeaseId) {
    connection
        .expect(|message| match message {
            FromWorker::Progress { lease_id, progress } => {
                (*lease_id == lease && progress.phase == Phase::Downloading).then_some(())
            }
            _ => None,
        })
        .await;
}

/// Both, in the order of a heartbeat.
fn sorted(mut leases: [LeaseId; 2]) -> [LeaseId; 2] {
    leases.sort_unstable();
    leases
}

#[tokio::test]
async fn a_job_ahead_is_downloaded_and_gets_the_slot_before_the_proof_is_stored() {
    let (mut setup, mut connection) = with_one_ahead().await;
    let first = setup.assign(&connection);
    let proving = setup.executor.next_call().await;
    let ahead = setup.assign(&connection);
    is_downloading(&mut connection, ahead).await;
    for _ in 0..3 {
        connection.expect_held(&sorted([first, ahead])).await;
    }
    assert!(!setup.executor.has_call(), "the executor has more jobs than slots");

    setup.hierophant.store_slowly(Duration::from_secs(2));
    proving.finish(proved());
    let next = setup.executor.next_call().await;
    connection.expect_held(&sorted([first, ahead])).await;
    assert!(matches!(connection.expect_end(first).await, FromWorker::Completed { .. }));
    next.finish(proved());
    assert!(matches!(connection.expect_end(ahead).await, FromWorker::Completed { .. }));
}

#[tokio::test]
async fn one_job_more_than_slots_and_jobs_ahead_is_handed_back() {
    let (mut setup, mut connection) = with_one_ahead().await;
    let leases = [(); 3].map(|()| setup.assign(&connection));
    let end = connection.expect_end(leases[2]).await;
    let FromWorker::Failed { failure, .. } = end else { panic!("not a failure: {end:?}") };
    assert_eq!(failure.class, FailureClass::Infrastructure, "{failure}");
    for _ in 0..2 {
        setup.executor.next_call().await.finish(proved());
    }
    all_complete(&mut connection, &leases[..2]).await;
}

#[tokio::test]
async fn a_job_ahead_that_is_taken_back_ends_at_once() {
    let (mut setup, mut connection) = with_one_ahead().await;
    let first = setup.assign(&connection);
    let proving = setup.executor.next_call().await;
    let ahead = setup.assign(&connection);
    is_downloading(&mut connection, ahead).await;
    let reason = "another worker is free".to_owned();
    connection.say(&ToWorker::Cancel { lease_id: ahead, reason });
    connection.expect_held(&[first]).await;
    assert!(!proving.cancel.is_cancelled() && !setup.executor.has_call());

    // Its place is free for another.
    let other = setup.assign(&connection);
    proving.finish(proved());
    setup.executor.next_call().await.finish(proved());
    all_complete(&mut connection, &[first, other]).await;
}

/// Waits until all of these attempts are complete. They are downloaded and handed in beside each other, in any order.
async fn all_complete(connection: &mut Connection, leases: &[LeaseId]) {
    let mut open: BTreeSet<LeaseId> = leases.iter().copied().collect();
    while !open.is_empty() {
        let complete = |message: &FromWorker| match message {
            FromWorker::Completed { lease_id, .. } => Some(*lease_id),
            _ => None,
        };
        open.remove(&connection.expect(complete).await);
    }
}
