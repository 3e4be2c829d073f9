//! Words that come twice, too late, or from the wrong mouth.

use std::time::Duration;

use futures_util::SinkExt;
use hierophant_proto::network as pb;
use network_lib::handshake::Hello;
use network_lib::ids::LeaseId;
use network_lib::job::{FailureClass, ProofMode};
use test_peers::{Worker, hello};
use tokio::time::sleep;

use super::steps::{completed, failed, idle, leased, proved, proves, rejoin, settled};
use crate::case::{Case, case, short_silence};
use crate::program;
use crate::stage::{Request, Stage};

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("bookkeeping", "late-completion-after-requeue", "a lost worker sends its completion: nothing changes", late_completion).keys(short_silence()),
        case!("bookkeeping", "duplicate-completion", "a completion sent three times counts once", duplicate_completion),
        case!("bookkeeping", "success-is-never-downgraded", "after success every reported failure is ignored", never_downgraded),
        case!("bookkeeping", "stale-lease", "an ended lease grants no access and changes nothing", stale_lease),
        case!("bookkeeping", "foreign-lease", "a message about another worker's lease changes nothing", foreign_lease),
        case!("bookkeeping", "missing-records", "unknown ids: correct errors, no panic", missing_records),
        case!("bookkeeping", "stale-heartbeat", "the silent worker loses its job; the healthy worker and finished jobs are unaffected", stale_heartbeat).keys(short_silence()),
        case!("bookkeeping", "micro-cut", "a worker that reconnects at once keeps its attempt", micro_cut),
        case!("bookkeeping", "reconnect-in-four-ways", "reconnects while idle, and with an unknown, a finished and a running attempt: four correct responses", reconnects),
        case!("bookkeeping", "double-failure", "a failure sent twice counts once", double_failure),
    ]
}

async fn given(stage: &mut Stage, name: &str) -> (Hello, Worker, Request, LeaseId) {
    let mut client = stage.client(7).await;
    let me = Hello { name: name.into(), ..hello() };
    let mut worker = stage.worker_with(me.clone()).await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    proves(&mut worker, lease).await;
    (me, worker, request, lease)
}

async fn late_completion(stage: &mut Stage) {
    let (_, mut silent, request, lease) = given(stage, "amos").await;
    stage.fault_begins();
    stage.gone("amos").await;
    let _other = stage.prover("joel", Duration::ZERO);
    stage.arrives(&request).await;
    let proof = stage.observer(&request).proof();
    // Its socket may be closed already; whatever still gets through must not matter.
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    assert_eq!(silent.hand_in(lease, &good.bytes).await, 401, "its key went with it");
    let late = network_lib::wire::FromWorker::Completed {
        lease_id: lease,
        execution: good.execution,
        proof: test_peers::blob(&good.bytes),
    };
    let text = network_lib::codec::encode(&late);
    let _ = silent.socket.send(tokio_tungstenite::tungstenite::Message::text(text)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.observer(&request).proof(), proof);
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(attempts[1], ("joel".into(), "completed".into()));
}

async fn duplicate_completion(stage: &mut Stage) {
    let (_, mut worker, request, lease) = given(stage, "amos").await;
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    assert_eq!(worker.hand_in(lease, &good.bytes).await, 200);
    for _ in 0..3 {
        completed(&mut worker, lease, &good).await;
    }
    stage.arrives(&request).await;
    completed(&mut worker, lease, &good).await;
    sleep(Duration::from_millis(500)).await;
    idle(&mut worker, &[]).await;
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["proofs_completed"], 1);
    stage.assert_one_attempt(&request).await;
}

async fn never_downgraded(stage: &mut Stage) {
    let (_, mut worker, request, lease) = given(stage, "amos").await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    let classes = [FailureClass::Guest, FailureClass::Request, FailureClass::Worker];
    for class in classes.into_iter().chain([FailureClass::Infrastructure]) {
        failed(&mut worker, lease, class).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.job_state(&request).await, "proved");
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["strikes"], 0, "failures of finished work do not count");
    stage.assert_one_attempt(&request).await;
}

async fn stale_lease(stage: &mut Stage) {
    let (_, mut worker, request, old) = given(stage, "amos").await;
    failed(&mut worker, old, FailureClass::Infrastructure).await;
    settled(&mut worker, old).await;
    let new = leased(&mut worker).await;
    assert_ne!(old, new);
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    for path in ["program", "stdin"] {
        assert_eq!(worker.get(&format!("/leases/{old}/{path}")).await.status(), 403);
        assert_eq!(worker.get(&format!("/leases/{new}/{path}")).await.status(), 200);
    }
    assert_eq!(worker.hand_in(old, &good.bytes).await, 403);
    completed(&mut worker, old, &good).await;
    failed(&mut worker, old, FailureClass::Guest).await;
    sleep(Duration::from_secs(1)).await;
    assert!(stage.observer(&request).ended().is_none(), "the old lease decides nothing");
    proved(stage, &mut worker, new, 20).await;
    stage.arrives(&request).await;
    assert_eq!(stage.attempts(&request).await.len(), 2);
}

