//! What comes in wrong is answered clearly, leaves nothing behind, and nothing stops because of it.

use futures_util::SinkExt;
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use network_lib::handshake::{ProtocolRange, RefusalCode};
use network_lib::ids::ArtifactId;
use network_lib::job::{ExecutionFailureCause, Failure, FailureClass, Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker};
use pb::FulfillmentStatus;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tonic::Code;

use crate::support::{
    self, Ask, Client, Network, Worker, assert_code, blob, core_proof, eventually, execution,
    hello, unix_now,
};

/// Whether the network still does its work.
async fn still_works(network: &Network) {
    let mut client = Client::connect(network).await;
    let ask = client.ready_to_ask(&unix_now().to_le_bytes()).await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn missing_and_wrong_signatures_are_unauthenticated() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let body = client.body(&ask);
    for (signature, what) in [
        (vec![], "not signed"),
        (vec![1; 64], "65 bytes"),
        ([vec![1; 64], vec![77]].concat(), "recovery byte 77"),
        (vec![0; 65], "no address can be recovered"),
    ] {
        let request =
            pb::SignedRequest { format: 1, signature: signature.clone(), body: body.clone() };
        let answer = client.network.request_proof(request.clone()).await;
        assert_code(answer, Code::Unauthenticated, what);
        let answer = client.network.create_program(request.clone()).await;
        assert_code(answer, Code::Unauthenticated, what);
        let answer = client.network.cancel_request(request).await;
        assert_code(answer, Code::Unauthenticated, what);
        let request = CreateArtifactRequest { signature, artifact_type: 2 };
        assert_code(client.artifacts.create_artifact(request).await, Code::Unauthenticated, what);
    }
}

#[tokio::test]
async fn strangers_are_denied_by_an_allowlist_and_members_are_not() {
    let member = alloy_primitives::Address::from_private_key(
        &k256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("key"),
    );
    let network = Network::start_with(|config| {
        config.auth = hierophant::config::AuthMode::Allowlist;
        config.allowlist = vec![member];
    })
    .await;
    let mut stranger = Client::with_key(&network, 8).await;
    let signature = stranger.sign(b"create_artifact", 54);
    let request = CreateArtifactRequest { signature, artifact_type: 2 };
    let answer = stranger.artifacts.create_artifact(request).await;
    assert_code(answer, Code::PermissionDenied, &stranger.address().to_string());
    still_works(&network).await;
}

#[tokio::test]
async fn the_json_format_is_an_invalid_argument() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    for format in [0, 2, 9] {
        let request = pb::SignedRequest { format, ..client.envelope(client.body(&ask)) };
        let answer = client.network.request_proof(request).await;
        assert_code(answer, Code::InvalidArgument, "binary encoding");
    }
}

#[tokio::test]
async fn truncated_protobuf_is_an_invalid_argument_at_both_levels() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let mut body = client.body(&ask);
    body.truncate(body.len() - 3);
    let answer = client.network.request_proof(client.envelope(body)).await;
    assert_code(answer, Code::InvalidArgument, "invalid body");
    // The envelope itself, cut in the middle of a field.
    let mut whole = client.envelope(client.body(&ask)).encode_to_vec();
    whole.truncate(40);
    let status = raw_call(&network, "/network.ProverNetwork/RequestProof", &whole).await;
    assert_eq!(status, Code::InvalidArgument as i32);
    still_works(&network).await;
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let network = Network::start().await;
    for method in ["Bid", "FulfillProof", "SubscribeProofRequests", "GetTEEWhitelistStatus"] {
        let path = format!("/network.ProverNetwork/{method}");
        assert_eq!(raw_call(&network, &path, &[]).await, Code::Unimplemented as i32, "{method}");
    }
}

