//! Single steps of a scripted worker.

use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass, Phase, Progress, ProofMode};
use network_lib::wire::{FromWorker, ToWorker};
use test_peers::{Worker, blob};

use crate::proofs::GoodProof;
use crate::stage::{Request, Stage};

/// The next job that a worker is given; confirmations of earlier ones are passed over.
pub(crate) async fn leased(worker: &mut Worker) -> LeaseId {
    loop {
        match worker.hear().await {
            Some(ToWorker::Prove { lease_id, .. }) => return lease_id,
            Some(ToWorker::Settled { .. } | ToWorker::Cancel { .. }) => {}
            other => panic!("no job: {other:?}"),
        }
    }
}

/// Waits until the end of an attempt is confirmed.
pub(crate) async fn settled(worker: &mut Worker, lease: LeaseId) {
    loop {
        match worker.hear().await {
            Some(ToWorker::Settled { lease_id }) if lease_id == lease => return,
            Some(ToWorker::Settled { .. } | ToWorker::Cancel { .. }) => {}
            other => panic!("the end of the attempt was not confirmed: {other:?}"),
        }
    }
}

/// Says hello with attempts that it still holds; returns the welcome.
pub(crate) async fn rejoin(stage: &Stage, mut hello: Hello, held: &[LeaseId]) -> (Worker, Welcome) {
    hello.held = held.to_vec();
    let mut worker = Worker::dial(&stage.hierophant).await;
    worker.say(FromWorker::Hello(hello)).await;
    match worker.hear().await {
        Some(ToWorker::Welcome(welcome)) => (worker, welcome),
        other => panic!("not welcome: {other:?}"),
    }
}

/// Says that a proof is being made.
pub(crate) async fn proves(worker: &mut Worker, lease: LeaseId) {
    let progress = Progress { fraction: Some(0.5), ..Progress::phase(Phase::Proving) };
    worker.say(FromWorker::Progress { lease_id: lease, progress }).await;
}

/// Hands in a good Core proof, and says so if that was taken.
pub(crate) async fn proved(stage: &Stage, worker: &mut Worker, lease: LeaseId, n: u32) {
    let good = stage.kit.proofs.of(n, ProofMode::Core).clone();
    assert_eq!(worker.hand_in(lease, &good.bytes).await, 200, "the proof is taken");
    completed(worker, lease, &good).await;
}

/// Says that a proof was handed in.
pub(crate) async fn completed(worker: &mut Worker, lease: LeaseId, good: &GoodProof) {
    let (execution, proof) = (good.execution, blob(&good.bytes));
    worker.say(FromWorker::Completed { lease_id: lease, execution, proof }).await;
}

/// Says that an attempt has failed.
pub(crate) async fn failed(worker: &mut Worker, lease: LeaseId, class: FailureClass) {
    let failure =
        Failure { class, cause: None, out_of_memory: None, message: "as the case wants it".into() };
    worker.say(FromWorker::Failed { lease_id: lease, failure }).await;
}

/// Gives signs of life and hears what comes, for as long as the worker is wanted.
pub(crate) async fn idle(worker: &mut Worker, held: &[LeaseId]) {
    worker.say(FromWorker::Heartbeat { held: held.to_vec(), gpus: vec![] }).await;
}

/// The worker comes back: its attempt at `request` (input 20) goes on under the same lease, `waiting`
/// (input 21) is given out afterwards, and each needed one attempt.
pub(crate) async fn goes_on_where_it_was(
    stage: &mut Stage,
    me: Hello,
    lease: LeaseId,
    request: &Request,
    waiting: &Request,
) {
    let (mut worker, welcome) = rejoin(stage, me, &[lease]).await;
    assert_eq!(welcome.resume, [lease], "the attempt goes on");
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(request).await;
    let lease = leased(&mut worker).await;
    proved(stage, &mut worker, lease, 21).await;
    stage.arrives(waiting).await;
    for request in [request, waiting] {
        stage.assert_one_attempt(request).await;
    }
}
