//! One test for each line of the client contract's list of pitfalls, by its number.

use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use hierophant_proto::network::prover_network_client::ProverNetworkClient;
use network_lib::job::ProofMode;
use network_lib::wire::FromWorker;
use pb::{ExecutionStatus, FulfillmentStatus};
use prost::Message;
use prost::encoding::{WireType, bytes, decode_key, skip_field, uint64};
use tonic::Code;
use tonic::transport::Channel;

use crate::support::{
    self, Client, Network, Worker, assert_code, core_proof, core_proof_with, eventually, execution,
    execution_with, hello, impatient, proofs, unix_now,
};

/// Tag numbers at the top level of an encoded message.
fn tags(mut encoded: &[u8]) -> Vec<(u32, WireType)> {
    let mut found = Vec::new();
    while !encoded.is_empty() {
        let (tag, wire_type) = decode_key(&mut encoded).expect("a key");
        skip_field(wire_type, tag, &mut encoded, Default::default()).expect("a field");
        found.push((tag, wire_type));
    }
    found
}

#[tokio::test]
async fn pitfall_01_get_program_is_not_found_unless_key_and_bytes_are_both_held() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let request = || pb::GetProgramRequest { vk_hash: vec![1; 32] };
    let answer = client.network.get_program(request()).await;
    assert_code(answer, Code::NotFound, "not registered");
    client.register([1; 32]).await;
    let program = client.network.get_program(request()).await.expect("known").into_inner();
    assert_eq!(program.program.expect("program").vk, vec![1; 130]);
    // The folder itself and its mark stay: without them, the bytes would be away and not lost.
    for shelf in std::fs::read_dir(network.data().join("artifacts")).expect("reads") {
        let shelf = shelf.expect("an entry").path();
        if shelf.is_dir() {
            std::fs::remove_dir_all(shelf).expect("removes");
        }
    }
    let answer = client.network.get_program(request()).await;
    assert_code(answer, Code::NotFound, "not registered");
}

#[tokio::test]
async fn pitfall_02_request_id_and_tx_hash_have_32_bytes() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let envelope = client.envelope(client.body(&ask));
    let answer = client.network.request_proof(envelope).await.expect("accepted").into_inner();
    assert_eq!(answer.tx_hash.len(), 32);
    assert_eq!(answer.body.expect("body").request_id.len(), 32);
}

#[tokio::test]
async fn pitfall_03_clashing_tags_are_understood_inbound_and_never_sent_outbound() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    let reserved = client.ask(&ask).await.expect("Reserved is accepted");
    ask.mainnet = true;
    ask.deadline += 1;
    let mainnet = client.ask(&ask).await.expect("Mainnet is accepted");
    ask.mainnet = false;
    ask.deadline += 1;
    let mut private = client.body(&ask);
    prost::encoding::bool::encode(12, &true, &mut private);
    let envelope = client.envelope(private);
    let answer = client.network.request_proof(envelope).await.expect("accepted").into_inner();
    let private = answer.body.expect("body").request_id;
    client.cancel(&mainnet).await.expect("cancels");
    for id in [&reserved, &mainnet, &private] {
        let details = client.details(id).await.expect("known");
        assert_eq!(details.stdin_private, *id == private);
        let sent = tags(&details.encode_to_vec());
        assert!(sent.iter().all(|(tag, _)| ![34, 35].contains(tag)), "{sent:?}");
    }
}

#[tokio::test]
async fn pitfall_04_every_recovery_byte_gives_the_same_owner() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    for offset in [0, 27, 54] {
        let signature = client.sign(b"create_artifact", offset);
        let request =
            CreateArtifactRequest { signature, artifact_type: ArtifactType::Stdin as i32 };
        client.artifacts.create_artifact(request).await.expect("any form is accepted");
    }
    let ask = client.ready_to_ask(b"input").await;
    for (offset, deadline) in [(0, 1), (27, 2), (54, 3)] {
        let mut ask = ask.clone();
        ask.deadline += deadline;
        let body = client.body(&ask);
        let signature = client.sign(&body, offset);
        let request = pb::SignedRequest { format: 1, signature, body };
        let answer = client.network.request_proof(request).await.expect("accepted").into_inner();
        let id = answer.body.expect("body").request_id;
        let requester = client.details(&id).await.expect("known").requester;
        assert_eq!(requester, client.address().to_vec(), "offset {offset}");
    }
}

