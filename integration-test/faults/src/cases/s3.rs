//! Artifacts in an S3 bucket: away, silent, slow, emptied behind Hierophant's back.

use std::time::Duration;

use network_lib::job::ProofMode;
use test_harness::wait;
use test_peers::Client;
use tokio::time::sleep;

use super::steps::{completed, leased, one_proves_one_waits, proved, prover_at_work};
use crate::case::{Case, case};
use crate::observer::Expected;
use crate::program;
use crate::prover::Prover;
use crate::stage::{Request, STEP, Stage};
use test_peers::relay::Direction;

/// How long the bucket is away, which is longer than the proof takes.
const AWAY: Duration = Duration::from_secs(4);

/// Until everything is served again after that: Hierophant asks again with growing pauses.
const AFTERWARDS: Duration = Duration::from_secs(40);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("s3", "s3-proof", "uploads and proofs are in the bucket, none on the disk, and are served after a restart", proof),
        case!("s3", "s3-away-while-proving", "the bucket is unreachable until after the proof is made: the worker keeps it, one attempt", away_while_proving),
        case!("s3", "s3-away-at-handover", "the bucket is unreachable between upload and verification: verified later, one attempt", away_at_handover),
        case!("s3", "s3-away-when-proved", "the bucket is unreachable when a finished proof is fetched: a gap, and nothing is proved again", away_when_proved),
        case!("s3", "s3-silent", "no traffic to or from the bucket for a while: late, but one attempt", silent).within(Duration::from_secs(100)),
        case!("s3", "s3-coordinator-killed", "SIGKILL while the bucket is unreachable: no start without it; with it the attempt continues", coordinator_killed),
        case!("s3", "s3-slow", "a slow bucket, 64 kB/s and 150 ms latency: late, but one attempt each", slow),
        case!("s3", "s3-proof-deleted", "a stored proof is deleted from the bucket: it is made again", proof_deleted),
    ]
}

/// A stage on a bucket, and a client.
async fn client_on_s3(stage: &mut Stage) -> Client {
    stage.move_to_s3().await;
    stage.client(7).await
}

/// A prover at work on a request, on a bucket.
async fn proving(stage: &mut Stage) -> (Prover, Request) {
    stage.move_to_s3().await;
    prover_at_work(stage).await
}

/// Nothing is promised that is not in the bucket; afterwards everything continues automatically.
async fn ends_afterwards(stage: &Stage, request: &Request) {
    assert!(stage.observer(request).ended().is_none(), "nothing is promised that is not stored");
    stage.bucket().link.heal();
    let observer = stage.observer(request);
    wait::eventually("the request's end", AFTERWARDS, async || observer.ended().map(drop)).await;
    stage.assert_one_attempt(request).await;
}

/// Waits until the proof of a request can be fetched; returns its URI.
async fn served(client: &mut Client, request: &Request) -> String {
    wait::eventually("the proof is served", STEP, async || {
        let uri = client.status(&request.id).await.proof_uri?;
        let answer = client.http.get(&uri).send().await.ok()?;
        answer.status().is_success().then_some(uri)
    })
    .await
}

async fn proof(stage: &mut Stage) {
    let mut client = client_on_s3(stage).await;
    let _prover = stage.prover("amos", Duration::ZERO);
    let request = stage.request(&mut client, 20).await;
    stage.arrives(&request).await;
    let uri = served(&mut client, &request).await;
    assert!(stage.bucket().object(&uri).is_file(), "the proof lies in the bucket");
    assert!(!stage.hierophant.artifact_file(&uri).exists(), "and not on the disk");
    stage.fault_begins();
    let status = stage.hierophant.process.terminate(STEP).await.expect("stops");
    assert!(status.success(), "{status}");
    stage.hierophant.launch().await.expect("starts again");
    let mut client = stage.client(7).await;
    assert_eq!(served(&mut client, &request).await, uri);
    stage.recovers();
    stage.assert_one_attempt(&request).await;
}

async fn away_while_proving(stage: &mut Stage) {
    let (prover, request) = proving(stage).await;
    stage.fault_begins();
    stage.bucket().link.cut();
    sleep(AWAY).await;
    ends_afterwards(stage, &request).await;
    assert_eq!(prover.ledger().leased.len(), 1, "the proof was kept");
}