/// Sends the bytes as the message of a unary call; returns the gRPC status number.
async fn raw_call(network: &Network, path: &str, message: &[u8]) -> i32 {
    let length = u32::try_from(message.len()).expect("short");
    let frame = [&[0], length.to_be_bytes().as_slice(), message].concat();
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("builds");
    let answer = client
        .post(format!("http://{}{path}", network.grpc))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(frame)
        .send()
        .await
        .expect("sends");
    let status = answer.headers().get("grpc-status").expect("a status without a message");
    status.to_str().expect("text").parse().expect("a number")
}

#[tokio::test]
async fn wrong_lengths_and_values_are_invalid_arguments() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let good = client.ready_to_ask(b"input").await;
    type Spoil = fn(&mut Ask);
    let cases: [(&str, Spoil); 6] = [
        ("vk_hash: expected 32 bytes, got 31", |ask| ask.vk_hash = vec![1; 31]),
        ("unknown proof mode 0", |ask| ask.mode = 0),
        ("unknown proof mode 5", |ask| ask.mode = 5),
        ("invalid version \"v6.1.0\": expected", |ask| ask.version = "v6.1.0".into()),
        ("has passed already", |ask| ask.deadline = unix_now() - 1),
        ("expected the URI of an artifact of this network", |ask| {
            ask.stdin_uri = "stdins/test".into();
        }),
    ];
    for (text, spoil) in cases {
        let mut ask = good.clone();
        spoil(&mut ask);
        assert_code(client.ask(&ask).await, Code::InvalidArgument, text);
    }
    let id = |length| pb::GetProofRequestStatusRequest { request_id: vec![1; length] };
    for length in [0, 31, 33] {
        let answer = client.network.get_proof_request_status(id(length)).await;
        assert_code(answer, Code::InvalidArgument, "request_id: expected 32 bytes");
    }
    let request = pb::GetProgramRequest { vk_hash: vec![1; 33] };
    assert_code(client.network.get_program(request).await, Code::InvalidArgument, "vk_hash");
    let request = pb::GetNonceRequest { address: vec![1; 19] };
    assert_code(
        client.network.get_nonce(request).await,
        Code::InvalidArgument,
        "expected an address of 20 bytes",
    );
    let request = CreateArtifactRequest {
        signature: client.sign(b"create_artifact", 54),
        artifact_type: ArtifactType::Proof as i32,
    };
    let answer = client.artifacts.create_artifact(request).await;
    assert_code(answer, Code::InvalidArgument, "artifact type 3");
}

#[tokio::test]
async fn a_request_without_program_or_input_fails_its_precondition() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let good = client.ready_to_ask(b"input").await;
    let unknown = Ask { vk_hash: vec![2; 32], ..good.clone() };
    assert_code(client.ask(&unknown).await, Code::FailedPrecondition, "not registered");
    let empty = client.ticket(ArtifactType::Stdin).await.artifact_uri;
    let ask = Ask { stdin_uri: empty, ..good.clone() };
    assert_code(client.ask(&ask).await, Code::FailedPrecondition, "nothing was uploaded");
    let stdin_uri = network.url(&format!("/artifacts/{}", ArtifactId::random()));
    let ask = Ask { stdin_uri, ..good.clone() };
    assert_code(client.ask(&ask).await, Code::FailedPrecondition, "was never issued");
    let program = client.upload(ArtifactType::Program, &support::program_upload()).await;
    let ask = Ask { stdin_uri: program, ..good };
    assert_code(
        client.ask(&ask).await,
        Code::InvalidArgument,
        "refers to an artifact of kind program",
    );
}

#[tokio::test]
async fn cancelling_what_is_not_there_not_yours_or_over_is_refused() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    assert_code(client.cancel(&[9; 32]).await, Code::NotFound, "no such request");
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut other = Client::with_key(&network, 8).await;
    assert_code(other.cancel(&id).await, Code::NotFound, "no such request");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    assert_code(client.cancel(&id).await, Code::FailedPrecondition, "already fulfilled");
    assert_code(other.cancel(&id).await, Code::NotFound, "no such request");
}

