//! A database server that stops, a link to it that breaks, and others who write to the database.

use std::time::Duration;

use network_lib::job::ProofMode;
use test_harness::config::key;
use test_harness::{Hierophant, wait};
use tokio::time::sleep;

use super::steps::{one_proves_one_waits, prover_at_work};
use crate::case::{Case, case};
use crate::observer::Expected;
use crate::program;
use crate::prover::Prover;
use crate::settings;
use crate::stage::{Request, STEP, Stage};
use test_peers::relay::Direction;

/// How long the database is away, which is longer than the proof takes.
const AWAY: Duration = Duration::from_secs(4);

/// Longer than Hierophant waits for an answer of the database.
const LONG_SILENCE: Duration = Duration::from_secs(12);

/// Until service is back after such a silence: Hierophant tries again with growing pauses.
const AFTER_SILENCE: Duration = Duration::from_secs(40);

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("postgres", "postgres-stopped", "the server stops until after the proof is finished: the request still ends", stopped),
        case!("postgres", "postgres-stopped-and-hierophant-killed", "both at once: no start without the server; with it the attempt continues", both_killed),
        case!("postgres", "postgres-link-cut", "the link to the server breaks ten times under load: every request ends exactly once", link_cut),
        case!("postgres", "postgres-silent", "no traffic to or from the server for a while: late, but one attempt", silent),
        case!("postgres", "postgres-silent-for-long", "no traffic for longer than the timeout: it reconnects, one attempt", silent_for_long).within(Duration::from_secs(100)),
        case!("postgres", "postgres-read-only", "the server is read-only for a while: the request still ends", read_only),
        case!("postgres", "two-coordinators-on-postgres", "a second Hierophant on the same database is refused, the first one is unaffected", two_coordinators),
        case!("postgres", "postgres-written-by-another", "another one wrote while the link was cut: Hierophant stops writing, and continues after a restart", written_by_another),
    ]
}

/// A prover at work on a request, on a database.
async fn proving(stage: &mut Stage) -> (Prover, Request) {
    stage.move_to_postgres().await;
    prover_at_work(stage).await
}

/// Nothing is promised that is not stored; afterwards everything continues automatically.
async fn ends_afterwards(stage: &mut Stage, request: &Request, limit: Duration) {
    wait::eventually("the request's end", limit, async || {
        stage.observer(request).ended().map(drop)
    })
    .await;
    stage.assert_one_attempt(request).await;
    assert!(stage.hierophant.process.is_alive(), "Hierophant has not ended");
}

async fn stopped(stage: &mut Stage) {
    let (_prover, request) = proving(stage).await;
    stage.fault_begins();
    stage.postgres().stop().await.expect("stopped");
    sleep(AWAY).await;
    assert!(stage.observer(&request).ended().is_none(), "nothing is promised that is not stored");
    stage.postgres().start_again().await.expect("started");
    ends_afterwards(stage, &request, AFTER_SILENCE).await;
}

async fn both_killed(stage: &mut Stage) {
    stage.move_to_postgres().await;
    let at_work = one_proves_one_waits(stage).await;
    stage.fault_begins();
    stage.postgres().stop().await.expect("stopped");
    stage.hierophant.process.kill().await.expect("killed");
    let told = stage.hierophant.process.log_text().len();
    stage.hierophant.process.start().expect("starts");
    let status = stage.hierophant.process.ended(STEP).await.expect("ends on its own");
    assert!(!status.success(), "it must refuse to start");
    let log = stage.hierophant.process.log_text()[told..].to_owned();
    assert!(log.contains("cannot open the database test_0 on 127.0.0.1"), "{log}");
    stage.note("refused to start without it, with the database's name");
    stage.postgres().start_again().await.expect("started");
    stage.hierophant.launch().await.expect("starts again");
    at_work.goes_on_where_it_was(stage).await;
}