async fn away_at_handover(stage: &mut Stage) {
    let mut client = client_on_s3(stage).await;
    let mut worker = stage.worker("amos").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    assert_eq!(worker.hand_in(lease, &good.bytes).await, 200, "the proof is taken");
    stage.fault_begins();
    stage.bucket().link.cut();
    completed(&mut worker, lease, &good).await;
    sleep(AWAY).await;
    ends_afterwards(stage, &request).await;
}

async fn away_when_proved(stage: &mut Stage) {
    let mut client = client_on_s3(stage).await;
    let prover = stage.prover("amos", Duration::ZERO);
    let request = stage.request(&mut client, 20).await;
    stage.arrives(&request).await;
    let uri = served(&mut client, &request).await;
    stage.fault_begins();
    stage.bucket().link.cut();
    let answer = client.http.get(&uri).send().await.expect("an answer");
    assert_eq!(answer.status(), 504, "clients try that again");
    sleep(AWAY).await;
    stage.bucket().link.heal();
    assert_eq!(served(&mut client, &request).await, uri, "the same proof");
    stage.recovers();
    assert_eq!(prover.ledger().leased.len(), 1, "nothing was proved again");
    stage.assert_one_attempt(&request).await;
}

async fn silent(stage: &mut Stage) {
    let (_prover, request) = proving(stage).await;
    stage.fault_begins();
    stage.bucket().link.to_server(Direction::BLACK_HOLE);
    stage.bucket().link.to_client(Direction::BLACK_HOLE);
    sleep(AWAY * 2).await;
    ends_afterwards(stage, &request).await;
}

async fn coordinator_killed(stage: &mut Stage) {
    stage.move_to_s3().await;
    let at_work = one_proves_one_waits(stage).await;
    stage.fault_begins();
    stage.bucket().link.cut();
    stage.hierophant.process.kill().await.expect("killed");
    let told = stage.hierophant.process.log_text().len();
    stage.hierophant.process.start().expect("starts");
    let status = stage.hierophant.process.ended(STEP).await.expect("ends on its own");
    assert!(!status.success(), "it must refuse to start");
    let log = stage.hierophant.process.log_text()[told..].to_owned();
    assert!(log.contains("cannot use the bucket"), "{log}");
    stage.note("refused to start without it, with the bucket's name");
    stage.bucket().link.heal();
    stage.hierophant.launch().await.expect("starts again");
    at_work.goes_on_where_it_was(stage).await;
}

async fn slow(stage: &mut Stage) {
    let mut client = client_on_s3(stage).await;
    let crawl = Direction {
        delay: Duration::from_millis(150),
        bytes_per_second: Some(64_000),
        ..Direction::default()
    };
    stage.fault_begins();
    stage.bucket().link.to_server(crawl);
    stage.bucket().link.to_client(crawl);
    let _prover = stage.prover("amos", Duration::ZERO);
    let requests = [stage.request(&mut client, 20).await, stage.request(&mut client, 21).await];
    stage.all_arrive(AFTERWARDS).await;
    for request in &requests {
        stage.assert_one_attempt(request).await;
    }
}

async fn proof_deleted(stage: &mut Stage) {
    let mut client = client_on_s3(stage).await;
    let mut worker = stage.worker("amos").await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let id = client.ask(&ask).await.expect("accepted");
    let lease = leased(&mut worker).await;
    proved(stage, &mut worker, lease, 20).await;
    let uri =
        wait::eventually("the proof", STEP, async || client.status(&id).await.proof_uri).await;
    stage.fault_begins();
    std::fs::remove_file(stage.bucket().object(&uri)).expect("there");
    // Its client hears that it is being made again; from here on it is watched.
    assert!(client.status(&id).await.proof_uri.is_none(), "a deleted proof is not promised");
    let request = stage.watch(id, Expected::Proof(20, ProofMode::Core), &stage.direct());
    let lease = leased(&mut worker).await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    assert_eq!(stage.attempts(&request).await.len(), 2);
}
