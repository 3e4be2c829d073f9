//! Jobs that a worker prepares while its GPU proves another one.

use std::time::Duration;

use test_harness::wait;

use super::gpu::with_gpu;
use crate::case::{Case, case};
use crate::stage::{Request, Stage};

/// Longest time until a job is prepared: deriving the program's key takes a slow machine most of a minute.
const PREPARED: Duration = Duration::from_secs(100);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("gpu", "hierophant-killed-with-a-job-ahead", "SIGKILL of Hierophant while a worker proves one job and has prepared another: both continue under the same leases", hierophant_killed).with_contemplants(),
        case!("gpu", "worker-killed-with-a-job-ahead", "SIGKILL of a worker that proves one job and has prepared another: both are made by another worker", worker_killed).with_contemplants(),
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
    let _other = stage.prover("joel", Duration::from_millis(300));
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
    let _other = stage.prover("joel", Duration::from_millis(300));
    stage.arrives(&second).await;
    assert_eq!(
        stage.attempts(&second).await,
        [("amos".into(), "given_back".into()), ("joel".into(), "completed".into())]
    );
    assert_eq!(stage.attempts(&first).await, [("amos".into(), "running".into())]);
    stage.arrives(&first).await;
    assert_eq!(stage.attempts(&first).await, [("amos".into(), "completed".into())]);
}

/// A Contemplant whose GPU takes so many milliseconds for a proof, which proves the first request and has executed the
/// second.
async fn prepared(stage: &mut Stage, proof_time: u32) -> (test_harness::Process, [Request; 2]) {
    let behaviour = stage.folder().join("stand-in.behaviour");
    std::fs::write(&behaviour, format!("proof-time={proof_time}\n")).expect("written");
    let worker = stage.contemplant(&with_gpu("amos", &stage.kit.gpu_stand_in, &behaviour));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let first = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    let second = stage.request(&mut client, 21).await;
    let prepared = "SELECT count(*) FROM attempts WHERE outcome = 'ahead' AND cycles IS NOT NULL";
    wait::eventually("a job that is prepared", PREPARED, async || {
        let count = stage.store().await.count(prepared).await.expect("attempts can be read");
        (count == 1).then_some(())
    })
    .await;
    assert_eq!(stage.job_state(&second).await, "queued", "it waits");
    (worker, [first, second])
}
