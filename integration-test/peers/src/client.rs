//! A client that signs and speaks the wire by hand.

use std::time::Duration;

use alloy_primitives::{Address, eip191_hash_message};
use hierophant_proto::artifact::artifact_store_client::ArtifactStoreClient;
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest, CreateArtifactResponse};
use hierophant_proto::network as pb;
use hierophant_proto::network::prover_network_client::ProverNetworkClient;
use k256::ecdsa::SigningKey;
use prost::Message as _;
use tonic::Status;
use tonic::transport::Channel;

use crate::certificates::Trust;
use crate::{LIMIT, Reach, program_upload, unix_now};

/// How a request is made; a test changes what it is about.
#[derive(Clone)]
pub struct Ask {
    /// The program.
    pub vk_hash: Vec<u8>,
    /// Circuit version with its prefix, such as `sp1-v6.1.0`.
    pub version: String,
    /// Kind of proof, by its number on the wire.
    pub mode: i32,
    /// Strategy, by its number on the wire.
    pub strategy: i32,
    /// The uploaded input.
    pub stdin_uri: String,
    /// Unix seconds.
    pub deadline: u64,
    /// Most cycles.
    pub cycle_limit: u64,
    /// Most prover gas.
    pub gas_limit: u64,
    /// The account's nonce.
    pub nonce: u64,
    /// Whether the body is that of the SDK's Mainnet mode.
    pub mainnet: bool,
    /// Digest of the public values that the client expects.
    pub public_values_hash: Option<Vec<u8>>,
}

/// A client that signs and speaks the wire by hand.
#[derive(Clone)]
pub struct Client {
    /// What it signs with.
    pub key: SigningKey,
    /// Calls about uploads.
    pub artifacts: ArtifactStoreClient<Channel>,
    /// Calls about programs and requests.
    pub network: ProverNetworkClient<Channel>,
    /// For uploads and proofs.
    pub http: reqwest::Client,
    /// Access token that it presents.
    pub token: Option<String>,
}

impl Client {
    /// Connects with the usual key.
    pub async fn connect(network: &impl Reach) -> Self {
        Self::with_key(network, 7).await
    }

    /// Connects with a key of this seed; equal seeds are the same requester.
    pub async fn with_key(network: &impl Reach, seed: u8) -> Self {
        let url = format!("http://{}", network.grpc());
        let channel = Channel::from_shared(url).expect("URL").connect().await.expect("connects");
        Self::over(channel, seed)
    }

    /// Connects with the usual key under TLS.
    ///
    /// # Panics
    ///
    /// When there is no connection.
    pub async fn under_tls(network: &impl Reach, trust: &Trust) -> Self {
        let channel = trust.channel(network.grpc()).await.expect("connects");
        Self { http: trust.http(), ..Self::over(channel, 7) }
    }

    /// A client with a key of this seed that speaks over this channel.
    pub fn over(channel: Channel, seed: u8) -> Self {
        Self {
            key: SigningKey::from_slice(&[seed; 32]).expect("key"),
            artifacts: ArtifactStoreClient::new(channel.clone()),
            network: ProverNetworkClient::new(channel),
            http: reqwest::Client::new(),
            token: None,
        }
    }