#[tokio::test]
async fn pitfall_05_signatures_cover_the_raw_bytes_with_fields_that_we_do_not_know() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let mut body = client.body(&ask);
    uint64::encode(4000, &7, &mut body);
    bytes::encode(4001, &b"from a later SDK".to_vec(), &mut body);
    let envelope = client.envelope(body);
    let answer = client.network.request_proof(envelope).await.expect("accepted").into_inner();
    let details = client.details(&answer.body.expect("body").request_id).await.expect("known");
    assert_eq!(details.requester, client.address().to_vec());
}

#[tokio::test]
async fn pitfall_06_uploads_stay_as_they_are_and_proofs_are_served_without_encoding() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let compressed = zstd::encode_all(b"an input".as_slice(), 3).expect("compresses");
    let ask = client.ready_to_ask(&compressed).await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, stdin) = worker.leased().await;
    assert_eq!(stdin, support::blob(&compressed));
    let seen = worker.get(&network_lib::wire::stdin_path(lease_id)).await;
    assert_eq!(seen.bytes().await.expect("bytes"), compressed);
    let proof = core_proof();
    assert_eq!(worker.hand_in(lease_id, &proof).await, 200);
    let proof_blob = support::blob(&proof);
    worker.say(FromWorker::Completed { lease_id, execution: execution(), proof: proof_blob }).await;
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    let request = client.http.get(status.proof_uri.expect("URI"));
    let answer = request.header("accept-encoding", "gzip, zstd, br").send().await.expect("sends");
    assert_eq!(answer.headers().get("content-encoding"), None);
    assert_eq!(answer.content_length(), Some(proof.len() as u64));
    assert_eq!(answer.bytes().await.expect("bytes"), proof);
}

#[tokio::test]
async fn pitfall_07_a_program_is_taken_with_its_length_prefix_and_only_with_it() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    client.register([1; 32]).await;
    let bare = client.upload(ArtifactType::Program, b"\x7fELF without a length prefix").await;
    let body = pb::CreateProgramBody {
        nonce: 0,
        vk_hash: vec![2; 32],
        vk: vec![1; 130],
        program_uri: bare,
    };
    let envelope = client.envelope(body.encode_to_vec());
    let answer = client.network.create_program(envelope).await;
    assert_code(answer, Code::InvalidArgument, "not an ELF");
}

#[tokio::test]
async fn pitfall_08_and_17_a_waiting_request_is_assigned_from_the_first_poll_on() {
    let network = Network::start_with(impatient).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let assigned = FulfillmentStatus::Assigned as i32;
    let unexecuted = ExecutionStatus::Unexecuted as i32;
    let status = client.status(&id).await;
    assert_eq!((status.fulfillment_status, status.execution_status), (assigned, unexecuted));
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    assert_eq!(client.status(&id).await.fulfillment_status, assigned);
    worker.say(FromWorker::Executed { lease_id, execution: execution() }).await;
    let executed = ExecutionStatus::Executed as i32;
    loop {
        let status = client.status(&id).await;
        assert_eq!(status.fulfillment_status, assigned);
        if status.execution_status == executed {
            break;
        }
    }
    drop(worker);
    eventually("the worker is gone", async || {
        network.json("/contemplants").await.as_array().is_some_and(Vec::is_empty)
    })
    .await;
    assert_eq!(client.status(&id).await.fulfillment_status, assigned);
}

