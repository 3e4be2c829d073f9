//! Workers that die, stop and come back; jobs that take their course.

use std::time::Duration;

use hierophant_proto::network::ExecuteFailureCause as Cause;
use network_lib::handshake::Hello;
use network_lib::job::{FailureClass, ProofMode};
use network_lib::wire::{FromWorker, ToWorker};
use test_harness::config::key;
use test_harness::{Signal, wait};
use test_peers::hello;
use tokio::time::sleep;

use super::steps::{failed, idle, leased, proved, proves, rejoin, settled};
use crate::case::{Case, case, short_silence};
use crate::contemplant::Settings;
use crate::observer::Expected;
use crate::program;
use crate::stage::{STEP, Stage};

/// Longer than any case.
const FOR_EVER: Duration = Duration::from_secs(600);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("lifecycle", "every-proof-mode", "proofs of all four modes are made and served", every_proof_mode),
        case!("lifecycle", "execution-facts", "a real Contemplant's cycles, gas and public values reach the client", execution_facts).with_contemplants(),
        case!("lifecycle", "guest-fails", "a program panics: unexecutable, with its cause", guest_fails).with_contemplants(),
        case!("lifecycle", "guest-fails-twenty-times", "20 requests for a program that panics: 20 × unexecutable, no worker lost, other requests unaffected", guest_fails_twenty_times).with_contemplants(),
        case!("lifecycle", "cycle-limit-exceeded", "more cycles than the limit: terminal, with its cause", cycle_limit).with_contemplants(),
        case!("lifecycle", "several-workers-several-requests", "three workers share twelve requests", several_workers),
        case!("lifecycle", "one-long-four-small", "a long proof does not starve four small ones", one_long_four_small),
        case!("lifecycle", "worker-killed-while-proving", "SIGKILL of a Contemplant while it proves: the job is retried on another worker", worker_killed).with_contemplants().keys(short_silence()),
        case!("lifecycle", "worker-frozen-while-proving", "SIGSTOP of a Contemplant: its silence is detected; after SIGCONT it changes nothing", worker_frozen).with_contemplants().keys(short_silence()),
        case!("lifecycle", "worker-killed-with-a-finished-proof", "SIGKILL of a Contemplant that holds a finished proof: after a restart it hands the proof in", finished_proof_survives).with_contemplants(),
        case!("lifecycle", "worker-drained", "SIGTERM of a Contemplant: it finishes its proof and exits; restarted, it takes the next job", worker_drained).with_contemplants(),
        case!("lifecycle", "worker-drained-too-long", "SIGTERM, and the proof does not finish in time: handed back, retried on another worker", worker_drained_too_long).with_contemplants(),
        case!("lifecycle", "worker-drained-on-request", "POST /contemplants/ID/drain: it finishes its proof, takes no new job, and leaves", drained_on_request).with_contemplants(),
        case!("lifecycle", "first-attempt-fails", "a failed attempt is retried on another Contemplant", first_attempt_fails),
        case!("lifecycle", "three-attempts-fail", "three failed attempts on three Contemplants exhaust the retry budget", three_attempts_fail),
        case!("lifecycle", "straggler-raced", "an idle Contemplant races a straggler: the first proof wins, the loser is stopped, one proof is served", straggler_raced).keys(key("proofs.race_after", 1.0)),
        case!("lifecycle", "cancelled-while-queued", "a cancelled request stays cancelled and is never assigned", cancelled_while_queued),
        case!("lifecycle", "cancelled-while-proving", "a cancelled request stays cancelled, and the work stops", cancelled_while_proving),
        case!("lifecycle", "deadline-passes", "a request expires at its deadline, and not before", deadline_passes),
    ]
}

async fn every_proof_mode(stage: &mut Stage) {
    let _prover = stage.prover("amos", Duration::ZERO);
    let mut client = stage.client(7).await;
    for mode in ProofMode::ALL {
        stage.request_mode(&mut client, 20, mode).await;
    }
    stage.all_arrive(STEP).await;
}

async fn execution_facts(stage: &mut Stage) {
    let _worker = stage.contemplant(&Settings::new("amos", Duration::ZERO));
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 21).await;
    stage.all_arrive(Duration::from_secs(120)).await;
    let details = client.details(&request.id).await.expect("details");
    let known = stage.kit.proofs.of(21, ProofMode::Core).execution;
    assert_eq!((details.cycles, details.gas_used), (Some(known.cycles), known.gas));
    assert_eq!(details.public_values_hash, Some(program::public_values_hash(21)));
}

