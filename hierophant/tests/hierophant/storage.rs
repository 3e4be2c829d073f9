//! Bytes and facts on disk: streamed, durable, there again after a restart.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use network_lib::wire::{FromWorker, ToWorker, stdin_path};
use pb::FulfillmentStatus;

use crate::support::{
    self, Client, Network, Worker, blob, core_proof, eventually, execution, hello,
};

/// Where the bytes behind a URI lie.
fn file_of(network: &Network, uri: &str) -> PathBuf {
    let name = uri.rsplit('/').next().expect("a name");
    network.data().join("artifacts").join(&name[..2]).join(name)
}

/// A network, a client of it, what it asked for, and the id of its request.
async fn asked() -> (Network, Client, support::Ask, Vec<u8>) {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    let id = client.ask(&ask).await.expect("accepted");
    (network, client, ask, id)
}

#[tokio::test]
async fn a_request_is_proved_and_stored_while_its_client_never_polls() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let ask = client.ready_to_ask(b"input").await;
    client.ask(&ask).await.expect("accepted");
    drop(client);
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    eventually("the proof is stored", async || {
        let history = network.json("/proof-history").await;
        history[0]["state"] == "proved" && history[0]["contemplant"] == "tobit"
    })
    .await;
}

#[tokio::test]
async fn a_finished_request_survives_a_restart() {
    let (network, mut client, ask, id) = asked().await;
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let before = client.details(&id).await.expect("known");

    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Fulfilled as i32);
    let proof = client.http.get(status.proof_uri.expect("URI")).send().await.expect("sends");
    assert_eq!(proof.bytes().await.expect("bytes"), core_proof());
    let after = client.details(&id).await.expect("known");
    assert_eq!((after.cycles, after.created_at), (before.cycles, before.created_at));
    // The program is still registered, and the same content is not proved again.
    let mut again = ask.clone();
    again.deadline += 1;
    let joined = client.ask(&again).await.expect("accepted");
    assert_ne!(joined, id);
    client.until(&joined, FulfillmentStatus::Fulfilled).await;
    let nonce = pb::GetNonceRequest { address: client.address().to_vec() };
    let nonce = client.network.get_nonce(nonce).await.expect("answers").into_inner().nonce;
    assert_eq!(nonce, 3, "one program and two requests");
}

#[tokio::test]
async fn waiting_work_is_taken_up_again_after_a_restart() {
    let (network, _, _, id) = asked().await;
    let hello = hello();
    let mut worker = Worker::join(&network, hello.clone()).await;
    worker.leased().await;

    let network = network.restart().await;
    let mut client = Client::connect(&network).await;
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Assigned as i32);
    let mut worker = Worker::join(&network, hello).await;
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn work_in_flight_goes_on_after_a_restart_under_the_same_lease() {
    let (network, _, _, id) = asked().await;
    let mut hello = hello();
    let mut worker = Worker::join(&network, hello.clone()).await;
    let (lease_id, _) = worker.leased().await;

    let network = network.restart().await;
    hello.held = vec![lease_id];
    let mut worker = Worker::dial(&network).await;
    worker.say(FromWorker::Hello(hello)).await;
    match worker.hear().await {
        Some(ToWorker::Welcome(welcome)) => assert_eq!(welcome.resume, [lease_id]),
        other => panic!("not welcome: {other:?}"),
    }
    let proof = core_proof();
    assert_eq!(worker.hand_in(lease_id, &proof).await, 200);
    let completed = FromWorker::Completed { lease_id, execution: execution(), proof: blob(&proof) };
    worker.say(completed).await;
    assert_eq!(worker.hear().await, Some(ToWorker::Settled { lease_id }));
    let mut client = Client::connect(&network).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
    let history = network.json("/proof-history").await;
    assert_eq!(history[0]["attempts"], 1);
}

