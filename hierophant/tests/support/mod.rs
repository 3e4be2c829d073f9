//! A Hierophant in this process, a client that speaks the wire by hand, and a Contemplant that does
//! what a test tells it: enough to see every answer without a prover.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses its part")]

pub mod proofs;

use std::net::SocketAddr;
use std::time::Duration;

use alloy_primitives::{Address, eip191_hash_message};
use futures_util::{SinkExt, StreamExt};
use hierophant::config::Config;
use hierophant::{Listeners, run};
use hierophant_proto::artifact::artifact_store_client::ArtifactStoreClient;
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest, CreateArtifactResponse};
use hierophant_proto::network as pb;
use hierophant_proto::network::prover_network_client::ProverNetworkClient;
use k256::ecdsa::SigningKey;
use network_lib::codec;
use network_lib::handshake::{Backend, Capabilities, Hello, ProtocolRange};
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, ProofMode};
use network_lib::wire::{FromWorker, ToWorker, proof_path};
use prost::Message as _;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Longest wait for anything that must happen.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A running Hierophant.
pub struct Network {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub config: Config,
    folder: TempDir,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Network {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("temp dir");
        let mut config = Config::for_test(folder.path().join("data"));
        config.mock_mode = true;
        change(&mut config);
        Self::start_in(folder, config).await
    }

    async fn start_in(folder: TempDir, config: Config) -> Self {
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let grpc = listeners.grpc.local_addr().expect("bound");
        let http = listeners.http.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let running =
            network_lib::task::spawn("hierophant", run(config.clone(), listeners, stop.clone()));
        let network = Self { grpc, http, config, folder, stop, running };
        eventually("Hierophant is ready", async || {
            reqwest::get(network.url("/ready")).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        network
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub fn data(&self) -> &std::path::Path {
        &self.config.data_dir
    }

    pub async fn stop(self) -> (TempDir, Config) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LIMIT, self.running).await.expect("stops in time");
        ended.expect("does not panic").expect("stops without error");
        (self.folder, self.config)
    }

    /// Stops and starts again on the same data, on new ports.
    pub async fn restart(self) -> Self {
        let (folder, config) = self.stop().await;
        Self::start_in(folder, config).await
    }

    pub async fn json(&self, path: &str) -> serde_json::Value {
        let answer = reqwest::get(self.url(path)).await.expect("answers");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.expect("JSON")
    }

    /// How many artifact files there are, half-written ones included.
    pub fn files(&self) -> usize {
        fn below(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).expect("readable");
            let paths = entries.map(|entry| entry.expect("entry").path());
            paths.map(|path| if path.is_dir() { below(&path) } else { 1 }).sum()
        }
        below(&self.data().join("artifacts"))
    }
}

/// Waits until a condition holds; fails the test after [`LIMIT`].
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// How a request is made; a test changes what it is about.
#[derive(Clone)]
pub struct Ask {
    pub vk_hash: Vec<u8>,
    pub version: String,
    pub mode: i32,
    pub strategy: i32,
    pub stdin_uri: String,
    pub deadline: u64,
    pub cycle_limit: u64,
    pub gas_limit: u64,
    pub nonce: u64,
    pub mainnet: bool,
}

/// A client that signs and speaks the wire by hand.
pub struct Client {
    pub key: SigningKey,
    pub artifacts: ArtifactStoreClient<Channel>,
    pub network: ProverNetworkClient<Channel>,
    pub http: reqwest::Client,
}

impl Client {
    pub async fn connect(network: &Network) -> Self {
        Self::with_key(network, 7).await
    }

    pub async fn with_key(network: &Network, seed: u8) -> Self {
        let url = format!("http://{}", network.grpc);
        let channel = Channel::from_shared(url).expect("URL").connect().await.expect("connects");
        Self {
            key: SigningKey::from_slice(&[seed; 32]).expect("key"),
            artifacts: ArtifactStoreClient::new(channel.clone()),
            network: ProverNetworkClient::new(channel),
            http: reqwest::Client::new(),
        }
    }

    pub fn address(&self) -> Address {
        Address::from_private_key(&self.key)
    }

    /// Signs like an SDK; `v_offset` 27 as on bodies, 54 as on `CreateArtifact`, 0 as SDK 5.0.2 did.
    pub fn sign(&self, message: &[u8], v_offset: u8) -> Vec<u8> {
        let hash = eip191_hash_message(message);
        let (signature, parity) =
            self.key.sign_prehash_recoverable(hash.as_slice()).expect("signs");
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(parity.to_byte() + v_offset);
        bytes
    }

    pub fn envelope(&self, body: Vec<u8>) -> pb::SignedRequest {
        pb::SignedRequest {
            format: pb::MessageFormat::Binary as i32,
            signature: self.sign(&body, 27),
            body,
        }
    }

