//! `/metrics`: figures that agree with what happened, and a page that names them all.

use std::collections::BTreeMap;
use std::path::Path;

use hierophant::metrics::Metrics;
use hierophant_proto::network as pb;
use network_lib::handshake::{Gpu, GpuLoad};
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::FromWorker;
use pb::FulfillmentStatus;
use test_peers::queries;

use crate::cli::told;
use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

/// How the Contemplant's part of the page begins.
const OTHER_PART: &str = "\n## Contemplant\n";

/// Every series of a running Hierophant, by name and labels.
pub(crate) async fn series(network: &Network) -> BTreeMap<String, f64> {
    let url = format!("http://{}/metrics", network.http);
    let text = reqwest::get(url).await.expect("answers").text().await.expect("text");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').expect("name and value"))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

#[tokio::test]
async fn the_figures_follow_a_proof_from_request_to_download() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let now = series(&network).await;
    assert_eq!(
        now[r#"hierophant_requests_accepted_total{mode="core",network_mode="reserved"}"#],
        1.0
    );
    assert_eq!(now[r#"hierophant_jobs_waiting{mode="core"}"#], 1.0);
    assert_eq!(now[r#"hierophant_jobs_waiting{mode="plonk"}"#], 0.0);
    assert_eq!(now["hierophant_jobs_unfinished"], 1.0);
    assert_eq!(now[r#"hierophant_rpc_seconds_count{method="RequestProof",code="Ok"}"#], 1.0);
    for operation in ["read", "write"] {
        let calls = format!(r#"hierophant_store_seconds_count{{operation="{operation}"}}"#);
        assert!(now[&calls] >= 1.0, "{operation}");
    }
    let took: f64 = now[r#"hierophant_store_seconds_sum{operation="write"}"#];
    assert!(took > 0.0);
    assert_eq!(now[r#"hierophant_store_errors_total{operation="write"}"#], 0.0);
    let uploaded = r#"hierophant_artifacts_transferred_bytes_total{direction="in",peer="client"}"#;
    assert!(now[uploaded] > 0.0);

    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let now = series(&network).await;
    assert_eq!(now[r#"hierophant_workers{state="ready",backend="mock"}"#], 1.0);
    assert_eq!(now[r#"hierophant_attempts_running{mode="core"}"#], 1.0);
    assert_eq!(now[r#"hierophant_jobs_waiting{mode="core"}"#], 0.0);
    assert_eq!(now["hierophant_oldest_wait_seconds"], 0.0);
    assert_eq!(now[r#"hierophant_job_wait_seconds_count{mode="core"}"#], 1.0);

    let failure = Failure::new(FailureClass::Infrastructure, "no route");
    worker.say(FromWorker::Failed { lease_id, failure }).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let now = series(&network).await;
    let ended = |labels: &str| now[&format!("hierophant_attempts_ended_total{{{labels}}}")];
    assert_eq!(ended(r#"outcome="failed",class="infrastructure""#), 1.0);
    assert_eq!(ended(r#"outcome="completed",class="""#), 1.0);
    assert_eq!(now[r#"hierophant_jobs_ended_total{mode="core",state="proved"}"#], 1.0);
    assert_eq!(now[r#"hierophant_requests_ended_total{state="fulfilled"}"#], 1.0);
    assert_eq!(now[r#"hierophant_proof_seconds_count{mode="core",program="01010101"}"#], 1.0);
    assert_eq!(
        now[r#"hierophant_verification_seconds_count{mode="core",verdict="accepted"}"#],
        1.0
    );

    let url = client.status(&id).await.proof_uri.expect("fulfilled");
    let proof = client.http.get(url).send().await.expect("answers").bytes().await.expect("proof");
    let fetched = r#"hierophant_artifacts_transferred_bytes_total{direction="out",peer="client"}"#;
    eventually("the download is counted", async || {
        series(&network).await.get(fetched).is_some_and(|bytes| *bytes == proof.len() as f64)
    })
    .await;
}

/// The driver says how busy one of two GPUs is.
#[tokio::test]
async fn gpus_are_shown_by_the_api_the_command_line_and_the_metrics() {
    let network = Network::start().await;
    let gpu =
        Gpu { model: "NVIDIA L4".into(), memory_bytes: 24 << 30, driver: Some("550.54.15".into()) };
    let mut hello = hello();
    hello.capabilities.gpus = vec![gpu.clone(), Gpu { driver: None, ..gpu }];
    let mut worker = Worker::join(&network, hello).await;
    let load = GpuLoad {
        utilisation_percent: Some(97),
        temperature_celsius: Some(64),
        memory_used_bytes: Some(3 << 30),
    };
    worker.say(FromWorker::Heartbeat { held: vec![], gpus: vec![load] }).await;
    let workers = format!("http://{}/api/v1/workers", network.http);
    let gpus = async || {
        let answer = reqwest::get(&workers).await.expect("answers");
        answer.json::<serde_json::Value>().await.expect("JSON")[0]["gpus"].take()
    };
    eventually("the load is shown", async || gpus().await[0]["utilisation_percent"] == 97).await;
    let wanted = serde_json::json!([
        {"model": "NVIDIA L4", "memory_bytes": 25_769_803_776_u64, "driver": "550.54.15",
         "utilisation_percent": 97, "temperature_celsius": 64, "memory_used_bytes": 3_221_225_472_u64},
        {"model": "NVIDIA L4", "memory_bytes": 25_769_803_776_u64, "driver": null,
         "utilisation_percent": null, "temperature_celsius": null, "memory_used_bytes": null},
    ]);
    assert_eq!(gpus().await, wanted);
    let now = series(&network).await;
    let figure = |name: &str| now[&format!(r#"hierophant_{name}{{model="NVIDIA L4"}}"#)];
    assert_eq!(figure("gpus"), 2.0);
    assert_eq!(figure("gpu_memory_bytes"), 51_539_607_552.0);
    assert_eq!(figure("gpu_memory_used_bytes"), 3_221_225_472.0);
    assert_eq!(figure("gpu_utilisation_percent"), 97.0);
    assert_eq!(figure("gpu_temperature_celsius"), 64.0);
    let url = format!("http://{}", network.http);
    let table = told(&url, "worker tobit").await;
    assert!(table.contains("3.0 GiB of 24.0 GiB") && table.contains("64 °C"), "{table}");
    // A driver that does not answer any more.
    worker.say(FromWorker::Heartbeat { held: vec![], gpus: vec![] }).await;
    eventually("the load is not known any more", async || {
        !series(&network)
            .await
            .contains_key(r#"hierophant_gpu_temperature_celsius{model="NVIDIA L4"}"#)
    })
    .await;
}

#[tokio::test]
async fn refused_calls_are_counted_by_code_and_unknown_ones_together() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let request = pb::GetProgramRequest { vk_hash: vec![1; 32] };
    client.network.get_program(request).await.expect_err("not registered");
    let now = series(&network).await;
    assert_eq!(now[r#"hierophant_rpc_seconds_count{method="GetProgram",code="NotFound"}"#], 1.0);
}

/// Every series and label that an alert or a panel of the dashboard reads is one that is served.
#[tokio::test]
async fn the_alerts_and_the_dashboard_read_what_is_served() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let text = reqwest::get(network.url("/metrics")).await.expect("answers").text().await;
    let served = queries::served(&text.expect("text"));
    let deployed = queries::deployed(Path::new("../deploy"));
    assert!(deployed.iter().filter(|query| query.contains("hierophant_")).count() > 30);
    let missing = queries::missing(&deployed, "hierophant_", &served);
    assert!(missing.is_empty(), "{missing:#?}");
    let others = queries::missing(&deployed, "", &served);
    let named =
        |read: &queries::Read| read.series == "up" || read.series.starts_with("contemplant_");
    assert!(others.iter().all(named), "{others:#?}");
}

/// The page is generated: Hierophant's part here, the worker's part by Contemplant's tests.
/// `UPDATE_DOCS=1 cargo test -p hierophant metrics` writes it.
#[test]
fn the_documentation_names_every_metric() {
    let page = "../docs/metrics.md";
    let known = std::fs::read_to_string(page).expect("there");
    let (here, other) = known.split_once(OTHER_PART).expect("two parts");
    let wanted = Metrics::new().page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page, format!("{wanted}{OTHER_PART}{other}")).expect("writes");
    } else {
        assert_eq!(here, wanted, "run it with UPDATE_DOCS=1");
    }
}
