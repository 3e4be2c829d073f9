//! Figures for Prometheus: they follow an attempt, the documentation names them all, and what `deploy/`
//! asks for is there.

use std::time::Duration;

use contemplant::attempt::{Outcome, TaskOutcome};
use contemplant::metrics::{Metrics, WAITING};
use network_lib::handshake::{Gpu, GpuLoad};
use network_lib::job::{Failure, FailureClass, Phase, ProofMode};
use network_lib::metrics::Counter;
use network_lib::shard::TaskKind;
use test_peers::queries;

#[test]
fn the_figures_follow_an_attempt() {
    let starts = Counter::default();
    let metrics = Metrics::new(starts.clone());
    let connection = metrics.connected();
    metrics.attempt_started();
    metrics.phase_ended(ProofMode::Core, Phase::Proving, Duration::from_secs(2));
    metrics.attempt_ended(&Outcome::Failed(Failure::new(FailureClass::Worker, "no")));
    metrics.proved(ProofMode::Core, Duration::from_secs(3));
    metrics.received(7);
    starts.inc();
    let text = metrics.render();
    for line in [
        r#"contemplant_attempts_ended_total{outcome="failed",class="worker"} 1"#,
        "contemplant_attempts_running 0",
        r#"contemplant_phase_seconds_sum{mode="core",phase="proving"} 2.0"#,
        r#"contemplant_proof_seconds_count{mode="core"} 1"#,
        r#"contemplant_transferred_bytes_total{direction="in"} 7"#,
        "contemplant_connected 1",
        "contemplant_connections_total 1",
        "contemplant_prover_server_starts_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    drop(connection);
    assert!(metrics.render().contains("\ncontemplant_connected 0\n"));
}

#[test]
fn the_figures_follow_tasks_by_their_kinds() {
    let metrics = Metrics::new(Counter::default());
    for _ in 0..3 {
        metrics.task_started(TaskKind::ProveShard);
    }
    metrics.task_step_ended(TaskKind::ProveShard, WAITING, Duration::from_secs(2));
    metrics.task_ended(TaskKind::ProveShard, &TaskOutcome::Done);
    let failure = Failure::new(FailureClass::Infrastructure, "no");
    metrics.task_ended(TaskKind::ProveShard, &TaskOutcome::Failed(failure));
    metrics.set_depot(7);
    let text = metrics.render();
    for line in [
        r#"contemplant_tasks_held{kind="prove_shard"} 1"#,
        r#"contemplant_tasks_held{kind="execute"} 0"#,
        r#"contemplant_tasks_ended_total{kind="prove_shard",outcome="done",class=""} 1"#,
        r#"contemplant_tasks_ended_total{kind="prove_shard",outcome="failed",class="infrastructure"} 1"#,
        r#"contemplant_tasks_ended_total{kind="execute",outcome="done",class=""} 0"#,
        r#"contemplant_task_phase_seconds_sum{kind="prove_shard",phase="waiting"} 2.0"#,
        "contemplant_depot_bytes 7",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

fn gpu() -> (Gpu, GpuLoad) {
    let gpu = Gpu { model: "NVIDIA H200".to_owned(), memory_bytes: 2, driver: None };
    let load = GpuLoad {
        utilisation_percent: Some(50),
        temperature_celsius: Some(60),
        memory_used_bytes: Some(1),
    };
    (gpu, load)
}

#[test]
fn what_is_not_known_of_a_gpu_any_more_is_not_shown() {
    let metrics = Metrics::new(Counter::default());
    let (gpu, load) = gpu();
    metrics.set_gpus(std::slice::from_ref(&gpu), &[load]);
    assert!(metrics.render().contains(r#"contemplant_gpu_utilisation_ratio{gpu="0"} 0.5"#));
    metrics.set_gpus(&[gpu], &[]);
    let text = metrics.render();
    assert!(text.contains(r#"contemplant_gpu_memory_bytes{gpu="0"} 2"#), "{text}");
    assert!(!text.contains("contemplant_gpu_utilisation_ratio{"), "{text}");
}

/// Every series and label that an alert or a panel of the dashboard reads is one that is served; those of
/// GPUs are made up where there is none.
#[test]
fn the_alerts_and_the_dashboard_read_what_is_served() {
    let metrics = Metrics::new(Counter::default());
    metrics.phase_ended(ProofMode::Core, Phase::Proving, Duration::from_secs(2));
    metrics.proved(ProofMode::Core, Duration::from_secs(3));
    metrics.received(7);
    let (gpu, load) = gpu();
    metrics.set_gpus(&[gpu], &[load]);
    let served = queries::served(&metrics.render());
    let deploy = "../deploy";
    let deployed = queries::deployed(deploy.as_ref());
    assert!(deployed.iter().filter(|query| query.contains("contemplant_")).count() > 10);
    let missing = queries::missing(&deployed, "contemplant_", &served);
    assert!(missing.is_empty(), "{missing:#?}");
}

/// This program's part of the page; `UPDATE_DOCS=1` writes it.
#[test]
fn the_documentation_names_every_metric() {
    let page = "../docs/metrics.md";
    let known = std::fs::read_to_string(page).unwrap();
    let place = known.find("\n## Contemplant\n").unwrap();
    let wanted = Metrics::new(Counter::default()).page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page, format!("{}{wanted}", &known[..place])).unwrap();
    } else {
        assert_eq!(&known[place..], wanted, "run it with UPDATE_DOCS=1");
    }
}