async fn guest_fails(stage: &mut Stage) {
    let _worker = stage.contemplant(&Settings::new("amos", Duration::ZERO));
    let mut client = stage.client(7).await;
    let ask = program::ask(&mut client, fibonacci::PANICKING_INPUT, ProofMode::Core).await;
    let expected = Expected::Unexecutable(Cause::HaltWithNonZeroExitCode);
    let request = stage.submit(&mut client, &ask, expected).await;
    stage.all_arrive(Duration::from_secs(120)).await;
    stage.assert_one_attempt(&request).await;
}

async fn guest_fails_twenty_times(stage: &mut Stage) {
    let mut worker = stage.contemplant(&Settings::new("amos", Duration::ZERO));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let before = stage.request(&mut client, 20).await;
    for number in 0..20 {
        let mut ask = program::ask(&mut client, fibonacci::PANICKING_INPUT, ProofMode::Core).await;
        // Another limit makes it another job.
        ask.cycle_limit += number;
        stage
            .submit(&mut client, &ask, Expected::Unexecutable(Cause::HaltWithNonZeroExitCode))
            .await;
    }
    stage.fault_begins();
    let after = stage.request(&mut client, 21).await;
    stage.all_arrive(Duration::from_secs(150)).await;
    for request in [&before, &after] {
        stage.assert_one_attempt(request).await;
    }
    assert!(worker.is_alive(), "the Contemplant lives");
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["strikes"], 0, "no strike");
}

async fn cycle_limit(stage: &mut Stage) {
    let _worker = stage.contemplant(&Settings::new("amos", Duration::ZERO));
    let mut client = stage.client(7).await;
    let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
    ask.cycle_limit = 1000;
    let expected = Expected::Unexecutable(Cause::ExceededCycleLimit);
    let request = stage.submit(&mut client, &ask, expected).await;
    stage.all_arrive(Duration::from_secs(120)).await;
    stage.assert_one_attempt(&request).await;
}

async fn several_workers(stage: &mut Stage) {
    let names = ["amos", "joel", "hosea"];
    let provers = names.map(|name| stage.prover(name, Duration::from_millis(300)));
    for name in names {
        stage.joined(name).await;
    }
    let mut client = stage.client(7).await;
    for number in 0..12 {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += number;
        stage.submit(&mut client, &ask, Expected::Proof(20, ProofMode::Core)).await;
    }
    stage.all_arrive(STEP).await;
    for prover in &provers {
        let ledger = prover.ledger();
        assert!(!ledger.leased.is_empty(), "every worker has worked");
        assert_eq!(ledger.most_at_once, 1, "no worker holds more than its slot");
    }
}

async fn one_long_four_small(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut slow = stage.worker("amos").await;
    let long = stage.request(&mut client, 20).await;
    let lease = leased(&mut slow).await;
    let _quick = stage.prover("joel", Duration::from_millis(200));
    let mut small = Vec::new();
    for number in 1..=4 {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += number;
        let expected = Expected::Proof(20, ProofMode::Core);
        small.push(stage.submit(&mut client, &ask, expected).await);
    }
    for request in &small {
        stage.arrives(request).await;
    }
    assert!(stage.observer(&long).ended().is_none(), "the long one is still going on");
    proved(stage, &mut slow, lease, 20).await;
    stage.arrives(&long).await;
}

async fn worker_killed(stage: &mut Stage) {
    let mut first = stage.contemplant(&Settings::new("amos", FOR_EVER));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    let _second = stage.prover("joel", Duration::from_millis(300));
    stage.joined("joel").await;
    stage.fault_begins();
    first.kill().await.expect("killed");
    stage.arrives(&request).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(attempts[0], ("amos".into(), "lost".into()));
}