#[tokio::test]
async fn pitfall_09_only_values_that_every_sdk_knows_are_sent() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut seen = Vec::new();
    let mut ask = client.ready_to_ask(b"input").await;
    let cancelled = client.ask(&ask).await.expect("accepted");
    client.cancel(&cancelled).await.expect("cancels");
    seen.push(client.status(&cancelled).await);
    ask.deadline = unix_now() + 1;
    let expired = client.ask(&ask).await.expect("accepted");
    seen.push(client.until(&expired, FulfillmentStatus::Unfulfillable).await);
    seen.push(client.status(&[9; 32]).await);
    for status in seen {
        assert!((2..=4).contains(&status.fulfillment_status), "{status:?}");
        assert!((1..=3).contains(&status.execution_status), "{status:?}");
    }
}

#[tokio::test]
async fn pitfall_10_the_deadline_is_echoed_and_lies_ahead_once_fulfilled() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    ask.deadline = unix_now() + 100;
    let id = client.ask(&ask).await.expect("accepted");
    assert_eq!(client.status(&id).await.deadline, ask.deadline);
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    assert!(status.deadline >= unix_now() + 3000, "{}", status.deadline);
    assert!(client.status(&[9; 32]).await.deadline > unix_now());
}

#[tokio::test]
async fn pitfall_11_a_fulfilled_proof_can_be_downloaded_at_once() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    for n in 0..20_u8 {
        let ask = client.ready_to_ask(&[n]).await;
        let id = client.ask(&ask).await.expect("accepted");
        worker.prove_next(&core_proof()).await;
        let mut status = client.status(&id).await;
        while status.fulfillment_status != FulfillmentStatus::Fulfilled as i32 {
            assert_eq!(status.proof_uri, None);
            status = client.status(&id).await;
        }
        let uri = status.proof_uri.expect("URI");
        assert_eq!(client.http.get(uri).send().await.expect("sends").status(), 200);
    }
}

#[tokio::test]
async fn pitfall_12_a_call_retried_with_a_new_nonce_joins_the_first_request() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    let first = client.ask(&ask).await.expect("accepted");
    ask.nonce = 1;
    assert_eq!(client.ask(&ask).await.expect("accepted"), first);
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&first, FulfillmentStatus::Fulfilled).await;
    ask.nonce = 2;
    assert_eq!(client.ask(&ask).await.expect("accepted"), first);
    assert_eq!(network.json("/proof-history").await.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn pitfall_13_a_full_queue_is_told_by_a_code_that_clients_retry() {
    let network = Network::start_with(|config| {
        config.proofs.max_waiting = 1.try_into().expect("not zero");
    })
    .await;
    let mut client = Client::connect(&network).await;
    let first = client.ready_to_ask(b"one").await;
    client.ask(&first).await.expect("accepted");
    let second = client.ready_to_ask(b"two").await;
    assert_code(client.ask(&second).await, Code::Unavailable, "queue is full");
    let mut worker = Worker::join(&network, hello()).await;
    worker.leased().await;
    client.ask(&second).await.expect("accepted once there is room");
}

#[tokio::test]
async fn pitfall_14_limits_of_all_ones_survive_the_store() {
    let network =
        Network::start_with(|config| config.calls.max_deadline = std::time::Duration::MAX).await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    ask.cycle_limit = u64::MAX;
    ask.gas_limit = u64::MAX;
    ask.deadline = u64::MAX;
    let id = client.ask(&ask).await.expect("accepted");
    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    let details = client.details(&id).await.expect("known");
    assert_eq!((details.cycle_limit, details.gas_limit), (u64::MAX, u64::MAX));
    assert_eq!(details.deadline, u64::MAX / 2, "as late as a signed column holds");
}

#[tokio::test]
async fn pitfall_15_details_are_filled_and_unknown_ids_get_an_ok_answer_without_request() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let before = unix_now();
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let details = client.details(&id).await.expect("known");
    assert_eq!(details.fulfillment_status, FulfillmentStatus::Fulfilled as i32);
    assert_eq!(details.execution_status, ExecutionStatus::Executed as i32);
    assert_eq!(details.cycles, Some(execution().cycles));
    assert_eq!(details.gas_used, execution().gas);
    assert_eq!(details.public_values_hash, Some(execution().public_values_hash.0.to_vec()));
    assert!(details.created_at >= before && details.fulfilled_at >= Some(details.created_at));
    assert_eq!((details.mode, details.strategy), (ask.mode, ask.strategy));
    assert_eq!((details.cycle_limit, details.gas_limit), (ask.cycle_limit, ask.gas_limit));
    assert_eq!((details.version, details.stdin_uri), (ask.version, ask.stdin_uri));
    assert_eq!(client.details(&[9; 32]).await, None);
}