    pub async fn ticket(&mut self, kind: ArtifactType) -> CreateArtifactResponse {
        let signature = self.sign(b"create_artifact", 54);
        let request = CreateArtifactRequest { signature, artifact_type: kind as i32 };
        self.artifacts.create_artifact(request).await.expect("ticket").into_inner()
    }

    pub async fn put(&self, url: &str, bytes: impl Into<reqwest::Body>) -> reqwest::Response {
        self.http.put(url).body(bytes).send().await.expect("sends")
    }

    pub async fn upload(&mut self, kind: ArtifactType, bytes: &[u8]) -> String {
        let ticket = self.ticket(kind).await;
        let answer = self.put(&ticket.artifact_presigned_url, bytes.to_vec()).await;
        assert_eq!(answer.status(), 200);
        ticket.artifact_uri
    }

    /// Registers a program under the given id, with bytes that are no key: mock Core proofs need none.
    pub async fn register(&mut self, vk_hash: [u8; 32]) {
        self.register_key(vk_hash, vec![1; 130]).await;
    }

    /// Registers a program with its verifying key.
    pub async fn register_key(&mut self, vk_hash: [u8; 32], vk: Vec<u8>) {
        let program_uri = self.upload(ArtifactType::Program, &program_upload()).await;
        let body = pb::CreateProgramBody { nonce: 0, vk_hash: vk_hash.to_vec(), vk, program_uri };
        let request = self.envelope(body.encode_to_vec());
        self.network.create_program(request).await.expect("registers");
    }

    /// Registers program `[1; 32]`, uploads an input and describes a request for both.
    pub async fn ready_to_ask(&mut self, stdin: &[u8]) -> Ask {
        self.register([1; 32]).await;
        Ask {
            vk_hash: vec![1; 32],
            version: "sp1-v6.1.0".into(),
            mode: pb::ProofMode::Core as i32,
            strategy: pb::FulfillmentStrategy::Hosted as i32,
            stdin_uri: self.upload(ArtifactType::Stdin, stdin).await,
            deadline: unix_now() + 3600,
            cycle_limit: 1_000_000,
            gas_limit: 1_000_000_000,
            nonce: 0,
            mainnet: false,
        }
    }

    pub fn body(&self, ask: &Ask) -> Vec<u8> {
        let mut body = pb::RequestProofBody {
            nonce: ask.nonce,
            vk_hash: ask.vk_hash.clone(),
            version: ask.version.clone(),
            mode: ask.mode,
            strategy: ask.strategy,
            stdin_uri: ask.stdin_uri.clone(),
            deadline: ask.deadline,
            cycle_limit: ask.cycle_limit,
            gas_limit: ask.gas_limit,
            ..pb::RequestProofBody::default()
        };
        if ask.mainnet {
            body.auctioneer = vec![0; 20];
            body.executor = vec![0; 20];
            body.verifier = vec![0; 20];
            body.base_fee = "0".into();
            body.max_price_per_pgu = "1".into();
        }
        let mut encoded = body.encode_to_vec();
        if ask.mainnet {
            prost::encoding::bytes::encode(12, &vec![0x55_u8; 32], &mut encoded);
        }
        encoded
    }

    pub async fn ask(&mut self, ask: &Ask) -> Result<Vec<u8>, Status> {
        let envelope = self.envelope(self.body(ask));
        let answer = self.network.request_proof(envelope).await?.into_inner();
        assert_eq!(answer.tx_hash.len(), 32);
        Ok(answer.body.expect("body").request_id)
    }

    pub async fn status(&mut self, id: &[u8]) -> pb::GetProofRequestStatusResponse {
        let request = pb::GetProofRequestStatusRequest { request_id: id.to_vec() };
        self.network.get_proof_request_status(request).await.expect("status").into_inner()
    }

    pub async fn details(&mut self, id: &[u8]) -> Option<pb::ProofRequest> {
        let request = pb::GetProofRequestDetailsRequest { request_id: id.to_vec() };
        let answer = self.network.get_proof_request_details(request).await.expect("details");
        answer.into_inner().request
    }

    pub async fn cancel(&mut self, id: &[u8]) -> Result<(), Status> {
        let body = pb::CancelRequestBody { nonce: 0, request_id: id.to_vec() };
        let envelope = self.envelope(body.encode_to_vec());
        self.network.cancel_request(envelope).await.map(|_| ())
    }

