//! What stands around the network: health, reflection, and the status pages with their fields.

use futures_util::{StreamExt, stream};
use network_lib::ids::WorkerId;
use network_lib::job::{Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker};
use serde_json::Value;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{self, Client, Network, Worker, core_proof, eventually, hello, impatient};

async fn channel(network: &Network) -> Channel {
    let url = format!("http://{}", network.grpc);
    Channel::from_shared(url).expect("URL").connect().await.expect("connects")
}

#[tokio::test]
async fn the_grpc_health_service_says_that_both_services_are_served() {
    let network = Network::start().await;
    let mut health = HealthClient::new(channel(&network).await);
    for service in ["", "artifact.ArtifactStore", "network.ProverNetwork"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.expect("answers").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
}

#[tokio::test]
async fn reflection_lists_both_services() {
    let network = Network::start().await;
    let mut reflection = ServerReflectionClient::new(channel(&network).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = reflection.server_reflection_info(stream::iter([request])).await;
    let mut answers = answers.expect("answers").into_inner();
    let answer = answers.next().await.expect("an answer").expect("no error");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list: {answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["artifact.ArtifactStore", "network.ProverNetwork", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|listed| listed == name), "{name} is not in {names:?}");
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_status_pages_have_their_documented_fields() {
    let network = Network::start_with(impatient).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    let progress = Progress {
        fraction: Some(0.25),
        cycles_done: Some(5),
        cycles_total: Some(20),
        eta_seconds: Some(7),
        ..Progress::phase(Phase::Proving)
    };
    worker.say(FromWorker::Progress { lease_id, progress }).await;
    eventually("progress is shown", async || {
        network.json("/contemplants").await[0]["current_proofs"][0]["fraction"] == 0.25
    })
    .await;
    let contemplant = &network.json("/contemplants").await[0];
    assert_eq!(
        keys(contemplant),
        [
            "average_proof_time_seconds",
            "backend",
            "current_proofs",
            "current_tasks",
            "id",
            "instance",
            "ip",
            "modes",
            "name",
            "obstacle",
            "proofs_completed",
            "seconds_since_heard",
            "slots",
            "state",
            "strikes",
            "time_alive_seconds",
            "version",
        ]
    );
    let current = &contemplant["current_proofs"][0];
    assert_eq!(
        keys(current),
        [
            "cycles_done",
            "cycles_total",
            "estimated",
            "eta_seconds",
            "fraction",
            "job",
            "mode",
            "phase",
            "program",
            "raced",
            "requests",
            "running_seconds",
        ]
    );
    assert_eq!((&current["phase"], &current["mode"]), (&"proving".into(), &"core".into()));
    assert_eq!(current["requests"][0], hex::encode(&id[..8]), "a whole id would be a credential");

    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 200);
    let (execution, proof) = (support::execution(), support::blob(&core_proof()));
    worker.say(FromWorker::Completed { lease_id, execution, proof }).await;
    eventually("the proof is in the history", async || {
        network.json("/proof-history").await.as_array().is_some_and(|list| list.len() == 1)
    })
    .await;
    let finished = &network.json("/proof-history").await[0];
    assert_eq!(
        keys(finished),
        [
            "attempts",
            "backend",
            "contemplant",
            "created_at",
            "cycles",
            "failure",
            "finished_at",
            "gas",
            "job",
            "mode",
            "program",
            "proof_seconds",
            "requester",
            "requests",
            "started_at",
            "state",
        ]
    );
    assert_eq!(finished["requester"], client.address().to_string());
    assert_eq!((&finished["cycles"], &finished["gas"]), (&12_345.into(), &67_890.into()));

    drop(worker);
    eventually("the worker is gone", async || {
        network.json("/dead-contemplants").await.as_array().is_some_and(|list| list.len() == 1)
    })
    .await;
    let dead = &network.json("/dead-contemplants").await[0];
    let fields = ["died_at", "id", "ip", "name", "reason", "time_alive_seconds", "version"];
    assert_eq!(keys(dead), fields);
    assert_eq!(network.json("/health").await["status"], "ok");
}

#[tokio::test]
async fn an_operator_drains_a_contemplant() {
    let network = Network::start_with(impatient).await;
    let mut client = Client::connect(&network).await;
    let hello = hello();
    let mut worker = Worker::join(&network, hello.clone()).await;
    let drain = |id: String| {
        let url = network.url(&format!("/contemplants/{id}/drain"));
        async { reqwest::Client::new().post(url).send().await.expect("answers").status() }
    };
    assert_eq!(drain("missing".into()).await, 404);
    assert_eq!(drain(WorkerId::random().to_string()).await, 404);
    assert_eq!(drain(hello.worker_id.to_string()).await, 202);
    assert!(matches!(worker.hear().await, Some(ToWorker::Drain { .. })));
    assert_eq!(network.json("/contemplants").await[0]["state"], "draining");
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    assert_eq!(network.json("/contemplants").await[0]["current_proofs"], serde_json::json!([]));
}