async fn link_cut(stage: &mut Stage) {
    const ROUNDS: u64 = 10;
    stage.move_to_postgres().await;
    let _provers = ["amos", "joel"].map(|name| stage.prover(name, Duration::from_millis(100)));
    let mut client = stage.client(7).await;
    stage.fault_begins();
    for round in 0..ROUNDS {
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += round;
        stage.submit(&mut client, &ask, Expected::Proof(20, ProofMode::Core)).await;
        // Another moment in each round.
        sleep(Duration::from_millis(round * 23)).await;
        stage.postgres().link.cut();
        sleep(Duration::from_millis(100)).await;
        stage.postgres().link.heal();
        wait::eventually("service again", STEP, async || {
            stage.hierophant.is_ready().await.then_some(())
        })
        .await;
    }
    stage.all_arrive(AFTER_SILENCE).await;
    let mut store = stage.store().await;
    let completed = "SELECT count(*) FROM attempts WHERE outcome = 'completed'";
    let attempts = "SELECT count(*) FROM attempts";
    for query in [completed, attempts] {
        let found = store.count(query).await.expect("counted");
        assert_eq!(found, i64::try_from(ROUNDS).expect("few"), "{query}");
    }
    store.close().await.expect("closed");
    assert!(stage.hierophant.process.is_alive(), "Hierophant has not ended");
}

async fn hole(stage: &mut Stage, length: Duration) {
    let (_prover, request) = proving(stage).await;
    stage.fault_begins();
    stage.postgres().link.to_server(Direction::BLACK_HOLE);
    stage.postgres().link.to_client(Direction::BLACK_HOLE);
    sleep(length).await;
    assert!(stage.observer(&request).ended().is_none(), "nothing is promised that is not stored");
    stage.postgres().link.heal();
    ends_afterwards(stage, &request, AFTER_SILENCE).await;
}

async fn silent(stage: &mut Stage) {
    hole(stage, AWAY).await;
}

async fn silent_for_long(stage: &mut Stage) {
    hole(stage, LONG_SILENCE).await;
}

async fn read_only(stage: &mut Stage) {
    let (_prover, request) = proving(stage).await;
    let mut store = stage.store().await;
    let mut administer = async |statement: &str| {
        store.run(statement).await.expect("taken");
        store.run("SELECT pg_reload_conf()").await.expect("taken");
    };
    stage.fault_begins();
    administer("ALTER SYSTEM SET default_transaction_read_only = on").await;
    sleep(AWAY).await;
    assert!(stage.observer(&request).ended().is_none(), "nothing is promised that is not stored");
    administer("ALTER SYSTEM SET default_transaction_read_only = off").await;
    store.close().await.expect("closed");
    ends_afterwards(stage, &request, AFTER_SILENCE).await;
}

async fn two_coordinators(stage: &mut Stage) {
    stage.move_to_postgres().await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.fault_begins();
    let (binary, folder) = (&stage.kit.binaries.hierophant, stage.folder());
    let keys = settings::with(&key("database_url", stage.postgres().url()));
    let second = Hierophant::prepare(binary, folder, "second", &keys);
    let mut second = second.expect("can be prepared");
    second.process.start().expect("starts");
    let status = second.process.ended(STEP).await.expect("ends on its own");
    assert!(!status.success(), "a second one must be refused");
    let log = second.process.log_text();
    assert!(log.contains("another Hierophant uses the database test_0"), "{log}");
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
}

async fn written_by_another(stage: &mut Stage) {
    let (_prover, request) = proving(stage).await;
    stage.fault_begins();
    stage.postgres().link.cut();
    // What another Hierophant does first of all.
    let mut store = stage.store().await;
    let counted = store.run("UPDATE writer SET number = number + 1").await.expect("counted");
    assert_eq!(counted, 1);
    store.close().await.expect("closed");
    stage.postgres().link.heal();
    let status = stage.hierophant.process.ended(STEP).await.expect("ends on its own");
    assert!(!status.success(), "{status}");
    let log = stage.hierophant.process.log_text();
    assert!(log.contains("another Hierophant uses the database"), "{log}");
    assert!(stage.observer(&request).ended().is_none(), "nothing is promised that is not stored");
    stage.note("Hierophant ended with an error and was started again");
    stage.hierophant.launch().await.expect("starts again");
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}
