//! Workers that must get nothing, and proofs that must not reach a client.

use std::time::Duration;

use futures_util::SinkExt;
use network_lib::handshake::{Hello, ProtocolRange, RefusalCode};
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{FailureClass, ProofMode};
use network_lib::wire::{FromWorker, ToWorker};
use test_harness::config::key;
use test_harness::wait;
use test_peers::{Worker, blob, hello};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use toml::Value;

use super::steps::{failed, leased, proves, settled};
use crate::case::{Case, case};
use crate::proofs::GoodProof;
use crate::prover::Prover;
use crate::stage::{Request, STEP, Stage};

/// The worker that a configuration blocks.
const BLOCKED: WorkerId = WorkerId([0xb1; 16]);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("eligibility", "failed-handshake", "garbage, silence or another message instead of a handshake: no job is assigned", failed_handshake),
        case!("eligibility", "bad-token", "a wrong or missing token is refused, the right one works", bad_token).keys(key("worker_token", "sesame")),
        case!("eligibility", "protocol-too-old", "a Contemplant of an older protocol is refused, with the supported versions", protocol_too_old),
        case!("eligibility", "protocol-too-new", "a Contemplant of a newer protocol is refused; one that supports both is admitted", protocol_too_new),
        case!("eligibility", "outdated-circuit", "a worker with another circuit version receives no job, a matching one does", outdated_circuit),
        case!("eligibility", "mock-not-allowed", "mock workers are refused unless mock mode is on", mock_not_allowed).keys(key("mock_mode", false)),
        case!("eligibility", "blocked-worker", "a blocked worker is refused", blocked_worker).keys(key("worker_registry.blocked", vec![Value::from(BLOCKED.to_string())])),
        case!("eligibility", "proof-of-another-program", "rejected, its worker gets a strike, the job is retried on another worker", another_program),
        case!("eligibility", "truncated-proof", "rejected, its worker gets a strike, the job is retried on another worker", truncated),
        case!("eligibility", "proof-with-other-public-values", "a valid proof of another input: rejected, a strike, retried on another worker", other_public_values),
        case!("eligibility", "proof-of-another-kind", "a Compressed proof for a Core request: rejected, a strike, retried on another worker", another_kind),
        case!("eligibility", "proof-with-another-digest", "the announced digest differs from the uploaded bytes: rejected, retried on another worker", another_digest),
        case!("eligibility", "no-proof-at-all", "random bytes, and an empty upload: rejected, a strike, retried on another worker", no_proof),
        case!("eligibility", "prover-reports-failure", "a reported failure requeues the job, with and without a strike", reports_failure),
        case!("eligibility", "attempt-takes-too-long", "after its time limit an attempt is retried on another worker, not the same", takes_too_long).keys(key("proofs.attempt_limit", "2s")),
    ]
}

