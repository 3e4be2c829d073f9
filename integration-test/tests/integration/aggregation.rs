//! Aggregation through the network: a program whose input carries Compressed proofs of another one.

use std::time::{Duration, Instant};

use aggregation::CompressedProof;
use integration_test::client::Client;
use integration_test::network::LocalNetwork;
use integration_test::options::Network;
use sp1_sdk::network::proto::types::FulfillmentStatus;
use sp1_sdk::network::{B256, Error};
use sp1_sdk::proof::ProofFromNetwork;
use sp1_sdk::{
    Elf, ProveRequest, Prover, ProvingKey, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues,
    SP1ProvingKey, SP1PublicValues, SP1Stdin,
};
use test_harness::binaries::Binaries;

/// More than any of these proofs should take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A real proof of the Fibonacci program; see the README beside it.
const RECORDED: &[u8] = include_bytes!("../../../hierophant/tests/proofs/compressed.zst");

/// A proof with its public values, as the aggregation program's input wants it.
type Inner = (CompressedProof, SP1PublicValues);

fn recorded() -> Inner {
    let bytes = zstd::decode_all(RECORDED).expect("zstd");
    let ProofFromNetwork { proof, public_values, .. } =
        bincode::deserialize(&bytes).expect("a proof");
    let SP1Proof::Compressed(proof) = proof else { panic!("not a Compressed proof") };
    (*proof, public_values)
}

/// A client of the aggregation program.
struct Aggregator {
    client: Client,
    keys: SP1ProvingKey,
}

impl Aggregator {
    async fn connect(network: &LocalNetwork) -> Self {
        let client = Client::connect(&network.rpc_url(), Network::Reserved.sdk()).await;
        let key = bincode::deserialize(aggregation::VERIFYING_KEY).expect("a key");
        let keys = SP1ProvingKey::new(key, Elf::Static(aggregation::ELF));
        Self { client: client.expect("a client"), keys }
    }

    fn input(&self, proofs: &[Inner]) -> SP1Stdin {
        aggregation::input(self.client.keys.verifying_key(), proofs)
    }

    /// Requests a proof as rollup clients do, without a simulation, which would refuse what the network must refuse.
    async fn request(&self, stdin: SP1Stdin) -> B256 {
        let limit = 1_000_000_000_000;
        let builder = self.client.sdk.prove(&self.keys, stdin).skip_simulation(true);
        let builder = builder.cycle_limit(limit).gas_limit(limit).timeout(LIMIT);
        builder.mode(SP1ProofMode::Compressed).request().await.expect("requested")
    }

    async fn wait(&self, request: B256) -> anyhow::Result<SP1ProofWithPublicValues> {
        self.client.sdk.wait_proof(request, Some(LIMIT), None).await
    }

    async fn aggregates(&self, proofs: &[Inner]) {
        let request = self.request(self.input(proofs)).await;
        let proof = self.wait(request).await.expect("proved");
        let expected = aggregation::public_values(self.client.keys.verifying_key(), proofs);
        assert_eq!(proof.public_values.as_slice(), expected);
    }

    /// A mock Compressed proof of the Fibonacci program, from this network.
    async fn mock(&self, n: u32) -> Inner {
        let request = self.client.request(n, SP1ProofMode::Compressed, LIMIT).await;
        let proof = self.wait(request.expect("requested")).await.expect("proved");
        let SP1Proof::Compressed(inner) = proof.proof else { panic!("not a Compressed proof") };
        (*inner, proof.public_values)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_are_aggregated_and_a_wrong_one_ends_its_request_at_once() {
    let binaries = Binaries::locate().expect("programs under test");
    let network = LocalNetwork::start_mock(&binaries, Duration::from_millis(100)).await;
    let network = network.expect("a network");
    let status = network.status().expect("status");
    let aggregator = Aggregator::connect(&network).await;
    aggregator.aggregates(&[recorded()]).await;

    // With the key of another program.
    let mut wrong = aggregator.input(&[recorded()]);
    wrong.proofs[0].1 = aggregator.keys.verifying_key().vk.clone();
    // With other public values than the program claims.
    let (proof, _) = recorded();
    let other = SP1PublicValues::from(&fibonacci::public_values(999));
    let claims = aggregator.input(&[(proof, other)]);
    for (stdin, words) in [
        (wrong, "invalid proof 1 of 1 in the input: expected a Compressed proof"),
        (claims, "the program claims other proofs than the 1 in its input"),
    ] {
        let began = Instant::now();
        let request = aggregator.request(stdin).await;
        let error = aggregator.wait(request).await.expect_err("there should be no proof");
        let error: Error = error.downcast().expect("an error of the network client");
        assert!(matches!(error, Error::RequestUnfulfillable { .. }), "{error}");
        assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
        let details = aggregator.client.details(request).await.expect("details");
        assert_eq!(details.fulfillment_status, FulfillmentStatus::Unfulfillable as i32);
        let entry = status.history_of(request.as_slice()).await.expect("history");
        let failure = entry.expect("in the history").failure.expect("a failure").to_string();
        assert!(failure.contains(words) && failure.contains("request"), "{failure}");
        let contemplants = status.contemplants().await.expect("contemplants");
        assert_eq!(contemplants.len(), 1);
        assert_eq!(contemplants[0].strikes, 0, "{:?}", contemplants[0]);
    }

    // The same worker goes on, with a mock proof of this network beside a real one.
    aggregator.aggregates(&[aggregator.mock(60).await, recorded()]).await;
    network.stop().await.expect("stops cleanly");
}