    /// A call with the client's token.
    pub fn call<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(token) = &self.token {
            let value = format!("Bearer {token}").parse().expect("a token is ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Its address, as the network recovers it.
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

    /// A body with its signature, as SDK 6 sends it.
    pub fn envelope(&self, body: Vec<u8>) -> pb::SignedRequest {
        pb::SignedRequest {
            format: pb::MessageFormat::Binary as i32,
            signature: self.sign(&body, 27),
            body,
        }
    }

    /// Opens an upload ticket.
    pub async fn ticket(&mut self, kind: ArtifactType) -> CreateArtifactResponse {
        let signature = self.sign(b"create_artifact", 54);
        let request = CreateArtifactRequest { signature, artifact_type: kind as i32 };
        let request = self.call(request);
        self.artifacts.create_artifact(request).await.expect("ticket").into_inner()
    }

    /// Uploads to a ticket's URL.
    pub async fn put(&self, url: &str, bytes: impl Into<reqwest::Body>) -> reqwest::Response {
        self.http.put(url).body(bytes).send().await.expect("sends")
    }

    /// Opens a ticket and uploads; returns the artifact's URI.
    pub async fn upload(&mut self, kind: ArtifactType, bytes: &[u8]) -> String {
        let ticket = self.ticket(kind).await;
        let answer = self.put(&ticket.artifact_presigned_url, bytes.to_vec()).await;
        assert_eq!(answer.status(), 200);
        ticket.artifact_uri
    }

    /// Registers a program under the given id.
    pub async fn register(&mut self, vk_hash: [u8; 32]) {
        self.register_key(vk_hash, vec![1; 130]).await;
    }

    /// Registers a program with its verifying key.
    ///
    /// # Panics
    ///
    /// When Hierophant refuses it.
    pub async fn register_key(&mut self, vk_hash: [u8; 32], vk: Vec<u8>) {
        let program_uri = self.upload(ArtifactType::Program, &program_upload()).await;
        let body = pb::CreateProgramBody { nonce: 0, vk_hash: vk_hash.to_vec(), vk, program_uri };
        let request = self.call(self.envelope(body.encode_to_vec()));
        self.network.create_program(request).await.expect("registers");
    }

    /// Registers program `[1; 32]`, uploads an input and describes a request for both.
    pub async fn ready_to_ask(&mut self, stdin: &[u8]) -> Ask {
        self.register([1; 32]).await;
        self.ask_for([1; 32], stdin).await
    }

    /// Uploads an input and describes a request for it and a registered program.
    pub async fn ask_for(&mut self, vk_hash: [u8; 32], stdin: &[u8]) -> Ask {
        Ask {
            vk_hash: vk_hash.to_vec(),
            version: "sp1-v6.1.0".into(),
            mode: pb::ProofMode::Core as i32,
            strategy: pb::FulfillmentStrategy::Hosted as i32,
            stdin_uri: self.upload(ArtifactType::Stdin, stdin).await,
            deadline: unix_now() + 3600,
            cycle_limit: 1_000_000,
            gas_limit: 1_000_000_000,
            nonce: 0,
            mainnet: false,
            public_values_hash: None,
        }
    }

    /// The encoded body of a request.
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
            public_values_hash: ask.public_values_hash.clone(),
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

    /// Requests a proof and returns the request's id.
    ///
    /// # Errors
    ///
    /// What Hierophant answers.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Vec<u8>, Status> {
        let envelope = self.call(self.envelope(self.body(ask)));
        let answer = self.network.request_proof(envelope).await?.into_inner();
        assert_eq!(answer.tx_hash.len(), 32);
        Ok(answer.body.expect("body").request_id)
    }

    /// Asks once how a request stands.
    pub async fn status(&mut self, id: &[u8]) -> pb::GetProofRequestStatusResponse {
        let request = pb::GetProofRequestStatusRequest { request_id: id.to_vec() };
        let request = self.call(request);
        self.network.get_proof_request_status(request).await.expect("status").into_inner()
    }

    /// Asks once for everything about a request.
    pub async fn details(&mut self, id: &[u8]) -> Option<pb::ProofRequest> {
        let request = pb::GetProofRequestDetailsRequest { request_id: id.to_vec() };
        let request = self.call(request);
        let answer = self.network.get_proof_request_details(request).await.expect("details");
        answer.into_inner().request
    }

    /// Withdraws a request.
    ///
    /// # Errors
    ///
    /// What Hierophant answers.
    pub async fn cancel(&mut self, id: &[u8]) -> Result<(), Status> {
        let body = pb::CancelRequestBody { nonce: 0, request_id: id.to_vec() };
        let envelope = self.call(self.envelope(body.encode_to_vec()));
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