#[tokio::test]
async fn pitfall_16_an_unknown_request_is_unfulfillable_and_not_an_error() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let status = client.status(&[9; 32]).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Unfulfillable as i32);
    assert_ne!(status.deadline, 0);
}

#[tokio::test]
async fn pitfall_18_a_large_proof_downloads_well_within_15_seconds_as_often_as_it_is_polled() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    let public_values = vec![7; 32 << 20];
    let proof = core_proof_with(&public_values);
    worker.prove_next_of(&proof, execution_with(&public_values)).await;
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    let uri = status.proof_uri.expect("URI");
    for _ in 0..3 {
        let started = std::time::Instant::now();
        let bytes = client.http.get(&uri).send().await.expect("sends").bytes().await;
        assert_eq!(bytes.expect("bytes").len(), proof.len());
        assert!(started.elapsed().as_secs() < 15);
    }
}

#[tokio::test]
async fn pitfall_19_plonk_and_groth16_go_to_workers_that_offer_them_and_only_there() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut stark_only = hello();
    stark_only.capabilities.modes.truncate(2);
    let _stark_only = Worker::join(&network, stark_only).await;
    let mut worker = Worker::join(&network, hello()).await;
    let key = proofs::key_of(1);
    let (vk_hash, vk) = proofs::registered(&key);
    client.register_key(vk_hash, vk).await;
    for (mode, kind) in
        [(pb::ProofMode::Plonk, ProofMode::Plonk), (pb::ProofMode::Groth16, ProofMode::Groth16)]
    {
        let mut ask = client.ready_to_ask(mode.as_str_name().as_bytes()).await;
        ask.vk_hash = vk_hash.to_vec();
        ask.mode = mode as i32;
        let id = client.ask(&ask).await.expect("accepted");
        let proof = proofs::mock(kind, &key, support::PUBLIC_VALUES);
        worker.prove_next(&proofs::encoded(&proof)).await;
        client.until(&id, FulfillmentStatus::Fulfilled).await;
    }
}

#[tokio::test]
async fn pitfall_20_a_list_of_a_thousand_requests_stays_below_4_mib() {
    let network = Network::start_with(|config| {
        config.auth = hierophant::config::AuthMode::None;
        config.calls.lists = hierophant::config::ListAccess::Open;
        config.calls.list_ids = true;
    })
    .await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    for _ in 0..1000 {
        ask.deadline += 1;
        client.ask(&ask).await.expect("accepted");
    }
    let request = pb::GetFilteredProofRequestsRequest { limit: Some(5000), ..Default::default() };
    // The client's limit is tonic's default of 4 MiB, as in the SDK.
    let answer = client.network.get_filtered_proof_requests(request).await.expect("fits");
    assert_eq!(answer.into_inner().requests.len(), 1000);
}

#[tokio::test]
async fn pitfall_21_a_new_connection_for_every_call_is_fine() {
    let network = Network::start().await;
    for _ in 0..200 {
        let url = format!("http://{}", network.grpc);
        let channel = Channel::from_shared(url).expect("URL").connect().await.expect("connects");
        let request = pb::GetNonceRequest { address: vec![1; 20] };
        ProverNetworkClient::new(channel).get_nonce(request).await.expect("answers");
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("builds");
        assert_eq!(http.get(network.url("/health")).send().await.expect("sends").status(), 200);
    }
}