async fn worker_frozen(stage: &mut Stage) {
    let first = stage.contemplant(&Settings::new("amos", FOR_EVER));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    let _second = stage.prover("joel", Duration::from_millis(300));
    stage.joined("joel").await;
    stage.fault_begins();
    first.signal(Signal::Stop).await.expect("frozen");
    stage.arrives(&request).await;
    first.signal(Signal::Continue).await.expect("thawed");
    wait::eventually("a Contemplant that has come back and stopped its work", STEP, async || {
        let page = stage.contemplant_page("amos").await?;
        let idle = page["current_proofs"].as_array()?.is_empty();
        (page["state"] == "ready" && idle).then_some(())
    })
    .await;
    assert_eq!(stage.attempts(&request).await.len(), 2);
}

async fn finished_proof_survives(stage: &mut Stage) {
    let mut worker = stage.contemplant(&Settings::new("amos", Duration::from_secs(3)));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    // The proof is finished while Hierophant is down.
    sleep(Duration::from_secs(5)).await;
    worker.kill().await.expect("killed");
    stage.hierophant.launch().await.expect("starts again");
    worker.start().expect("starts again");
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn worker_drained(stage: &mut Stage) {
    let settings = Settings::new("amos", Duration::from_secs(3)).with("shutdown_grace", "20s");
    let mut worker = stage.contemplant(&settings);
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    stage.fault_begins();
    worker.signal(Signal::Terminate).await.expect("signalled");
    let next = stage.request(&mut client, 21).await;
    let status = worker.ended(STEP).await.expect("ends in time");
    assert!(status.success(), "{status}: {}", worker.log_text());
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
    assert!(stage.observer(&next).ended().is_none(), "a draining Contemplant takes nothing new");
    worker.start().expect("starts again");
    stage.all_arrive(Duration::from_secs(120)).await;
    stage.assert_one_attempt(&next).await;
}

async fn worker_drained_too_long(stage: &mut Stage) {
    let settings = Settings::new("amos", FOR_EVER).with("shutdown_grace", "1s");
    let mut worker = stage.contemplant(&settings);
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    stage.fault_begins();
    worker.signal(Signal::Terminate).await.expect("signalled");
    let status = worker.ended(STEP).await.expect("ends in time");
    assert!(status.success(), "{status}");
    let _second = stage.prover("joel", Duration::ZERO);
    stage.arrives(&request).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
}

async fn drained_on_request(stage: &mut Stage) {
    let mut worker = stage.contemplant(&Settings::new("amos", Duration::from_secs(3)));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    stage.fault_begins();
    let page = stage.contemplant_page("amos").await.expect("connected");
    let drain = format!("/contemplants/{}/drain", page["id"].as_str().expect("an id"));
    for _ in 0..2 {
        // Asking twice is asking once.
        let asked = client.http.post(stage.hierophant.url(&drain)).send().await.expect("answers");
        assert_eq!(asked.status(), 202);
    }
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["state"], "draining");
    let next = stage.request(&mut client, 21).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
    let status = worker.ended(STEP).await.expect("ends when it is done");
    assert!(status.success(), "{status}: {}", worker.log_text());
    assert!(stage.observer(&next).ended().is_none(), "a draining Contemplant takes nothing new");
    let asked = client.http.post(stage.hierophant.url(&drain)).send().await.expect("answers");
    assert_eq!(asked.status(), 404, "it has left");
    worker.start().expect("starts again");
    stage.all_arrive(Duration::from_secs(120)).await;
    stage.assert_one_attempt(&next).await;
}

async fn first_attempt_fails(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut first = stage.worker("amos").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut first).await;
    let mut second = stage.worker("joel").await;
    stage.fault_begins();
    failed(&mut first, lease, FailureClass::Worker).await;
    settled(&mut first, lease).await;
    let lease = leased(&mut second).await;
    proved(stage, &mut second, lease, 20).await;
    stage.arrives(&request).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts[0], ("amos".into(), "failed".into()));
    assert_eq!(attempts[1], ("joel".into(), "completed".into()));
}

