//! Many at once, and the same thing twice.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use hierophant_proto::artifact::ArtifactType;
use network_lib::job::ProofMode;
use test_harness::config::key;
use test_harness::wait;
use test_peers::{Client, stdin_of_u32};
use tonic::Code;

use crate::case::{Case, case};
use crate::contemplant::Settings;
use crate::observer::Expected;
use crate::program;
use crate::prover::Prover;
use crate::stage::{STEP, Stage};

/// Workers of the reconnect storm.
const THOUSAND: usize = 1000;

/// Longest time for all of them to connect; this machine plays both sides.
const STORM: Duration = Duration::from_secs(40);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("contention", "same-call-twenty-times-at-once", "twenty copies of one call: one request, one attempt", same_call),
        case!("contention", "same-content-from-two-clients", "two clients at once, and one again after a restart: one attempt, three fulfilled", same_content),
        case!("contention", "client-crashes-and-asks-again", "a restarted client that submits everything again does not pay twice", client_restarts),
        case!("contention", "concurrent-claims", "ten workers join at once for ten jobs: each job is assigned once", concurrent_claims),
        case!("contention", "no-workers-then-one", "100 requests and no worker; one joins: all are fulfilled, no failure is reported", no_workers).with_contemplants(),
        case!("contention", "prerequisites", "missing prerequisites are named, and once they exist the same call succeeds", prerequisites),
        case!("contention", "queue-is-full", "above its limit the queue asks clients to retry, and loses nothing", queue_is_full).keys(key("proofs.max_waiting", 3)),
        case!("contention", "a-thousand-workers-reconnect", "SIGKILL with 1,000 workers: all reconnect, service continues", thousand_workers).keys(key("worker_registry.heartbeat_interval", "5s")).within(Duration::from_secs(150)),
    ]
}