    /// Polls until the request is in this fulfilment status.
    pub async fn until(
        &mut self,
        id: &[u8],
        wanted: pb::FulfillmentStatus,
    ) -> pb::GetProofRequestStatusResponse {
        let waiting = async {
            loop {
                let status = self.status(id).await;
                if status.fulfillment_status == wanted as i32 {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting)
            .await
            .unwrap_or_else(|_| panic!("the request did not become {wanted:?} in time"))
    }
}

/// A Contemplant that does what a test tells it.
pub struct Worker {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub http: reqwest::Client,
    base: String,
}

pub fn hello() -> Hello {
    Hello {
        protocol: ProtocolRange::OURS,
        software_version: "0.1.0".into(),
        name: "tobit".into(),
        worker_id: WorkerId::random(),
        token: None,
        capabilities: Capabilities {
            vm: "sp1".into(),
            circuit_versions: vec!["v6.1.0".into()],
            modes: ProofMode::ALL.to_vec(),
            backend: Backend::Mock,
            slots: 1,
            memory_bytes: 1 << 30,
            gpus: vec![],
        },
        held: vec![],
    }
}

impl Worker {
    /// Connects without a handshake.
    pub async fn dial(network: &Network) -> Self {
        let url = format!("ws://{}/ws", network.http);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("connects");
        Self { socket, http: reqwest::Client::new(), base: network.url("") }
    }

    pub async fn join(network: &Network, hello: Hello) -> Self {
        let mut worker = Self::dial(network).await;
        worker.say(FromWorker::Hello(hello)).await;
        match worker.hear().await {
            Some(ToWorker::Welcome(_)) => worker,
            other => panic!("not welcome: {other:?}"),
        }
    }

    pub async fn say(&mut self, message: FromWorker) {
        self.say_text(codec::encode(&message)).await;
    }

    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("sends");
    }

    /// The next message, or `None` when the socket is closed.
    pub async fn hear(&mut self) -> Option<ToWorker> {
        let hearing = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return Some(codec::decode(text.as_str()).expect("a known message"));
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, hearing).await.expect("hears something in time")
    }

    /// The close frame's reason, after everything else that comes.
    pub async fn closing_words(&mut self) -> String {
        let hearing = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return frame.reason.to_string(),
                    Some(Ok(Message::Close(None)) | Err(_)) | None => return String::new(),
                    Some(Ok(_)) => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, hearing).await.expect("is closed in time")
    }

    pub async fn leased(&mut self) -> (LeaseId, BlobInfo) {
        loop {
            match self.hear().await {
                Some(ToWorker::Prove { lease_id, stdin, .. }) => return (lease_id, stdin),
                // About the attempt before.
                Some(ToWorker::Settled { .. }) => {}
                other => panic!("no job: {other:?}"),
            }
        }
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.base)).send().await.expect("sends")
    }

    pub async fn hand_in(&self, lease: LeaseId, proof: &[u8]) -> reqwest::StatusCode {
        let url = format!("{}{}", self.base, proof_path(lease));
        self.http.put(url).body(proof.to_vec()).send().await.expect("sends").status()
    }

    /// Takes the next job and proves it.
    pub async fn prove_next(&mut self, proof: &[u8]) -> LeaseId {
        self.prove_next_of(proof, execution()).await
    }

    /// Takes the next job and proves it, with this report of its execution.
    pub async fn prove_next_of(&mut self, proof: &[u8], execution: Execution) -> LeaseId {
        let (lease_id, _) = self.leased().await;
        assert_eq!(self.hand_in(lease_id, proof).await, 200);
        self.say(FromWorker::Completed { lease_id, execution, proof: blob(proof) }).await;
        lease_id
    }
}

/// What the pretended program commits to.
pub const PUBLIC_VALUES: &[u8] = b"public values";

pub fn execution() -> Execution {
    execution_with(PUBLIC_VALUES)
}

pub fn execution_with(public_values: &[u8]) -> Execution {
    let public_values_hash = Sha256Digest(Sha256::digest(public_values).into());
    Execution { cycles: 12_345, gas: Some(67_890), public_values_hash }
}

pub fn blob(bytes: &[u8]) -> BlobInfo {
    let sha256 = Sha256Digest(Sha256::digest(bytes).into());
    BlobInfo { size: bytes.len() as u64, sha256 }
}

/// A mock Core proof, byte for byte as SP1's mock prover makes it.
pub fn core_proof() -> Vec<u8> {
    core_proof_with(PUBLIC_VALUES)
}

/// A mock Core proof with these public values: its kind, no shards, the values, the version.
pub fn core_proof_with(public_values: &[u8]) -> Vec<u8> {
    let text = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    [&[0; 4], [0; 8].as_slice(), &text(public_values), &text(b"v6.1.0")].concat()
}

/// An upload that begins like a program, in the form of SDK 6.
pub fn program_upload() -> Vec<u8> {
    let elf = b"\x7fELF pretends to be a program";
    let wrapped = [&(elf.len() as u64).to_le_bytes(), elf.as_slice()].concat();
    zstd::encode_all(wrapped.as_slice(), 3).expect("compresses")
}

pub fn unix_now() -> u64 {
    hierophant::records::Millis::now().seconds()
}

#[track_caller]
pub fn assert_code<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err("must be refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(text), "{:?} does not say {text:?}", status.message());
}