async fn three_attempts_fail(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut workers = Vec::new();
    for name in ["amos", "joel", "hosea", "micah"] {
        workers.push(stage.worker(name).await);
    }
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let request = stage.submit(&mut client, &ask, Expected::Unfulfillable).await;
    stage.fault_begins();
    let mut failures = Vec::new();
    for _ in 0..3 {
        // The worker that gets it fails; no worker gets it twice.
        let mut hearing: Vec<_> = workers.iter_mut().map(|w| Box::pin(leased(w))).collect();
        let (lease, index, _) = futures_util::future::select_all(hearing.drain(..)).await;
        drop(hearing);
        let mut worker = workers.remove(index);
        failed(&mut worker, lease, FailureClass::Worker).await;
        failures.push(worker);
    }
    stage.arrives(&request).await;
    assert_eq!(stage.attempts(&request).await.len(), 3);
    // All workers remain available to other requests.
    let well = stage.request(&mut client, 21).await;
    workers.extend(failures);
    let mut hearing: Vec<_> = workers.iter_mut().map(|w| Box::pin(leased(w))).collect();
    let (lease, index, _) = futures_util::future::select_all(hearing.drain(..)).await;
    drop(hearing);
    proved(stage, &mut workers[index], lease, 21).await;
    stage.arrives(&well).await;
}

async fn straggler_raced(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    // What is usual: a fifth of a second.
    let quick = stage.prover("amos", Duration::from_millis(200));
    let usual = stage.request(&mut client, 20).await;
    stage.arrives(&usual).await;
    drop(quick);
    stage.gone("amos").await;
    let mut straggler = stage.worker("gehazi").await;
    let request = stage.request(&mut client, 21).await;
    let slow = leased(&mut straggler).await;
    proves(&mut straggler, slow).await;
    stage.job_becomes(&request, "proving").await;
    stage.fault_begins();
    let racer = stage.prover("joel", Duration::from_millis(200));
    stage.arrives(&request).await;
    stage.recovers();
    let stopped = straggler.hear().await;
    assert!(
        matches!(stopped, Some(ToWorker::Cancel { lease_id, .. }) if lease_id == slow),
        "the loser must be stopped: {stopped:?}"
    );
    let late = stage.kit.proofs.of(21, ProofMode::Core).clone();
    assert_eq!(straggler.hand_in(slow, &late.bytes).await, 403, "too late, and no harm done");
    assert_eq!(racer.ledger().leased.len(), 1);
    let attempts = stage.attempts(&request).await;
    let won: Vec<_> = attempts.iter().filter(|(_, outcome)| outcome == "completed").collect();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert!(won.len() == 1 && won[0].0 == "joel", "{attempts:?}");
    let page = stage.contemplant_page("gehazi").await.expect("is connected");
    assert_eq!(page["strikes"], 0, "{page}");
}

async fn cancelled_while_queued(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let request = stage.submit(&mut client, &ask, Expected::Cancelled).await;
    client.cancel(&request.id).await.expect("withdrawn");
    stage.arrives(&request).await;
    let prover = stage.prover("amos", Duration::ZERO);
    stage.joined("amos").await;
    let other = stage.request(&mut client, 21).await;
    stage.arrives(&other).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(prover.ledger().leased.len(), 1, "only the other one was given out");
}

async fn cancelled_while_proving(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let mut worker = stage.worker("amos").await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let request = stage.submit(&mut client, &ask, Expected::Cancelled).await;
    let lease = leased(&mut worker).await;
    proves(&mut worker, lease).await;
    stage.job_becomes(&request, "proving").await;
    client.cancel(&request.id).await.expect("withdrawn");
    match worker.hear().await {
        Some(ToWorker::Cancel { lease_id, .. }) => assert_eq!(lease_id, lease),
        other => panic!("the work was not stopped: {other:?}"),
    }
    idle(&mut worker, &[]).await;
    // What comes too late changes nothing, also seconds later.
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    assert_eq!(worker.hand_in(lease, &good.bytes).await, 403);
    super::steps::completed(&mut worker, lease, &good).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.job_state(&request).await, "cancelled");
}

async fn deadline_passes(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let me = Hello { name: "amos".into(), ..hello() };
    let (mut worker, _) = rejoin(stage, me, &[]).await;
    let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
    ask.deadline = test_peers::unix_now() + 3;
    let request = stage.submit(&mut client, &ask, Expected::Unfulfillable).await;
    let lease = leased(&mut worker).await;
    proves(&mut worker, lease).await;
    stage.arrives(&request).await;
    assert!(test_peers::unix_now() >= ask.deadline, "not before its time");
    worker.say(FromWorker::Heartbeat { held: vec![], gpus: vec![] }).await;
    let next = stage.request(&mut client, 21).await;
    let lease = leased(&mut worker).await;
    proved(stage, &mut worker, lease, 21).await;
    stage.arrives(&next).await;
}
