//! The benchmark at its least: every scenario runs on the real program and finds what it should, so that
//! it works when it is wanted.

use std::path::PathBuf;
use std::sync::Arc;

use bench_suite::coordinator::Store;
use bench_suite::report::Scenario;
use bench_suite::scenarios;
use bench_suite::stage::{Scale, Stage};
use test_harness::binaries::Program;
use test_peers::postgres::Server;

async fn run(name: &str, store: Store) -> Scenario {
    let binary = Program::Hierophant.locate().expect("the program under test");
    let folder = tempfile::tempdir().expect("temp dir");
    let root = PathBuf::from(folder.path());
    let stage = Stage::new(binary, root, store, Scale::Smoke).expect("no stage");
    let scenario = scenarios::run(name, &stage).await;
    assert_eq!(scenario.fault, None, "{scenario}");
    assert!(!scenario.figures.is_empty(), "{name} found nothing");
    assert!(scenario.figures.iter().all(|figure| figure.value.is_finite()), "{scenario}");
    scenario
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_runs_and_counts_right() {
    for (name, _) in scenarios::ALL {
        run(name, Store::Sqlite).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenarios_with_a_database_server_run_on_it() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("a Postgres server");
    let store = Store::Postgres(Arc::new(server));
    let submitted = run("submit", store.clone()).await;
    let servers = |name: &str| name.starts_with("of which the database server");
    let server = submitted.figures.iter().filter(|figure| servers(&figure.name));
    assert!(server.map(|figure| figure.value).sum::<f64>() > 0.0, "{submitted}");
    let expired = run("expire", store.clone()).await;
    let link = "10 ms of round trip";
    assert!(expired.figures.iter().all(|figure| figure.name.contains(link)), "{expired}");
    for name in ["retention", "restart"] {
        run(name, store.clone()).await;
    }
}