#[tokio::test]
async fn uploads_need_a_ticket_and_a_second_one_changes_nothing() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    for id in ["nonsense", "../../etc/passwd", &ArtifactId::random().to_string()] {
        let answer = client.put(&network.url(&format!("/artifacts/{id}")), "bytes").await;
        assert_eq!(answer.status(), 404, "{id}");
    }
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    assert_eq!(client.put(&ticket, "first").await.status(), 200);
    assert_eq!(client.put(&ticket, "first").await.status(), 200, "a retry is fine");
    let second = client.put(&ticket, "second").await;
    assert_eq!(second.status(), 409);
    assert!(second.text().await.expect("text").contains("already holds other bytes"));
    let kept = client.http.get(&ticket).send().await.expect("sends").text().await.expect("text");
    assert_eq!(kept, "first");
    assert_eq!(network.files(), 1);
}

#[tokio::test]
async fn an_oversized_upload_is_refused_whether_announced_or_not() {
    let network = Network::start_with(|config| config.max_artifact_bytes = 100_000).await;
    let mut client = Client::connect(&network).await;
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let announced = client.put(&ticket, vec![1; 8 << 20]).await;
    assert_eq!(announced.status(), 413);
    assert!(announced.text().await.expect("text").contains("100000 bytes"));
    let chunks = (0..80).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![1; 100_000])));
    let unannounced = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_eq!(client.put(&ticket, unannounced).await.status(), 413);
    eventually("no partial file remains", async || network.files() == 0).await;
    assert_eq!(client.put(&ticket, vec![1; 100_000]).await.status(), 200, "the ticket still works");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_no_file() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    let path = ticket.strip_prefix(&network.url("")).expect("here");
    let mut socket = tokio::net::TcpStream::connect(network.http).await.expect("connects");
    let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("writes");
    socket.write_all(&[7; 300_000]).await.expect("writes");
    eventually("the upload has begun", async || network.files() == 1).await;
    drop(socket);
    eventually("no partial file remains", async || network.files() == 0).await;
    assert_eq!(client.put(&ticket, "whole").await.status(), 200);
}

#[tokio::test]
async fn a_private_input_is_read_by_the_leased_worker_only() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut ask = client.ready_to_ask(b"input").await;
    ask.stdin_uri = client.upload(ArtifactType::PrivateStdin, b"a secret").await;
    let id = client.ask(&ask).await.expect("accepted");
    assert_eq!(client.http.get(&ask.stdin_uri).send().await.expect("sends").status(), 403);
    let details = client.details(&id).await.expect("known");
    assert!(details.stdin_private && details.stdin_public_uri.is_empty());
    let mut worker = Worker::join(&network, hello()).await;
    let (lease, _) = worker.leased().await;
    let path = network_lib::wire::stdin_path(lease);
    assert_eq!(worker.get(&path).await.text().await.expect("text"), "a secret");
    client.cancel(&id).await.expect("cancels");
    assert_eq!(worker.get(&path).await.status(), 403, "the lease is over");
    assert_eq!(worker.get("/leases/nonsense/stdin").await.status(), 403);
}

#[tokio::test]
async fn a_failing_guest_is_unexecutable_with_its_cause() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let mut worker = Worker::join(&network, hello()).await;
    let cases = [
        // What a Contemplant reports for a panicking guest.
        (FailureClass::Guest, Some(ExecutionFailureCause::HaltWithNonZeroExitCode), 3),
        // For an ELF whose instructions cannot be decoded.
        (FailureClass::Guest, None, 3),
        // For a cycle limit that is exceeded.
        (FailureClass::Request, Some(ExecutionFailureCause::ExceededCycleLimit), 3),
        // For an input that SP1 cannot decode.
        (FailureClass::Request, None, 1),
    ];
    for (n, (class, cause, execution_status)) in cases.into_iter().enumerate() {
        let ask = client.ready_to_ask(&[u8::try_from(n).expect("small")]).await;
        let id = client.ask(&ask).await.expect("accepted");
        let (lease_id, _) = worker.leased().await;
        let failure = Failure { cause, ..Failure::new(class, "what happened") };
        worker.say(FromWorker::Failed { lease_id, failure }).await;
        let status = client.until(&id, FulfillmentStatus::Unfulfillable).await;
        assert_eq!(status.execution_status, execution_status, "{class:?} {cause:?}");
        let details = client.details(&id).await.expect("known");
        let number = match cause {
            Some(ExecutionFailureCause::HaltWithNonZeroExitCode) => 1,
            Some(_) => 5,
            None => 0,
        };
        assert_eq!(details.execute_fail_cause, number);
        assert_ne!(details.error, 0);
        assert_eq!(details.error_trace, Some(b"what happened".to_vec()));
    }
    let list = network.json("/contemplants").await;
    assert_eq!(list[0]["strikes"], 0, "the worker is not to blame");
}

