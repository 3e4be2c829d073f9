//! One broken machine costs no client its proof.

use futures_util::future::select_all;
use hierophant_proto::network::FulfillmentStatus;
use network_lib::handshake::{Hello, RefusalCode};
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::{FromWorker, ToWorker};

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

fn noexec() -> Failure {
    Failure::new(FailureClass::Worker, "/tmp is mounted noexec")
}

#[tokio::test]
async fn a_machine_that_fails_five_times_is_suspended_and_the_request_waits_for_another() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let me = hello();
    let mut broken = Worker::join(&network, me.clone()).await;
    for _ in 0..5 {
        let (lease_id, _) = broken.leased().await;
        broken.say(FromWorker::Failed { lease_id, failure: noexec() }).await;
    }
    let words = "suspended after 5 strikes: /tmp is mounted noexec";
    assert_eq!(broken.closing_words().await, words);
    let mut again = Worker::dial(&network).await;
    again.say(FromWorker::Hello(me)).await;
    let refusal = again.hear().await;
    assert!(
        matches!(&refusal, Some(ToWorker::Refused(refusal)) if refusal.code == RefusalCode::Suspended),
        "{refusal:?}"
    );

    let status = client.status(&request).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Assigned as i32, "it waits");
    let job = network.json("/api/v1/requests?state=open").await[0]["job"].clone();
    let why = format!("/api/v1/jobs/{}/why", job.as_str().expect("an id"));
    eventually("the reason is shown", async || {
        network.json(&why).await["why"]
            == "no worker is connected; 5 attempts failed on 1 worker; last failure: worker failure: \
                /tmp is mounted noexec"
    })
    .await;

    let healthy = Hello { name: "joel".into(), ..hello() };
    Worker::join(&network, healthy).await.prove_next(&core_proof()).await;
    client.until(&request, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn three_machines_that_fail_end_the_request() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(Worker::join(&network, hello()).await);
    }
    let ask = client.ready_to_ask(b"input").await;
    let request = client.ask(&ask).await.expect("accepted");
    let mut failed = Vec::new();
    while !workers.is_empty() {
        let status = client.status(&request).await;
        assert_eq!(status.fulfillment_status, FulfillmentStatus::Assigned as i32, "it waits");
        let hearing = workers.iter_mut().map(|worker| Box::pin(worker.leased()));
        let ((lease_id, _), index, others) = select_all(hearing).await;
        drop(others);
        let mut worker = workers.remove(index);
        worker.say(FromWorker::Failed { lease_id, failure: noexec() }).await;
        failed.push(worker);
    }
    client.until(&request, FulfillmentStatus::Unfulfillable).await;
}
