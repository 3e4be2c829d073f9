//! Jobs that a worker prepares while its GPU proves another one.

use std::time::Duration;

use network_lib::job::ProofMode;
use test_harness::wait;
use test_peers::Client;

use super::gpu::with_gpu;
use crate::case::{Case, case, short_silence};
use crate::contemplant::Settings;
use crate::observer::Expected;
use crate::program;
use crate::stage::{Request, Stage};

/// Input of the proof that the stand-in has recorded.
const RECORDED: u32 = 1000;

/// Longest time until a job is prepared: deriving the program's key takes a slow machine most of a minute.
const PREPARED: Duration = Duration::from_secs(100);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("gpu", "hierophant-killed-with-a-job-ahead", "SIGKILL of Hierophant while a worker proves one job and has prepared another: both continue under the same leases", hierophant_killed).with_contemplants(),
        case!("gpu", "worker-killed-with-a-job-ahead", "SIGKILL of a worker that proves one job and has prepared another: both are made by another worker", worker_killed).with_contemplants().keys(short_silence()),
        case!("gpu", "job-ahead-given-back", "another worker becomes free: it makes the prepared job at once, and the first worker proves on", given_back).with_contemplants(),
    ]
}

async fn hierophant_killed(stage: &mut Stage) {
    let (_worker, requests) = prepared(stage, 8000).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    stage.hierophant.launch().await.expect("starts again");
    for request in &requests {
        stage.arrives(request).await;
        assert_eq!(stage.attempts(request).await, [("amos".into(), "completed".into())]);
    }
}

async fn worker_killed(stage: &mut Stage) {
    let (mut worker, [first, second]) = prepared(stage, 60_000).await;
    stage.fault_begins();
    worker.kill().await.expect("killed");
    let _other = stage.contemplant(&Settings::new("joel", Duration::from_millis(300)));
    for request in [&first, &second] {
        stage.arrives(request).await;
    }
    assert_eq!(
        stage.attempts(&first).await,
        [("amos".into(), "lost".into()), ("joel".into(), "completed".into())]
    );
    assert_eq!(
        stage.attempts(&second).await,
        [("amos".into(), "given_back".into()), ("joel".into(), "completed".into())]
    );
}

async fn given_back(stage: &mut Stage) {
    let (_worker, [first, second]) = prepared(stage, 8000).await;
    stage.fault_begins();
    let _other = stage.contemplant(&Settings::new("joel", Duration::from_millis(300)));
    stage.arrives(&second).await;
    assert_eq!(
        stage.attempts(&second).await,
        [("amos".into(), "given_back".into()), ("joel".into(), "completed".into())]
    );
    assert_eq!(stage.attempts(&first).await, [("amos".into(), "running".into())]);
    stage.arrives(&first).await;
    assert_eq!(stage.attempts(&first).await, [("amos".into(), "completed".into())]);
}

/// A request for a proof that the stand-in has recorded: a real one, since a GPU's mock proof is not accepted. Its limit
/// makes it a job of its own.
async fn request(stage: &mut Stage, client: &mut Client, number: u64) -> Request {
    let mut ask = program::ask(client, RECORDED, ProofMode::Core).await;
    ask.cycle_limit += number;
    stage.submit(client, &ask, Expected::Proof(RECORDED, ProofMode::Core)).await
}

/// A Contemplant whose GPU takes this time for a proof, in milliseconds, which proves the first request and has executed the
/// second.
async fn prepared(stage: &mut Stage, proof_time: u32) -> (test_harness::Process, [Request; 2]) {
    let behaviour = stage.folder().join("stand-in.behaviour");
    std::fs::write(&behaviour, format!("proof-time={proof_time}\n")).expect("written");
    let worker = stage.contemplant(&with_gpu("amos", &stage.kit.gpu_stand_in, &behaviour));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let first = request(stage, &mut client, 0).await;
    stage.proving("amos").await;
    let second = request(stage, &mut client, 1).await;
    let prepared = "SELECT count(*) FROM attempts WHERE outcome = 'ahead' AND cycles IS NOT NULL";
    wait::eventually("a job that is prepared", PREPARED, async || {
        let count = stage.store().await.count(prepared).await.expect("attempts can be read");
        (count == 1).then_some(())
    })
    .await;
    assert_eq!(stage.job_state(&second).await, "queued", "it waits");
    (worker, [first, second])
}
