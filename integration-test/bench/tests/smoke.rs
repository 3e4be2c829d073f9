//! The benchmark at its least: every scenario runs on the real program and finds what it should, so that
//! it works when it is wanted.

use std::path::PathBuf;

use bench_suite::coordinator::Store;
use bench_suite::report::Scenario;
use bench_suite::scenarios;
use bench_suite::stage::{Scale, Stage};
use test_harness::binaries::Program;

async fn run(name: &str) -> Scenario {
    let binary = Program::Hierophant.locate().expect("the program under test");
    let folder = tempfile::tempdir().expect("temp dir");
    let root = PathBuf::from(folder.path());
    let stage = Stage::new(binary, root, Store::Sqlite, Scale::Smoke).expect("no stage");
    let scenario = scenarios::run(name, &stage).await;
    assert_eq!(scenario.fault, None, "{scenario}");
    scenario
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_runs_and_counts_right() {
    for (name, _) in scenarios::ALL {
        let scenario = run(name).await;
        assert!(!scenario.figures.is_empty(), "{name} found nothing");
        assert!(scenario.figures.iter().all(|figure| figure.value.is_finite()), "{scenario}");
    }
}
