//! Limits of single calls: size, length of fields, deadline, rate of an IP address.

use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use prost::Message as _;
use tonic::Code;

use crate::support::{Client, Network, assert_code, unix_now};

#[tokio::test]
async fn an_oversized_message_is_refused_for_good_and_the_largest_legitimate_is_taken() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    client.register_key([5; 32], vec![1; 64 * 1024]).await;
    let program_uri = client.upload(ArtifactType::Program, &test_peers::program_upload()).await;
    let mut register = async |length: usize| {
        let body = pb::CreateProgramBody {
            nonce: 0,
            vk_hash: vec![6; 32],
            vk: vec![1; length],
            program_uri: program_uri.clone(),
        };
        let envelope = client.envelope(body.encode_to_vec());
        client.network.create_program(envelope).await
    };
    let too_long = register(64 * 1024 + 1).await;
    assert_code(too_long, Code::InvalidArgument, "invalid verifying key of 65537 bytes");
    assert_code(register(256 * 1024).await, Code::OutOfRange, "limit is: 262144 bytes");
    assert_code(register(3 << 20).await, Code::OutOfRange, "limit is: 262144 bytes");
}

#[tokio::test]
async fn compressed_messages_are_refused_so_none_can_grow() {
    let network = Network::start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("builds");
    for encoding in ["gzip", "zstd", "deflate"] {
        let answer = client
            .post(format!("http://{}/network.ProverNetwork/GetNonce", network.grpc))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding)
            .body([&[1, 0, 0, 0, 4][..], &[0x1f, 0x8b, 8, 0]].concat())
            .send()
            .await
            .expect("sends");
        let status = answer.headers().get("grpc-status").expect("a status without a message");
        let unimplemented = (Code::Unimplemented as i32).to_string();
        assert_eq!(status.to_str().expect("text"), unimplemented, "{encoding}");
    }
}

#[tokio::test]
async fn over_long_fields_are_invalid_arguments() {
    let open = hierophant::config::ListAccess::Open;
    let network = Network::start_with(|config| config.calls.lists = open).await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let body = pb::RequestProofBody::decode(client.body(&ask).as_slice()).expect("a body");
    let with = |change: fn(&mut pb::RequestProofBody)| {
        let mut body = body.clone();
        change(&mut body);
        client.envelope(body.encode_to_vec())
    };
    let mut network = client.network.clone();
    let uri = "x".repeat(2049);
    for (envelope, words) in [
        (
            with(|body| body.whitelist = vec![vec![1; 20]; 65]),
            "whitelist too long (65 addresses): expected at most 64",
        ),
        (
            with(|body| body.whitelist = vec![vec![1; 21]]),
            "invalid whitelist (21 bytes): expected an address of 20 bytes",
        ),
        (
            with(|body| body.version = format!("sp1-v{}", "6".repeat(60))),
            "version too long (65 bytes)",
        ),
        (with(|body| body.stdin_uri = "x".repeat(2049)), "stdin_uri too long (2049 bytes)"),
    ] {
        assert_code(network.request_proof(envelope).await, Code::InvalidArgument, words);
    }
    network
        .request_proof(with(|body| body.whitelist = vec![vec![1; 20]; 64]))
        .await
        .expect("as many as are taken");
    let program =
        pb::CreateProgramBody { nonce: 0, vk_hash: vec![1; 32], vk: vec![1], program_uri: uri };
    let answer = network.create_program(client.envelope(program.encode_to_vec())).await;
    assert_code(answer, Code::InvalidArgument, "program_uri too long (2049 bytes)");
    let list =
        pb::GetFilteredProofRequestsRequest { version: Some("v".repeat(65)), ..Default::default() };
    let answer = network.get_filtered_proof_requests(list).await;
    assert_code(answer, Code::InvalidArgument, "version too long (65 bytes)");
    let id = pb::GetProofRequestStatusRequest { request_id: vec![1; 33] };
    let answer = network.get_proof_request_status(id).await;
    assert_code(answer, Code::InvalidArgument, "request_id");
}

#[tokio::test]
async fn a_deadline_beyond_the_limit_is_an_invalid_argument() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    for deadline in [unix_now() + 31 * 86_400, u64::MAX] {
        ask.deadline = deadline;
        let answer = client.ask(&ask).await;
        assert_code(answer, Code::InvalidArgument, "is more than 30days ahead");
    }
    ask.deadline = unix_now() + 30 * 86_400 - 60;
    client.ask(&ask).await.expect("accepted");
}

#[tokio::test]
async fn calls_from_one_ip_address_beyond_its_rate_are_told_to_come_again() {
    let network = Network::start_with(|config| {
        config.calls.per_ip_per_second = 1;
        config.calls.per_ip_burst = 20;
    })
    .await;
    let mut client = Client::connect(&network).await;
    let mut refused = None;
    for _ in 0..40 {
        let request = pb::GetProofRequestStatusRequest { request_id: vec![3; 32] };
        if let Err(status) = client.network.get_proof_request_status(request).await {
            refused = Some(status);
        }
    }
    let status = refused.expect("40 calls are more than 20");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("from this IP address"), "{status:?}");
    // Another connection, as SDKs before 6.2.2 open for each call, is the same address.
    let mut again = Client::connect(&network).await;
    let mut nonces = Vec::new();
    for _ in 0..5 {
        let request = pb::GetNonceRequest { address: client.address().to_vec() };
        nonces.push(again.network.get_nonce(request).await);
    }
    assert!(nonces.iter().any(Result::is_err), "{nonces:?}");
}

#[tokio::test]
async fn reflection_and_health_count_towards_the_rate_of_an_address_too() {
    let network = Network::start_with(|config| {
        config.calls.per_ip_per_second = 1;
        config.calls.per_ip_burst = 5;
    })
    .await;
    let http = reqwest::Client::builder().http2_prior_knowledge().build().expect("builds");
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let answer = http
            .post(format!("http://{}/grpc.health.v1.Health/Check", network.grpc))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(vec![0; 5])
            .send()
            .await
            .expect("answers");
        let status = answer.headers().get("grpc-status").cloned();
        statuses.push(status.map(|status| status.to_str().expect("text").to_owned()));
    }
    let unavailable = Some((Code::Unavailable as i32).to_string());
    assert_eq!(statuses.first(), Some(&None), "answered, its status is in the trailers");
    assert!(statuses.contains(&unavailable), "{statuses:?}");
}