#[tokio::test]
async fn a_worker_of_another_version_is_told_which_one_is_wanted() {
    let network = Network::start().await;
    let mut newer = hello();
    newer.protocol = ProtocolRange { oldest: 8, newest: 9 };
    let mut worker = Worker::dial(&network).await;
    worker.say(FromWorker::Hello(newer.clone())).await;
    let Some(ToWorker::Refused(refusal)) = worker.hear().await else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::ProtocolVersion);
    assert_eq!(refusal.protocol, ProtocolRange::OURS);
    assert!(refusal.message.contains("2 to 3"), "{}", refusal.message);
    // A later handshake may look different but for its versions.
    let mut worker = Worker::dial(&network).await;
    let text = r#"{"type":"hello","protocol":{"oldest":8,"newest":9},"what":"ever"}"#;
    worker.say_text(text.into()).await;
    let Some(ToWorker::Refused(refusal)) = worker.hear().await else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::ProtocolVersion);
    assert_eq!(network.json("/contemplants").await.as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn mock_workers_are_refused_unless_mock_mode_is_on() {
    let network = Network::start_with(|config| config.mock_mode = false).await;
    let mut worker = Worker::dial(&network).await;
    worker.say(FromWorker::Hello(hello())).await;
    let Some(ToWorker::Refused(refusal)) = worker.hear().await else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::MockNotAllowed);
    assert!(refusal.message.contains("mock_mode = true"));
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_is_refused() {
    let network = Network::start().await;
    for frame in [
        Message::text("garbage"),
        Message::text(r#"{"type":"heartbeat","held":[]}"#),
        Message::text("{".repeat(10_000)),
        Message::binary(vec![0xff; 100]),
    ] {
        let mut worker = Worker::dial(&network).await;
        worker.socket.send(frame).await.expect("sends");
        let Some(ToWorker::Refused(refusal)) = worker.hear().await else { panic!("not refused") };
        assert_eq!(refusal.code, RefusalCode::Malformed);
    }
    still_works(&network).await;
}

#[tokio::test]
async fn a_worker_that_sends_garbage_is_cut_off_and_its_job_goes_elsewhere() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let frames = [
        Message::text("garbage"),
        Message::binary(vec![1, 2, 3]),
        Message::text(r#"{"type":"no such message"}"#),
    ];
    for (n, frame) in frames.into_iter().enumerate() {
        let ask = client.ready_to_ask(&n.to_le_bytes()).await;
        let id = client.ask(&ask).await.expect("accepted");
        let mut bad = Worker::join(&network, hello()).await;
        bad.leased().await;
        bad.socket.send(frame).await.expect("sends");
        assert_ne!(bad.closing_words().await, "", "the close frame has a reason");
        let mut good = Worker::join(&network, hello()).await;
        good.prove_next(&core_proof()).await;
        client.until(&id, FulfillmentStatus::Fulfilled).await;
    }
    let dead = network.json("/dead-contemplants").await.to_string();
    assert!(dead.contains("not a known message") && dead.contains("binary frames"), "{dead}");
}

#[tokio::test]
async fn a_frame_of_10_mb_cuts_the_worker_off_and_nothing_else() {
    let network = Network::start().await;
    let mut worker = Worker::join(&network, hello()).await;
    let big = Message::text("x".repeat(10_000_000));
    // The socket may be closed before all of it is sent.
    let _ = worker.socket.send(big).await;
    worker.closing_words().await;
    eventually("the worker is gone", async || {
        network.json("/dead-contemplants").await.as_array().is_some_and(|dead| dead.len() == 1)
    })
    .await;
    let dead = network.json("/dead-contemplants").await;
    assert!(dead[0]["reason"].as_str().expect("text").contains("too long"), "{dead}");
    let mut stranger = Worker::dial(&network).await;
    let _ = stranger.socket.send(Message::text("x".repeat(10_000_000))).await;
    stranger.closing_words().await;
    still_works(&network).await;
}

#[tokio::test]
async fn a_worker_that_floods_is_cut_off() {
    let network = Network::start().await;
    let mut worker = Worker::join(&network, hello()).await;
    let frame = network_lib::codec::encode(&FromWorker::Heartbeat { held: vec![], gpus: vec![] });
    for _ in 0..2_000 {
        if worker.socket.send(Message::text(frame.clone())).await.is_err() {
            break;
        }
    }
    eventually("the worker is gone", async || {
        network.json("/contemplants").await.as_array().is_some_and(Vec::is_empty)
    })
    .await;
    let dead = network.json("/dead-contemplants").await;
    assert!(dead[0]["reason"].as_str().expect("text").contains("frames per second"), "{dead}");
}

#[tokio::test]
async fn a_worker_with_many_jobs_may_report_on_all_of_them_at_once() {
    const JOBS: u32 = 30;
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    for number in 0..JOBS {
        let ask = client.ready_to_ask(&number.to_le_bytes()).await;
        client.ask(&ask).await.expect("accepted");
    }
    let mut many = hello();
    many.capabilities.slots = JOBS;
    let mut worker = Worker::join(&network, many).await;
    let mut leases = Vec::new();
    for _ in 0..JOBS {
        leases.push(worker.leased().await.0);
    }
    for step in 0..8_u8 {
        for lease_id in leases.iter().copied() {
            let fraction = Some(f32::from(step) / 10.0);
            let progress = Progress { fraction, ..Progress::phase(Phase::Proving) };
            worker.say(FromWorker::Progress { lease_id, progress }).await;
        }
    }
    eventually("the last reports have arrived", async || {
        let workers = network.json("/contemplants").await;
        let proofs = workers[0]["current_proofs"].as_array().expect("is still connected");
        proofs.iter().all(|proof| proof["fraction"].as_f64().is_some_and(|it| it > 0.65))
    })
    .await;
    assert_eq!(worker.hand_in(leases[0], &core_proof()).await, 200, "its key still holds");
}

#[tokio::test]
async fn a_proof_of_the_wrong_kind_is_never_served() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(b"\x01\0\0\0 is not a core proof").await;
    worker.prove_next(b"x").await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    assert_eq!(network.json("/contemplants").await[0]["strikes"], 2);
}

#[tokio::test]
async fn words_about_leases_that_are_not_held_change_nothing() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    let mut owner = Worker::join(&network, hello()).await;
    let (lease_id, _) = owner.leased().await;
    let mut thief = Worker::join(&network, hello()).await;
    let proof = blob(&core_proof());
    thief.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    let failure = Failure::new(FailureClass::Guest, "a lie");
    thief.say(FromWorker::Failed { lease_id, failure }).await;
    assert_eq!(owner.hand_in(lease_id, &core_proof()).await, 200);
    owner.say(FromWorker::Completed { lease_id, execution: execution(), proof }).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    assert_eq!(owner.hand_in(lease_id, &core_proof()).await, 403, "the lease is over");
}

#[tokio::test]
async fn bytes_that_are_no_http_do_not_stop_either_port() {
    let network = Network::start().await;
    for address in [network.grpc, network.http] {
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("connects");
        // The other side may have closed already.
        let _ = socket.write_all(&[0xfe; 4096]).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
    }
    still_works(&network).await;
}