#[tokio::test]
async fn pitfall_22_and_29_artifact_urls_can_be_given_a_public_https_host() {
    let network = Network::start_with(|config| {
        config.public_http_url = Some("https://proofs.example.org".into());
    })
    .await;
    let mut client = Client::connect(&network).await;
    let ticket = client.ticket(ArtifactType::Stdin).await;
    for url in [ticket.artifact_uri, ticket.artifact_presigned_url] {
        assert!(url.starts_with("https://proofs.example.org/artifacts/"), "{url}");
    }
}

#[tokio::test]
async fn pitfall_23_a_large_upload_in_one_put_is_taken() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let uri = client.upload(ArtifactType::Stdin, &vec![5; 64 << 20]).await;
    let answer = client.http.get(uri).send().await.expect("sends");
    assert_eq!(answer.content_length(), Some(64 << 20));
}

#[tokio::test]
async fn pitfall_24_parameters_have_the_lengths_and_forms_that_clients_parse() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let request = pb::GetProofRequestParamsRequest { mode: 2 };
    let answer = client.network.get_proof_request_params(request).await.expect("answers");
    let params = answer.into_inner();
    for address in [&params.auctioneer, &params.executor, &params.verifier, &params.treasury] {
        assert_eq!(address.len(), 20);
    }
    assert!(params.domain.len() == 32 && params.domain.iter().any(|byte| *byte != 0));
    assert_eq!(params.base_fee.parse::<u64>(), Ok(0));
    let price: u64 = params.max_price_per_pgu.parse().expect("a number");
    assert!(price <= 15_372_286_728 && params.tick_size <= 1);
    for high_availability_only in [false, true] {
        let request = pb::GetProversByUptimeRequest { high_availability_only };
        let answer = client.network.get_provers_by_uptime(request).await.expect("answers");
        assert!(answer.into_inner().provers.is_empty());
    }
    let answer = client.network.get_market_price_per_pgu(pb::GetMarketPricePerPguRequest {}).await;
    let market = answer.expect("answers").into_inner();
    assert!(market.price.parse::<u128>().is_ok() && market.as_of > 0);
}

#[tokio::test]
async fn pitfall_25_the_balance_parses_as_a_number_of_256_bits() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let request = pb::GetBalanceRequest { address: client.address().to_vec() };
    let answer = client.network.get_balance(request).await.expect("answers").into_inner();
    let balance: alloy_primitives::U256 = answer.amount.parse().expect("a number");
    assert!(balance > alloy_primitives::U256::ZERO);
    let request = pb::GetOwnerRequest { address: client.address().to_vec() };
    let owner = client.network.get_owner(request).await.expect("answers").into_inner().owner;
    assert_eq!(owner, client.address().to_vec());
}

#[tokio::test]
async fn pitfall_26_a_cancelled_request_says_so_in_its_details() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    ask.mainnet = true;
    let id = client.ask(&ask).await.expect("accepted");
    assert!(!client.details(&id).await.expect("known").is_canceled);
    client.cancel(&id).await.expect("cancels");
    client.cancel(&id).await.expect("cancelling twice is fine");
    let details = client.details(&id).await.expect("known");
    assert!(tags(&details.encode_to_vec()).iter().any(|(tag, _)| *tag == 37));
    assert!(details.is_canceled);
    assert_eq!(details.fulfillment_status, FulfillmentStatus::Unfulfillable as i32);
}

#[tokio::test]
async fn pitfall_27_programs_are_told_apart_by_an_opaque_hash() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    for vk_hash in [[1; 32], [0xff; 32], [0; 32]] {
        client.register(vk_hash).await;
        let request = pb::GetProgramRequest { vk_hash: vk_hash.to_vec() };
        let known = client.network.get_program(request).await.expect("known").into_inner();
        assert_eq!(known.program.expect("program").vk_hash, vk_hash);
    }
}

#[tokio::test]
async fn pitfall_28_strategy_and_mode_may_disagree() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    for (mainnet, strategy) in [(true, 1), (true, 2), (false, 3), (false, 0), (true, 99)] {
        ask.deadline += 1;
        ask.mainnet = mainnet;
        ask.strategy = strategy;
        client.ask(&ask).await.unwrap_or_else(|e| panic!("{mainnet} {strategy}: {e}"));
    }
}