#[tokio::test]
async fn a_finished_proof_that_is_gone_from_the_disk_is_made_again() {
    let (network, mut client, _, id) = asked().await;
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    let file = file_of(&network, &status.proof_uri.expect("a proof"));
    std::fs::remove_file(file).expect("there");
    let status = client.status(&id).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Assigned as i32);
    worker.prove_next(&core_proof()).await;
    client.until(&id, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn a_finished_proof_that_was_damaged_on_the_disk_is_never_served() {
    let (network, mut client, ask, id) = asked().await;
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    let uri = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("a proof");
    let file = file_of(&network, &uri);
    let mut bytes = std::fs::read(&file).expect("there");
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).expect("writes");
    // Asking for the same again does not join the damaged proof.
    let again = support::Ask { deadline: ask.deadline + 1, ..ask.clone() };
    let second = client.ask(&again).await.expect("accepted");
    worker.prove_next(&core_proof()).await;
    let fresh = client.until(&second, FulfillmentStatus::Fulfilled).await.proof_uri;
    let fresh = reqwest::get(fresh.expect("a proof")).await.expect("answers");
    assert_eq!(fresh.bytes().await.expect("reads"), core_proof());
    // Nor does the first request get it: it gets the second proof, without a third one.
    assert_eq!(reqwest::get(&uri).await.expect("answers").status(), 504);
    let status = client.until(&id, FulfillmentStatus::Fulfilled).await;
    let replaced = status.proof_uri.expect("a proof");
    assert_ne!(replaced, uri);
    let replaced = reqwest::get(replaced).await.expect("answers");
    assert_eq!(replaced.bytes().await.expect("reads"), core_proof());
    let history = network.json("/proof-history").await;
    let attempts: u64 = history
        .as_array()
        .expect("a list")
        .iter()
        .map(|job| job["attempts"].as_u64().expect("a number"))
        .sum();
    assert_eq!(attempts, 2, "{history}");
}

#[tokio::test]
async fn a_call_for_the_head_of_a_proof_or_for_nothing_new_reads_no_byte_of_it() {
    let (network, mut client, _, id) = asked().await;
    Worker::join(&network, hello()).await.prove_next(&core_proof()).await;
    let uri = client.until(&id, FulfillmentStatus::Fulfilled).await.proof_uri.expect("a proof");
    let file = file_of(&network, &uri);
    let mut bytes = std::fs::read(&file).expect("there");
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).expect("writes");
    // A read would have found the damage.
    assert_eq!(client.http.head(&uri).send().await.expect("answers").status(), 200);
    let later = "Fri, 01 Jan 2100 00:00:00 GMT";
    let conditional = client.http.get(&uri).header("if-modified-since", later);
    assert_eq!(conditional.send().await.expect("answers").status(), 304);
    assert_eq!(client.http.get(&uri).send().await.expect("answers").status(), 504);
}

#[tokio::test]
async fn a_browser_does_not_take_an_upload_for_a_page() {
    let (network, _, ask, _) = asked().await;
    let answer = reqwest::get(&ask.stdin_uri).await.expect("answers");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-disposition", "attachment"),
        ("content-security-policy", "sandbox; default-src 'none'"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    let docs = reqwest::get(network.url("/api/v1/docs/")).await.expect("answers");
    let policy = docs.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"));
    assert!(docs.headers().get("strict-transport-security").is_none(), "not without TLS");
}

#[tokio::test]
async fn a_job_whose_input_is_gone_from_the_disk_ends_with_a_clear_word() {
    let (network, mut client, ask, id) = asked().await;
    std::fs::remove_file(file_of(&network, &ask.stdin_uri)).expect("there");
    let mut worker = Worker::join(&network, hello()).await;
    let (lease_id, _) = worker.leased().await;
    assert_eq!(worker.get(&stdin_path(lease_id)).await.status(), 410);
    client.until(&id, FulfillmentStatus::Unfulfillable).await;
    let history = network.json("/proof-history").await;
    let why = history[0]["failure"].as_str().expect("says why");
    assert!(why.contains("missing in Hierophant's storage"), "{why}");
}

#[tokio::test]
async fn a_second_hierophant_keeps_out_of_the_data_folder() {
    let network = Network::start().await;
    let listeners = hierophant::Listeners::bind(&network.config).await.expect("free ports");
    let second = hierophant::run(network.config.clone(), listeners, Default::default()).await;
    let error = second.expect_err("must fail").to_string();
    assert!(error.contains("another Hierophant uses the folder"), "{error}");
    network.restart().await;
}

#[tokio::test]
async fn downloads_honour_ranges() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let uri = client.upload(ArtifactType::Stdin, b"0123456789").await;
    let range = async |range: &str| {
        let answer = client.http.get(&uri).header("range", range).send().await.expect("sends");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(range("bytes=2-4").await, (206, "234".into()));
    assert_eq!(range("bytes=7-").await, (206, "789".into()));
    assert_eq!(range("bytes=-2").await, (206, "89".into()));
    assert_eq!(range("bytes=20-30").await.0, 416);
    let whole = client.http.get(&uri).send().await.expect("sends");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.content_length(), Some(10));
}

