//! `/metrics`: figures that agree with what happened, and a page that names them all.

use std::collections::BTreeMap;
use std::path::Path;

use hierophant::metrics::Metrics;
use hierophant_proto::network as pb;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::FromWorker;
use pb::FulfillmentStatus;
use test_peers::queries;

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

/// How the Contemplant's part of the page begins.
const OTHER_PART: &str = "\n## Contemplant\n";

/// Every series of a running Hierophant, by name and labels.
async fn series(network: &Network) -> BTreeMap<String, f64> {
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

    let failure =
        Failure { class: FailureClass::Infrastructure, cause: None, message: "no route".into() };
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

/// The page is made from the programs, Hierophant's part here and what follows by the Contemplant's tests:
/// `UPDATE_DOCS=1 cargo test -p hierophant metrics` writes it anew.
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
