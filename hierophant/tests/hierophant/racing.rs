//! Racing a straggler, from the client's upload to the status pages.

use hierophant_proto::network::FulfillmentStatus;
use network_lib::job::{Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker};

use crate::support::{Client, Network, Worker, core_proof, eventually, hello};

#[tokio::test]
async fn an_idle_contemplant_races_a_straggler_and_the_first_proof_counts() {
    let network = Network::start_with(|config| config.proofs.race_after = 1.0).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"first").await;
    let first = client.ask(&ask).await.expect("accepted");
    Worker::join(&network, hello()).await.prove_next(&core_proof()).await;
    client.until(&first, FulfillmentStatus::Fulfilled).await;

    // What is usual is read back from the store.
    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"second").await;
    let second = client.ask(&ask).await.expect("accepted");
    let mut slow = Worker::join(&network, hello()).await;
    let (lease_id, _) = slow.leased().await;
    let progress = Progress::phase(Phase::Proving);
    slow.say(FromWorker::Progress { lease_id, progress }).await;
    let mut named = hello();
    named.name = "racer".into();
    let mut racer = Worker::join(&network, named).await;
    let (raced, _) = racer.leased().await;
    let contemplants = network.json("/contemplants").await;
    let current = |n: usize| &contemplants[n]["current_proofs"][0];
    assert_eq!(current(0)["job"], current(1)["job"]);
    assert_eq!((&current(0)["raced"], &current(1)["raced"]), (&true.into(), &true.into()));

    assert_eq!(racer.hand_in(raced, &core_proof()).await, 200);
    let (execution, proof) = (crate::support::execution(), crate::support::blob(&core_proof()));
    racer.say(FromWorker::Completed { lease_id: raced, execution, proof }).await;
    client.until(&second, FulfillmentStatus::Fulfilled).await;
    let told = slow.hear().await;
    assert!(
        matches!(told, Some(ToWorker::Cancel { lease_id: stopped, .. }) if stopped == lease_id)
    );
    // Too late, and no harm done.
    assert_eq!(slow.hand_in(lease_id, &core_proof()).await, 403);
    eventually("both are in the history", async || {
        network.json("/proof-history").await.as_array().is_some_and(|list| list.len() == 2)
    })
    .await;
    let latest = &network.json("/proof-history").await[0];
    assert_eq!((&latest["contemplant"], &latest["attempts"]), (&"racer".into(), &2.into()));
    for contemplant in network.json("/contemplants").await.as_array().expect("a list") {
        assert_eq!(contemplant["strikes"], 0);
    }
}
