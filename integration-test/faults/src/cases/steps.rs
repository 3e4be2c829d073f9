//! Single steps of a scripted worker.

use std::time::Duration;

use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass, Phase, Progress, ProofMode};
use network_lib::wire::{FromWorker, ToWorker};
use test_peers::{Worker, blob, hello};

use crate::proofs::GoodProof;
use crate::prover::Prover;
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
    let failure = Failure::new(class, "as the case wants it");
    worker.say(FromWorker::Failed { lease_id: lease, failure }).await;
}

/// Gives signs of life and hears what comes, for as long as the worker is wanted.
pub(crate) async fn idle(worker: &mut Worker, held: &[LeaseId]) {
    worker.say(FromWorker::Heartbeat { held: held.to_vec(), gpus: vec![] }).await;
}

/// A scripted worker that proves one request while another one waits.
pub(crate) struct OneAtWork {
    me: Hello,
    lease: LeaseId,
    /// Input 20, being proved.
    request: Request,
    /// Input 21.
    waiting: Request,
    /// Its connection, open for as long as this is there.
    _worker: Worker,
}

/// A worker takes a request and begins to prove it; a second request waits.
pub(crate) async fn one_proves_one_waits(stage: &mut Stage) -> OneAtWork {
    let mut client = stage.client(7).await;
    let me = Hello { name: "amos".into(), ..hello() };
    let mut worker = stage.worker_with(me.clone()).await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    proves(&mut worker, lease).await;
    stage.job_becomes(&request, "proving").await;
    let waiting = stage.request(&mut client, 21).await;
    OneAtWork { me, lease, request, waiting, _worker: worker }
}

/// A prover whose proof takes a second, and a request that it has begun to work on.
pub(crate) async fn prover_at_work(stage: &mut Stage) -> (Prover, Request) {
    let mut client = stage.client(7).await;
    let prover = stage.prover("amos", Duration::from_secs(1));
    let request = stage.request(&mut client, 20).await;
    stage.job_becomes(&request, "proving").await;
    (prover, request)
}

impl OneAtWork {
    /// The worker comes back: its attempt goes on under the same lease, what waited is given out
    /// afterwards, and each needed one attempt.
    pub(crate) async fn goes_on_where_it_was(self, stage: &mut Stage) {
        let (mut worker, welcome) = rejoin(stage, self.me, &[self.lease]).await;
        assert_eq!(welcome.resume, [self.lease], "the attempt goes on");
        proved(stage, &mut worker, self.lease, 20).await;
        stage.arrives(&self.request).await;
        let lease = leased(&mut worker).await;
        proved(stage, &mut worker, lease, 21).await;
        stage.arrives(&self.waiting).await;
        for request in [&self.request, &self.waiting] {
            stage.assert_one_attempt(request).await;
        }
    }
}
