//! A wall clock that is set under a running Hierophant. Deadlines follow it, as clients' deadlines do; durations do
//! not.

use std::time::Duration;

use network_lib::handshake::Hello;
use network_lib::job::ProofMode;
use test_harness::config::key;
use test_peers::{hello, unix_now};
use tokio::time::sleep;

use super::steps::{leased, one_proves_one_waits, proved, proves, rejoin};
use crate::case::{Case, case, short_silence};
use crate::clock::Clock;
use crate::observer::Expected;
use crate::program;
use crate::stage::{STEP, Stage};

/// How far the clock is set. Requests that [`program::ask`] makes have four hours.
const HOURS: i64 = 3 * 3600;

/// Longer than it takes Hierophant to look after what only time brings about.
const A_LOOK: Duration = Duration::from_millis(2500);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("clock", "clock-set-forward", "three hours: passed deadlines expire, no worker is taken for silent, no attempt for slow", set_forward).keys(key("proofs.attempt_limit", "1h")),
        case!("clock", "clock-set-back", "three hours: silence is still detected, new requests are served, deadlines follow the new time", set_back).keys(short_silence()),
        case!("clock", "clock-set-back-and-killed", "three hours back, then SIGKILL: the attempt recorded in the future continues", set_back_and_killed),
        case!("clock", "clock-set-to-and-fro", "a clock that is set six times under load: every request ends exactly once, and is in the history", to_and_fro),
    ]
}

async fn set_forward(stage: &mut Stage) {
    let clock = Clock::under(stage).await;
    let mut client = stage.client(7).await;
    let mut present = stage.worker("amos").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut present).await;
    proves(&mut present, lease).await;
    // Another Contemplant's link broke a moment ago.
    let me = Hello { name: "joel".into(), ..hello() };
    let mut away = stage.worker_with(me.clone()).await;
    let its_request = stage.request(&mut client, 21).await;
    let its_lease = leased(&mut away).await;
    proves(&mut away, its_lease).await;
    stage.job_becomes(&its_request, "proving").await;
    drop(away);
    stage.gone("joel").await;
    // A request waits that has an hour.
    let mut ask = program::ask(&mut client, 20, ProofMode::Compressed).await;
    ask.deadline = unix_now() + 3600;
    let short = stage.submit(&mut client, &ask, Expected::Unfulfillable).await;
    stage.fault_begins();
    clock.set(HOURS);
    stage.arrives(&short).await;
    sleep(A_LOOK).await;
    let (mut back, welcome) = rejoin(stage, me, &[its_lease]).await;
    assert_eq!(welcome.resume, [its_lease], "the attempt goes on");
    proved(stage, &mut back, its_lease, 21).await;
    proved(stage, &mut present, lease, 20).await;
    for request in [&request, &its_request] {
        stage.arrives(request).await;
        stage.assert_one_attempt(request).await;
    }
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["strikes"], 0, "no strike");
    let heard = page["seconds_since_heard"].as_u64().expect("a number");
    assert!(heard < 60, "heard {heard} s ago");
}

async fn set_back(stage: &mut Stage) {
    let clock = Clock::under(stage).await;
    let mut client = stage.client(7).await;
    let mut worker = stage.worker("amos").await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    proves(&mut worker, lease).await;
    stage.job_becomes(&request, "proving").await;
    stage.fault_begins();
    clock.set(-HOURS);
    // From here on the first one says nothing.
    let _other = stage.prover("joel", Duration::ZERO);
    stage.arrives(&request).await;
    assert_eq!(stage.attempts(&request).await.len(), 2);
    let new = stage.request(&mut client, 21).await;
    stage.arrives(&new).await;
    // No worker offers PLONK, so that this one waits until its deadline by the new time.
    let mut ask = program::ask(&mut client, 20, ProofMode::Plonk).await;
    ask.deadline = unix_now() - HOURS.unsigned_abs() + 5;
    drop(_other);
    stage.gone("joel").await;
    let late = stage.submit(&mut client, &ask, Expected::Unfulfillable).await;
    stage.arrives(&late).await;
    assert!(unix_now() - HOURS.unsigned_abs() >= ask.deadline, "not before its time");
}

async fn set_back_and_killed(stage: &mut Stage) {
    let clock = Clock::under(stage).await;
    let at_work = one_proves_one_waits(stage).await;
    stage.fault_begins();
    clock.set(-HOURS);
    stage.hierophant.process.kill().await.expect("killed");
    stage.hierophant.launch().await.expect("starts again");
    at_work.goes_on_where_it_was(stage).await;
}

async fn to_and_fro(stage: &mut Stage) {
    const ROUNDS: u64 = 6;
    let clock = Clock::under(stage).await;
    let _provers = ["amos", "joel"].map(|name| stage.prover(name, Duration::from_millis(400)));
    let mut client = stage.client(7).await;
    stage.fault_begins();
    for round in 0..ROUNDS {
        for number in 0..2 {
            let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
            ask.cycle_limit += round * 2 + number;
            stage.submit(&mut client, &ask, Expected::Proof(20, ProofMode::Core)).await;
        }
        sleep(Duration::from_millis(round * 70)).await;
        clock.set(if round % 2 == 0 { HOURS } else { -HOURS });
    }
    stage.all_arrive(STEP).await;
    let mut store = stage.store().await;
    let completed = "SELECT count(*) FROM attempts WHERE outcome = 'completed'";
    let attempts = "SELECT count(*) FROM attempts";
    for query in [completed, attempts] {
        let found = store.count(query).await.expect("counted");
        assert_eq!(found, i64::try_from(ROUNDS * 2).expect("few"), "{query}");
    }
    // Page by page, nothing of it is missing.
    let mut listed = std::collections::BTreeSet::new();
    let mut path = "/proof-history?limit=5".to_owned();
    loop {
        let page = stage.hierophant.page(&path).await.expect("a page of the history");
        let jobs = page.as_array().expect("a list");
        let Some(last) = jobs.last() else { break };
        path = format!("/proof-history?limit=5&before={}", last["job"].as_str().expect("an id"));
        for job in jobs {
            assert!(listed.insert(job["job"].to_string()), "a job is listed twice");
        }
    }
    assert_eq!(listed.len() as u64, ROUNDS * 2, "jobs in the history");
}