async fn foreign_lease(stage: &mut Stage) {
    let (_, mut worker, request, lease) = given(stage, "amos").await;
    let mut thief = stage.worker("gehazi").await;
    failed(&mut thief, lease, FailureClass::Guest).await;
    let good = stage.kit.proofs.of(21, ProofMode::Core).clone();
    completed(&mut thief, lease, &good).await;
    failed(&mut thief, LeaseId::random(), FailureClass::Guest).await;
    sleep(Duration::from_secs(1)).await;
    assert!(stage.observer(&request).ended().is_none(), "another's word decides nothing");
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn missing_records(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut worker = stage.worker("amos").await;
    let unknown = client.status(&[9; 32]).await;
    assert_eq!(unknown.fulfillment_status, pb::FulfillmentStatus::Unfulfillable as i32);
    assert!(unknown.deadline > test_peers::unix_now(), "and no timeout by accident");
    assert!(client.details(&[9; 32]).await.is_none());
    stage.note("an unknown id: UNFULFILLABLE");
    assert!(client.cancel(&[9; 32]).await.is_err());
    let lease = LeaseId::random();
    for path in ["program", "stdin"] {
        assert_eq!(worker.get(&format!("/leases/{lease}/{path}")).await.status(), 403);
    }
    assert_eq!(worker.hand_in(lease, b"nothing").await, 403);
    failed(&mut worker, lease, FailureClass::Worker).await;
    let artifact = format!("/artifacts/{}", network_lib::ids::ArtifactId::random());
    assert_eq!(worker.get(&artifact).await.status(), 404);
    // An attempt whose rows vanish from under a Hierophant that is down.
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    let mut store = stage.store().await;
    assert_eq!(store.run("DELETE FROM attempts").await.expect("deleted"), 1);
    store.close().await.expect("closed");
    stage.hierophant.launch().await.expect("starts again");
    let (mut worker, _) = rejoin(stage, Hello { name: "amos".into(), ..hello() }, &[lease]).await;
    // A slot is free when the worker says so.
    idle(&mut worker, &[]).await;
    let lease = leased(&mut worker).await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
}

async fn stale_heartbeat(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let finished = stage.request(&mut client, 21).await;
    let mut silent = stage.worker("amos").await;
    let lease = leased(&mut silent).await;
    proved(stage, &mut silent, lease, 21).await;
    stage.arrives(&finished).await;
    let taken = stage.request(&mut client, 20).await;
    leased(&mut silent).await;
    let healthy = stage.prover("joel", Duration::from_secs(5));
    stage.joined("joel").await;
    let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
    ask.cycle_limit += 1;
    let expected = crate::observer::Expected::Proof(20, ProofMode::Core);
    let kept = stage.submit(&mut client, &ask, expected).await;
    stage.fault_begins();
    stage.gone("amos").await;
    stage.arrives(&kept).await;
    stage.assert_one_attempt(&kept).await;
    stage.arrives(&taken).await;
    assert_eq!(stage.attempts(&taken).await.len(), 2);
    stage.assert_one_attempt(&finished).await;
    assert_eq!(healthy.ledger().leased.len(), 2);
}

async fn micro_cut(stage: &mut Stage) {
    let (me, worker, request, lease) = given(stage, "amos").await;
    let _idle = stage.worker("joel").await;
    stage.fault_begins();
    drop(worker);
    let (mut worker, welcome) = rejoin(stage, me, &[lease]).await;
    assert_eq!(welcome.resume, [lease], "the attempt goes on");
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn reconnects(stage: &mut Stage) {
    // Idle.
    let me = Hello { name: "amos".into(), ..hello() };
    drop(stage.worker_with(me.clone()).await);
    let (worker, welcome) = rejoin(stage, me.clone(), &[]).await;
    assert!(welcome.resume.is_empty());
    drop(worker);
    // With an unknown attempt.
    let (mut worker, welcome) = rejoin(stage, me.clone(), &[LeaseId::random()]).await;
    assert!(welcome.resume.is_empty(), "to be stopped");
    idle(&mut worker, &[]).await;
    // With one that has ended.
    let mut client = stage.client(7).await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let over = stage.submit(&mut client, &ask, crate::observer::Expected::Cancelled).await;
    let lease = leased(&mut worker).await;
    drop(worker);
    client.cancel(&over.id).await.expect("withdrawn");
    let (mut worker, welcome) = rejoin(stage, me.clone(), &[lease]).await;
    assert!(welcome.resume.is_empty(), "to be stopped");
    idle(&mut worker, &[]).await;
    // With one that goes on.
    let request = stage.request(&mut client, 21).await;
    let lease = leased(&mut worker).await;
    drop(worker);
    let (mut worker, welcome) = rejoin(stage, me, &[lease]).await;
    assert_eq!(welcome.resume, [lease], "to be gone on with");
    proved(stage, &mut worker, lease, 21).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn double_failure(stage: &mut Stage) {
    let (_, mut worker, request, lease) = given(stage, "amos").await;
    let _other = stage.prover("joel", Duration::ZERO);
    stage.joined("joel").await;
    for _ in 0..3 {
        failed(&mut worker, lease, FailureClass::Worker).await;
    }
    stage.arrives(&request).await;
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["strikes"], 1);
    let attempts = stage.attempts(&request).await;
    let failures = attempts.iter().filter(|(_, outcome)| outcome == "failed").count();
    assert_eq!(failures, 1, "{attempts:?}");
}