async fn refused(stage: &Stage, hello: Hello, code: RefusalCode) -> String {
    let mut worker = Worker::dial(&stage.hierophant).await;
    worker.say(FromWorker::Hello(hello)).await;
    match worker.hear().await {
        Some(ToWorker::Refused(refusal)) => {
            assert_eq!(refusal.code, code, "{}", refusal.message);
            refusal.message
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// A request that another worker fulfils in the end: the refused one must not get it.
async fn served_by_another(stage: &mut Stage, request: Request, change: impl FnOnce(&mut Hello)) {
    let (http, proofs) = (stage.hierophant.http(), &stage.kit.proofs);
    let prover = Prover::start(http, "joel", proofs, Duration::ZERO, change);
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
    assert_eq!(prover.ledger().leased.len(), 1);
}

async fn failed_handshake(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    let mut silent = Worker::dial(&stage.hierophant).await;
    for text in [
        "",
        "garbage",
        "{}",
        "{\"type\":\"hello\"}",
        "[[[[",
        "{\"type\":\"heartbeat\",\"held\":[]}",
    ] {
        let mut worker = Worker::dial(&stage.hierophant).await;
        worker.say_text(text.into()).await;
        match worker.hear().await {
            Some(ToWorker::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Malformed),
            None => {}
            other => panic!("{text:?} was answered with {other:?}"),
        }
    }
    let mut binary = Worker::dial(&stage.hierophant).await;
    binary.socket.send(Message::binary(vec![0xff; 64])).await.expect("sends");
    assert!(matches!(binary.hear().await, Some(ToWorker::Refused(_)) | None));
    // A peer that says nothing is disconnected after a while.
    assert!(matches!(silent.hear().await, Some(ToWorker::Refused(_)) | None));
    served_by_another(stage, request, |_| {}).await;
}

async fn bad_token(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    let long = "x".repeat(10_000);
    for token in [None, Some(""), Some("Sesame"), Some("sesam"), Some(long.as_str())] {
        let me = Hello { token: token.map(Into::into), ..hello() };
        let text = refused(stage, me, RefusalCode::Unauthorized).await;
        assert!(!text.contains("sesame"), "the token is not revealed: {text}");
    }
    served_by_another(stage, request, |hello| hello.token = Some("sesame".into())).await;
}

async fn protocol_too_old(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    let me = Hello { protocol: ProtocolRange { oldest: 0, newest: 0 }, ..hello() };
    let text = refused(stage, me, RefusalCode::ProtocolVersion).await;
    assert!(text.contains("protocol"), "{text}");
    served_by_another(stage, request, |_| {}).await;
}

async fn protocol_too_new(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    let newest = ProtocolRange::OURS.newest + 1;
    let me = Hello { protocol: ProtocolRange { oldest: newest, newest: newest + 5 }, ..hello() };
    refused(stage, me, RefusalCode::ProtocolVersion).await;
    // A handshake of another form is answered with the expected version, too.
    let mut worker = Worker::dial(&stage.hierophant).await;
    let text = format!(r#"{{"type":"greet","protocol":{{"oldest":{newest},"newest":{newest}}}}}"#);
    worker.say_text(text).await;
    match worker.hear().await {
        Some(ToWorker::Refused(refusal)) => {
            assert_eq!(refusal.code, RefusalCode::ProtocolVersion);
            assert_eq!(refusal.protocol, ProtocolRange::OURS);
        }
        other => panic!("not refused: {other:?}"),
    }
    let both = ProtocolRange { oldest: ProtocolRange::OURS.oldest, newest };
    served_by_another(stage, request, |hello| hello.protocol = both).await;
}

async fn outdated_circuit(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut old = hello();
    old.capabilities.circuit_versions = vec!["v5.0.0".into()];
    let _old = stage.worker_with(old).await;
    let request = stage.request(&mut client, 20).await;
    sleep(Duration::from_millis(500)).await;
    assert!(stage.attempts(&request).await.is_empty(), "no worker is suitable yet");
    served_by_another(stage, request, |_| {}).await;
}

async fn mock_not_allowed(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let ask = crate::program::ask(&mut client, 20, ProofMode::Core).await;
    let waiting = crate::observer::Expected::StillWaiting;
    let request = stage.submit(&mut client, &ask, waiting).await;
    refused(stage, hello(), RefusalCode::MockNotAllowed).await;
    let mut real = hello();
    real.capabilities.backend = network_lib::handshake::Backend::Cpu;
    let mut worker = stage.worker_with(real).await;
    let lease = leased(&mut worker).await;
    // A mock proof from one that says it makes real ones.
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    hand_in(&mut worker, lease, &good).await;
    settled(&mut worker, lease).await;
    sleep(Duration::from_secs(1)).await;
    assert_ne!(stage.job_state(&request).await, "proved", "a mock proof was accepted");
}

async fn blocked_worker(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    let mut worker = Worker::dial(&stage.hierophant).await;
    worker.say(FromWorker::Hello(Hello { worker_id: BLOCKED, ..hello() })).await;
    match worker.hear().await {
        Some(ToWorker::Refused(refusal)) => assert!(!refusal.code.is_transient()),
        other => panic!("not refused: {other:?}"),
    }
    served_by_another(stage, request, |_| {}).await;
}

async fn hand_in(worker: &mut Worker, lease: LeaseId, proof: &GoodProof) {
    assert_eq!(worker.hand_in(lease, &proof.bytes).await, 200, "taken until it is checked");
    super::steps::completed(worker, lease, proof).await;
}

/// A worker hands in `bad`; the client must get a good proof, from another worker.
async fn redone_elsewhere(stage: &mut Stage, mode: ProofMode, bad: GoodProof) {
    let mut client = stage.client(7).await;
    let mut liar = stage.worker("gehazi").await;
    let request = stage.request_mode(&mut client, 20, mode).await;
    let lease = leased(&mut liar).await;
    proves(&mut liar, lease).await;
    let _honest = stage.prover("joel", Duration::ZERO);
    stage.joined("joel").await;
    stage.fault_begins();
    hand_in(&mut liar, lease, &bad).await;
    stage.arrives(&request).await;
    struck(stage, "gehazi").await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(attempts[0], ("gehazi".into(), "failed".into()));
    assert_eq!(attempts[1], ("joel".into(), "completed".into()));
}

async fn struck(stage: &Stage, name: &str) {
    wait::eventually("a strike", STEP, async || {
        let page = stage.contemplant_page(name).await?;
        (page["strikes"] == 1).then_some(())
    })
    .await;
}

async fn another_program(stage: &mut Stage) {
    let bytes = stage.kit.proofs.of_another_program(20, ProofMode::Groth16);
    let execution = stage.kit.proofs.of(20, ProofMode::Groth16).execution;
    redone_elsewhere(stage, ProofMode::Groth16, GoodProof { bytes, execution }).await;
}

async fn truncated(stage: &mut Stage) {
    let mut bad = stage.kit.proofs.of(20, ProofMode::Compressed).clone();
    bad.bytes.truncate(bad.bytes.len() / 2);
    redone_elsewhere(stage, ProofMode::Compressed, bad).await;
}

/// The public values of input 21, honestly announced, and then under the announcement of input 20.
async fn other_public_values(stage: &mut Stage) {
    let mut bad = stage.kit.proofs.of(21, ProofMode::Core).clone();
    bad.execution = stage.kit.proofs.of(20, ProofMode::Core).execution;
    redone_elsewhere(stage, ProofMode::Core, bad).await;
}

async fn another_kind(stage: &mut Stage) {
    let bad = stage.kit.proofs.of(20, ProofMode::Compressed).clone();
    redone_elsewhere(stage, ProofMode::Core, bad).await;
}

async fn another_digest(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut liar = stage.worker("gehazi").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut liar).await;
    let _honest = stage.prover("joel", Duration::ZERO);
    stage.joined("joel").await;
    stage.fault_begins();
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    assert_eq!(liar.hand_in(lease, &good.bytes).await, 200);
    let (execution, mut proof) = (good.execution, blob(&good.bytes));
    proof.sha256 = Sha256Digest([0x5a; 32]);
    liar.say(FromWorker::Completed { lease_id: lease, execution, proof }).await;
    stage.arrives(&request).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts[1], ("joel".into(), "completed".into()), "{attempts:?}");
}

async fn no_proof(stage: &mut Stage) {
    let execution = stage.kit.proofs.of(20, ProofMode::Core).execution;
    let random = network_lib::ids::random_bytes::<4096>().to_vec();
    redone_elsewhere(stage, ProofMode::Core, GoodProof { bytes: random, execution }).await;
    // And a completion without anything handed in.
    let mut client = stage.client(8).await;
    let mut liar = stage.worker("ananias").await;
    let mut ask = crate::program::ask(&mut client, 21, ProofMode::Core).await;
    ask.cycle_limit += 1;
    let expected = crate::observer::Expected::Proof(21, ProofMode::Core);
    let request = stage.submit(&mut client, &ask, expected).await;
    if let Ok(Some(ToWorker::Prove { lease_id, .. })) =
        tokio::time::timeout(Duration::from_millis(500), liar.hear()).await
    {
        let good = stage.kit.proofs.of(21, ProofMode::Core).clone();
        super::steps::completed(&mut liar, lease_id, &good).await;
    }
    drop(liar);
    let _honest = stage.prover("hosea", Duration::ZERO);
    stage.arrives(&request).await;
}

async fn reports_failure(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    for (name, class) in [("amos", FailureClass::Worker), ("hosea", FailureClass::Infrastructure)] {
        let mut worker = stage.worker(name).await;
        let mut ask = crate::program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += class as u64;
        let expected = crate::observer::Expected::Proof(20, ProofMode::Core);
        let request = stage.submit(&mut client, &ask, expected).await;
        let lease = leased(&mut worker).await;
        let _other = stage.prover("joel", Duration::ZERO);
        stage.joined("joel").await;
        failed(&mut worker, lease, class).await;
        drop(worker);
        stage.arrives(&request).await;
        let attempts = stage.attempts(&request).await;
        assert_eq!(attempts[0], (name.into(), "failed".into()));
    }
}

async fn takes_too_long(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut slow = stage.worker("amos").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut slow).await;
    proves(&mut slow, lease).await;
    stage.fault_begins();
    let _other = stage.prover("joel", Duration::ZERO);
    stage.arrives(&request).await;
    match slow.hear().await {
        Some(ToWorker::Cancel { lease_id, .. }) => assert_eq!(lease_id, lease),
        other => panic!("the slow attempt was not stopped: {other:?}"),
    }
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts[1].0, "joel", "{attempts:?}");
}