async fn same_call(stage: &mut Stage) {
    let client = &mut stage.client(7).await;
    let ask = program::ask(client, 20, ProofMode::Core).await;
    let body = client.body(&ask);
    let calls = (0..20).map(|_| {
        let (mut network, envelope) = (client.network.clone(), client.envelope(body.clone()));
        async move { network.request_proof(envelope).await }
    });
    let answers = join_all(calls).await;
    let ids: BTreeSet<Vec<u8>> = answers
        .into_iter()
        .map(|answer| answer.expect("accepted").into_inner().body.expect("a body").request_id)
        .collect();
    assert_eq!(ids.len(), 1, "one call, one request");
    let id = ids.into_iter().next().expect("one");
    let direct = stage.direct();
    let request = stage.watch(id, Expected::Proof(20, ProofMode::Core), &direct);
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn same_content(stage: &mut Stage) {
    let (mut first, mut second) = (stage.client(7).await, stage.client(8).await);
    let expected = Expected::Proof(20, ProofMode::Core);
    let asks = (
        program::ask(&mut first, 20, ProofMode::Core).await,
        program::ask(&mut second, 20, ProofMode::Core).await,
    );
    let (one, two) = tokio::join!(first.ask(&asks.0), second.ask(&asks.1));
    let direct = stage.direct();
    let one = stage.watch(one.expect("accepted"), expected, &direct);
    let two = stage.watch(two.expect("accepted"), expected, &direct);
    assert_ne!(one.id, two.id, "each client has its own request");
    let prover = stage.prover("amos", Duration::from_millis(200));
    stage.arrives(&one).await;
    stage.arrives(&two).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    stage.hierophant.launch().await.expect("starts again");
    let mut first = stage.client(7).await;
    let three = stage.request(&mut first, 20).await;
    assert_ne!(one.id, three.id);
    stage.arrives(&three).await;
    stage.assert_one_attempt(&three).await;
    stage.assert_one_attempt(&one).await;
    assert_eq!(prover.ledger().leased.len(), 1, "one attempt in all");
}

async fn client_restarts(stage: &mut Stage) {
    let prover = stage.prover("amos", Duration::from_secs(1));
    for _ in 0..3 {
        // A new process of the same client: new connections, new uploads, new deadlines.
        let mut client = stage.client(7).await;
        for n in crate::proofs::INPUTS {
            stage.request(&mut client, n).await;
        }
        drop(client);
    }
    stage.all_arrive(STEP).await;
    assert_eq!(prover.ledger().leased.len(), 2, "two inputs, two attempts");
}

async fn concurrent_claims(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut requests = Vec::new();
    for number in 0..10 {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += number;
        let expected = Expected::Proof(20, ProofMode::Core);
        requests.push(stage.submit(&mut client, &ask, expected).await);
    }
    let provers: Vec<_> = (0..10)
        .map(|number| stage.prover(&format!("worker-{number}"), Duration::from_millis(500)))
        .collect();
    stage.all_arrive(STEP).await;
    for request in &requests {
        stage.assert_one_attempt(request).await;
    }
    let given: usize = provers.iter().map(|prover| prover.ledger().leased.len()).sum();
    assert_eq!(given, 10);
}

async fn no_workers(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    for number in 0..100 {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += number;
        stage.submit(&mut client, &ask, Expected::Proof(20, ProofMode::Core)).await;
    }
    assert!(stage.observers.iter().all(|observer| observer.ended().is_none()));
    stage.fault_begins();
    let _worker = stage.contemplant(&Settings::new("amos", Duration::ZERO));
    stage.all_arrive(Duration::from_secs(180)).await;
}

async fn prerequisites(stage: &mut Stage) {
    let mut client = Client::with_key(&stage.hierophant, 7).await;
    let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let refused = client.ask(&ask).await.expect_err("the program is not there");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    program::register(&mut client).await;
    let ticket = client.ticket(ArtifactType::Stdin).await;
    ask.stdin_uri = ticket.artifact_uri.clone();
    let refused = client.ask(&ask).await.expect_err("the input is not there");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    stage.note("FailedPrecondition until it is there");
    let answer = client.put(&ticket.artifact_presigned_url, stdin_of_u32(20)).await;
    assert_eq!(answer.status(), 200);
    let request = stage.submit(&mut client, &ask, Expected::Proof(20, ProofMode::Core)).await;
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
}

async fn queue_is_full(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let expected = Expected::Proof(20, ProofMode::Core);
    let mut refused = Vec::new();
    for number in 0..5 {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += number;
        match client.ask(&ask).await {
            Ok(id) => drop(stage.watch(id, expected, &stage.direct())),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "a reason to come back: {status}");
                refused.push(ask);
            }
        }
    }
    assert_eq!(refused.len(), 2);
    stage.note("2 × Unavailable, then accepted");
    let _prover = stage.prover("amos", Duration::ZERO);
    for ask in refused {
        let id =
            wait::eventually("room in the queue", STEP, async || client.ask(&ask).await.ok()).await;
        stage.watch(id, expected, &stage.direct());
    }
    stage.all_arrive(STEP).await;
}

async fn thousand_workers(stage: &mut Stage) {
    let (http, proofs) = (stage.hierophant.http(), &stage.kit.proofs);
    let provers: Vec<_> = (0..THOUSAND)
        .map(|number| {
            let name = format!("worker-{number}");
            Prover::start(http, &name, proofs, Duration::from_secs(3), |_| {})
        })
        .collect();
    let connected = || provers.iter().filter(|prover| prover.ledger().connected).count();
    let everybody = async || (connected() == THOUSAND).then_some(());
    wait::eventually("a thousand workers", STORM, everybody).await;
    let mut client = stage.client(7).await;
    let mut requests = Vec::new();
    for number in 0..20 {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += number;
        let expected = Expected::Proof(20, ProofMode::Core);
        requests.push(stage.submit(&mut client, &ask, expected).await);
    }
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    stage.hierophant.launch().await.expect("starts again");
    wait::eventually("everybody's return", STORM, everybody).await;
    stage.all_arrive(STORM).await;
    for request in &requests {
        stage.assert_one_attempt(request).await;
    }
}