#[tokio::test]
async fn artifact_urls_use_the_name_that_the_client_called() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let url = format!("http://localhost:{}", network.grpc.port());
    let channel = tonic::transport::Channel::from_shared(url).expect("URL");
    let channel = channel.connect().await.expect("connects");
    client.artifacts =
        hierophant_proto::artifact::artifact_store_client::ArtifactStoreClient::new(channel);
    let ticket = client.ticket(ArtifactType::Stdin).await;
    let start = format!("http://localhost:{}/artifacts/", network.http.port());
    assert!(ticket.artifact_presigned_url.starts_with(&start), "{ticket:?}");
    assert_eq!(client.put(&ticket.artifact_presigned_url, "bytes").await.status(), 200);
}

#[tokio::test]
async fn a_gibibyte_of_input_grows_memory_by_less_than_32_mib() {
    let (before, after_upload, after_download) = memory_with_an_input_of(1024, &[]).await;
    println!("peak KiB: {before} before, {after_upload} uploaded, {after_download} downloaded");
    assert!(after_download - before < 32 * 1024, "grew by {} KiB", after_download - before);
}

/// Peak memory in KiB before an input of this size in MiB, after its upload, and after its download. Measured on the
/// real program, so that no other memory counts.
pub async fn memory_with_an_input_of(
    chunks: usize,
    variables: &[(&str, String)],
) -> (u64, u64, u64) {
    const CHUNK: usize = 1 << 20;
    let folder = tempfile::tempdir().expect("temp dir");
    let free_port = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        listener.local_addr().expect("bound").port()
    };
    let (grpc, http) = (free_port(), free_port());
    let mut hierophant = Command::new(env!("CARGO_BIN_EXE_hierophant"))
        .current_dir(&folder)
        .env("HIEROPHANT_BIND_ADDRESS", "127.0.0.1")
        .env("HIEROPHANT_GRPC_PORT", grpc.to_string())
        .env("HIEROPHANT_HTTP_PORT", http.to_string())
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let pid = hierophant.id();
    eventually("Hierophant is ready", async || {
        reqwest::get(format!("http://127.0.0.1:{http}/ready"))
            .await
            .is_ok_and(|a| a.status() == 200)
    })
    .await;

    let outcome = async {
        let mut client = {
            let url = format!("http://127.0.0.1:{grpc}");
            let channel = tonic::transport::Channel::from_shared(url).expect("URL");
            let channel = channel.connect().await.expect("connects");
            let mut key = [7; 32];
            key[0] = 1;
            Client {
                key: k256::ecdsa::SigningKey::from_slice(&key).expect("key"),
                artifacts:
                    hierophant_proto::artifact::artifact_store_client::ArtifactStoreClient::new(
                        channel.clone(),
                    ),
                network: pb::prover_network_client::ProverNetworkClient::new(channel),
                http: reqwest::Client::new(),
                token: None,
            }
        };
        // One small upload first, so that what is allocated once is not counted.
        client.upload(ArtifactType::Stdin, b"small").await;
        let before = peak_memory(pid);
        let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
        let chunk = Bytes::from(vec![0x5a; CHUNK]);
        let parts = (0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
        let sending = client.http.put(&ticket).header("content-length", CHUNK * chunks).body(body);
        let answer = tokio::time::timeout(Duration::from_secs(300), sending.send()).await;
        assert_eq!(answer.expect("in time").expect("sends").status(), 200);
        let after_upload = peak_memory(pid);
        let mut answer = client.http.get(&ticket).send().await.expect("sends");
        let mut received = 0;
        while let Some(chunk) = answer.chunk().await.expect("reads") {
            received += chunk.len();
        }
        assert_eq!(received, CHUNK * chunks);
        (before, after_upload, peak_memory(pid))
    }
    .await;
    hierophant.kill().expect("is killed");
    hierophant.wait().expect("has ended");
    outcome
}

/// Peak resident memory of a process in KiB, as Linux counts it.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}
