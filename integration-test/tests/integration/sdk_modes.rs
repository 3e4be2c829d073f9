//! An unmodified `sp1-sdk` client against the real programs with mock proofs: both network modes, all
//! kinds of proof, and the ways in which a request can end.

use std::time::Duration;

use integration_test::client::Client;
use integration_test::network::LocalNetwork;
use integration_test::options::{Backend, Mode, Network};
use integration_test::status::HistoryEntry;
use integration_test::verify::check_proof;
use sp1_sdk::SP1ProofMode;
use sp1_sdk::network::proto::types::FulfillmentStatus;
use sp1_sdk::network::{B256, Error};
use test_harness::binaries::Binaries;
use test_harness::wait;

/// More than any of these proofs should take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Long enough for a test to act while the proof is being made.
const SLOW: Duration = Duration::from_secs(300);

async fn network(proof_time: Duration) -> LocalNetwork {
    let binaries = Binaries::locate().expect("programs under test");
    LocalNetwork::start_mock(&binaries, proof_time).await.expect("a network")
}

async fn client(network: &LocalNetwork, mode: Network) -> Client {
    Client::connect(&network.rpc_url(), mode.sdk()).await.expect("a client")
}

/// How the SDK's wait for `request` ended, as the SDK's own error.
async fn failure(client: &Client, request: B256) -> Error {
    let outcome = client.sdk.wait_proof(request, Some(LIMIT), None).await;
    let error = outcome.expect_err("there should be no proof");
    error.downcast().expect("an error of the network client")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_proof_is_made_in_both_network_modes() {
    let network = network(Duration::from_millis(100)).await;
    for (number, mode) in (0..).zip(Network::ALL) {
        let client = client(&network, mode).await;
        for kind in Mode::ALL {
            // Another input for each mode, so that the second does not get the proofs of the first.
            let n = 50 + number;
            let expected = client.execute(n).await.expect("executes here");
            let request = client.request(n, kind.sdk(), LIMIT).await.expect("requested");
            let proof = client.sdk.wait_proof(request, Some(LIMIT), None).await.expect("proved");
            check_proof(&client, &proof, kind.sdk(), Backend::Mock, &expected)
                .await
                .unwrap_or_else(|error| panic!("{mode:?} {kind:?}: {error:#}"));
            let details = client.details(request).await.expect("details");
            expected.check_details(&details).unwrap_or_else(|error| panic!("{mode:?}: {error:#}"));
        }
    }
    network.stop().await.expect("stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_panics_is_unexecutable() {
    let network = network(Duration::from_millis(100)).await;
    for mode in Network::ALL {
        let client = client(&network, mode).await;
        let request =
            client.request_unsimulated(fibonacci::PANICKING_INPUT, SP1ProofMode::Core).await;
        let error = failure(&client, request.expect("requested")).await;
        assert!(matches!(error, Error::RequestUnexecutable { .. }), "{mode:?}: {error}");
    }
    network.stop().await.expect("stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_work_requested_twice_is_done_once_and_given_to_both() {
    let network = network(Duration::from_secs(2)).await;
    let client = client(&network, Network::Reserved).await;
    let first = client.request(70, SP1ProofMode::Compressed, LIMIT).await.expect("requested");
    let second = client.request(70, SP1ProofMode::Compressed, LIMIT).await.expect("requested");
    assert_ne!(first, second, "each request has an id of its own");
    let mut jobs = Vec::new();
    for request in [first, second] {
        let proof = client.sdk.wait_proof(request, Some(LIMIT), None).await.expect("proved");
        assert_eq!(proof.public_values.as_slice(), fibonacci::public_values(70));
        let status = network.status().expect("status");
        let entry = status.history_of(request.as_slice()).await.expect("history");
        jobs.push(entry.expect("the request is in the history").job);
    }
    assert_eq!(jobs[0], jobs[1], "the second request should have joined the first one's job");
    network.stop().await.expect("stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_is_unfulfillable_and_frees_its_contemplant() {
    let network = network(SLOW).await;
    let client = client(&network, Network::Mainnet).await;
    let status = network.status().expect("status");
    let request = client.request(80, SP1ProofMode::Core, LIMIT).await.expect("requested");
    wait::until("the start of the work", LIMIT, async || status.work_on(request.as_slice()).await)
        .await
        .expect("in work");

    client.sdk.cancel_request(request).await.expect("cancelled");
    let error = failure(&client, request).await;
    assert!(matches!(error, Error::RequestUnfulfillable { .. }), "{error}");
    let details = client.details(request).await.expect("details");
    assert!(details.is_canceled, "kona-sp1-proposer looks for this flag");
    assert_eq!(details.fulfillment_status, FulfillmentStatus::Unfulfillable as i32);
    wait::until("a Contemplant without work", LIMIT, async || {
        let contemplants = status.contemplants().await?;
        Ok(contemplants.iter().all(|c| c.current_proofs.is_empty()).then_some(()))
    })
    .await
    .expect("freed");
    network.stop().await.expect("stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_made_and_stored_without_anybody_asking_for_it() {
    let network = network(Duration::from_millis(100)).await;
    let request = {
        let client = client(&network, Network::Reserved).await;
        client.request(90, SP1ProofMode::Core, LIMIT).await.expect("requested")
    };
    let status = network.status().expect("status");
    wait::until("the proof", LIMIT, async || {
        let entry = status.history_of(request.as_slice()).await?;
        Ok(entry.filter(HistoryEntry::is_proved))
    })
    .await
    .expect("proved");

    let latecomer = client(&network, Network::Reserved).await;
    let (_, proof) = latecomer.sdk.get_proof_status(request).await.expect("status");
    let proof = proof.expect("the proof is there at the first question");
    assert_eq!(proof.public_values.as_slice(), fibonacci::public_values(90));
    network.stop().await.expect("stops cleanly");
}
