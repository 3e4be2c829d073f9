//! What both programs tell of a proof: one trace by OTLP, and figures for Prometheus.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use integration_test::client::Client;
use integration_test::network::{ContemplantSettings, LocalNetwork, mock_mode};
use integration_test::options::{Mode, Network};
use sp1_sdk::SP1ProofMode;
use test_harness::binaries::Binaries;
use test_harness::wait;
use test_peers::collector::{Collector, Span};

const LIMIT: Duration = Duration::from_secs(120);

/// A network with one mock Contemplant whose spans go to `collector`, and where its figures are.
async fn network(collector: String) -> (LocalNetwork, String) {
    let binaries = Binaries::locate().expect("programs under test");
    let environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.into()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".into()),
    ];
    let started = LocalNetwork::start_in(&binaries, &mock_mode(true), environment).await;
    let mut network = started.expect("a network");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let settings = ContemplantSettings::mock("micah", Duration::from_millis(300))
        .with("metrics_address", free.to_string());
    network.add_contemplant(&settings).expect("a Contemplant");
    network.wait_for_mode(Mode::Core, LIMIT).await.expect("there");
    (network, format!("http://{free}/metrics"))
}

/// The id of the job behind a finished proof, which is its trace's too.
async fn prove(network: &LocalNetwork) -> String {
    let client = Client::connect(&network.rpc_url(), Network::Reserved.sdk()).await;
    let client = client.expect("a client");
    let request = client.request(40, SP1ProofMode::Core, LIMIT).await.expect("requested");
    client.sdk.wait_proof(request, Some(LIMIT), None).await.expect("proved");
    let status = network.status().expect("status");
    let entry = status.history_of(request.as_slice()).await.expect("history");
    entry.expect("in the history").job
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_and_the_figures_of_both_programs_tell_of_a_proof() {
    let collector = Collector::start().await;
    let (network, figures) = network(collector.endpoint()).await;
    let job = prove(&network).await;

    // The Contemplant's last span and Hierophant's own.
    let whole =
        |spans: &[Span]| ["proof", "work"].iter().all(|name| spans.iter().any(|s| s.name == *name));
    wait::until("the whole trace", LIMIT, async || {
        let spans = collector.trace(&job);
        Ok(whole(&spans).then_some(()))
    })
    .await
    .expect("arrives");
    let spans = collector.trace(&job);
    let named: BTreeMap<&str, &Span> =
        spans.iter().map(|span| (span.name.as_str(), span)).collect();
    assert_eq!(named.len(), spans.len(), "one attempt, so each once: {spans:#?}");
    for (name, service, parent) in [
        ("proof", "hierophant", None),
        ("RequestProof", "hierophant", Some("proof")),
        ("queue", "hierophant", Some("proof")),
        ("attempt", "hierophant", Some("proof")),
        ("verify", "hierophant", Some("attempt")),
        ("work", "contemplant", Some("attempt")),
        ("downloading", "contemplant", Some("work")),
        ("setting_up", "contemplant", Some("work")),
        ("executing", "contemplant", Some("work")),
        ("proving", "contemplant", Some("work")),
        ("uploading", "contemplant", Some("work")),
    ] {
        let span = named.get(name).unwrap_or_else(|| panic!("no span {name:?} in {spans:#?}"));
        assert_eq!(span.service, service, "{span:?}");
        let wanted = parent.map_or(String::new(), |parent| named[parent].id.clone());
        assert_eq!(span.parent, wanted, "{span:?}");
        assert!(!span.failed && span.times.0 <= span.times.1, "{span:?}");
    }
    let proving = named["proving"].times;
    assert!(proving.1 - proving.0 >= 300_000_000, "a mock proof takes 300 ms here: {proving:?}");

    let text = reqwest::get(figures).await.expect("answers").text().await.expect("text");
    for line in [
        r#"contemplant_attempts_ended_total{outcome="completed",class=""} 1"#,
        r#"contemplant_phase_seconds_count{mode="core",phase="proving"} 1"#,
        r#"contemplant_proof_seconds_count{mode="core"} 1"#,
        "contemplant_attempts_running 0",
        "contemplant_connected 1",
        "contemplant_connections_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    network.stop().await.expect("stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_neither_a_proof_nor_a_clean_end() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let (network, _) = network(format!("http://{gone}")).await;
    prove(&network).await;
    network.stop().await.expect("stops cleanly");
}
