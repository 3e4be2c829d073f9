//! Clients that are made by the thousand. Unlike a test's client they report what fails instead of
//! panicking, because a failure is a result here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use k256::ecdsa::SigningKey;
use network_lib::job::ProofMode;
use prost::Message as _;
use sha2::{Digest, Sha256};
use test_peers::{Ask, Client, Reach, core_proof_with, unix_now};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use crate::program::Program;

/// Program that all requests are for.
const PROGRAM: [u8; 32] = [1; 32];

/// Longest wait for a proof.
const PROOF_LIMIT: Duration = Duration::from_secs(120);

/// First and longest pause between two polls of one request; it doubles in between. The SDK waits two
/// seconds each time, which would hide what is measured.
const POLLS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(320));

/// Numbers for jobs: each its own, so that none joins another.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// Numbers that no earlier run has used, as far as the clock can tell: they begin with the milliseconds of
    /// today's time.
    #[must_use]
    pub fn from_now() -> Self {
        Self(Arc::new(AtomicU64::new(unix_now() * 1000)))
    }

    /// One that was not given before.
    #[must_use]
    pub fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A client on a connection of its own.
#[derive(Clone)]
pub struct Requester {
    client: Client,
    numbers: Numbers,
    template: Option<Ask>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its proof lies there.
    Fulfilled(String),
    /// Without a proof.
    Otherwise,
}

/// What one request went through.
#[derive(Debug, Clone, Copy)]
pub struct Lifecycle {
    /// From the first call to the last byte.
    pub whole: Duration,
    /// How often its status was asked for.
    pub polls: u32,
}

impl Requester {
    /// Connects; `seed` decides its key.
    ///
    /// # Errors
    ///
    /// When there is no connection.
    pub async fn connect(
        network: &impl Reach,
        http: &reqwest::Client,
        seed: u32,
        numbers: &Numbers,
    ) -> Result<Self> {
        let url = format!("http://{}", network.grpc());
        let channel = Channel::from_shared(url)?.connect().await.context("no connection")?;
        let mut client = Client::over(channel, 7);
        client.http = http.clone();
        let key: [u8; 32] = Sha256::digest(seed.to_be_bytes()).into();
        client.key = SigningKey::from_slice(&key).context("no key")?;
        Ok(Self { client, numbers: numbers.clone(), template: None })
    }

    /// Registers the program, uploads an input that all of its requests share from then on, and describes
    /// a request for both.
    ///
    /// # Errors
    ///
    /// When anything of it is refused.
    pub async fn prepare(&mut self) -> Result<()> {
        let program = self.upload(ArtifactType::Program, test_peers::program_upload()).await?;
        let body = pb::CreateProgramBody {
            nonce: 0,
            vk_hash: PROGRAM.to_vec(),
            vk: vec![1; 130],
            program_uri: program,
        };
        let envelope = self.client.envelope(body.encode_to_vec());
        self.client.network.create_program(envelope).await.context("CreateProgram")?;
        self.share_input(b"one input for all").await
    }

    /// The same where the program is registered already.
    ///
    /// # Errors
    ///
    /// When anything of it is refused.
    pub async fn share_input(&mut self, input: &[u8]) -> Result<()> {
        let uri = self.upload(ArtifactType::Stdin, input.to_vec()).await?;
        self.template = Some(template(uri));
        Ok(())
    }

    /// Opens a ticket and uploads; the artifact's URI.
    ///
    /// # Errors
    ///
    /// When either is refused.
    pub async fn upload(
        &mut self,
        kind: ArtifactType,
        bytes: impl Into<reqwest::Body>,
    ) -> Result<String> {
        let signature = self.client.sign(b"create_artifact", 54);
        let ticket = CreateArtifactRequest { signature, artifact_type: kind as i32 };
        let ticket = self.client.artifacts.create_artifact(ticket).await;
        let ticket = ticket.context("CreateArtifact")?.into_inner();
        let sent = self.client.http.put(&ticket.artifact_presigned_url).body(bytes).send().await;
        let status = sent.context("PUT of an upload")?.status();
        ensure!(status == 200, "an upload was answered with {status}");
        Ok(ticket.artifact_uri)
    }

    /// Requests a proof of the shared input, as a job of its own; its id.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn ask(&mut self) -> Result<Vec<u8>> {
        let template = self.template.clone().context("not prepared")?;
        // The limit makes it another job, the deadline another request, so that one upload does for all.
        let number = self.numbers.draw();
        let (cycle_limit, deadline) = (template.cycle_limit + number, template.deadline + number);
        self.request(&Ask { cycle_limit, deadline, ..template }).await
    }

    async fn request(&mut self, ask: &Ask) -> Result<Vec<u8>> {
        self.client.ask(ask).await.context("RequestProof")
    }

    /// Registers a program.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn register(&mut self, program: &Program) -> Result<()> {
        let program_uri = self.upload(ArtifactType::Program, program.body.clone()).await?;
        let (vk_hash, vk) = (program.vk_hash.0.to_vec(), program.vk.clone());
        let body = pb::CreateProgramBody { nonce: 0, vk_hash, vk, program_uri };
        let envelope = self.client.envelope(body.encode_to_vec());
        self.client.network.create_program(envelope).await.context("CreateProgram")?;
        Ok(())
    }

    /// Uploads an input and requests a proof of a registered program with it, as a job of its own; its id.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn ask_for(
        &mut self,
        program: &Program,
        mode: ProofMode,
        number: u32,
    ) -> Result<Vec<u8>> {
        let uri = self.upload(ArtifactType::Stdin, program.input(number)).await?;
        let template = template(uri);
        let vk_hash = program.vk_hash.0.to_vec();
        // Limits far above what anything needs, and another one each time.
        let cycle_limit = (1 << 50) + self.numbers.draw();
        let mode = mode as i32 + 1;
        self.request(&Ask { vk_hash, mode, cycle_limit, gas_limit: 1 << 60, ..template }).await
    }

    /// Polls until a request has ended, with the same pause each time.
    ///
    /// # Errors
    ///
    /// When a call fails.
    pub async fn until_ended(&mut self, id: &[u8], pause: Duration) -> Result<End> {
        loop {
            match self.status(id).await? {
                (status, Some(uri)) if status == pb::FulfillmentStatus::Fulfilled as i32 => {
                    return Ok(End::Fulfilled(uri));
                }
                (status, _) if status == pb::FulfillmentStatus::Assigned as i32 => {}
                _ => return Ok(End::Otherwise),
            }
            sleep(pause).await;
        }
    }

    /// Asks once how a request stands: its fulfilment status, and its proof's URI.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub async fn status(&mut self, id: &[u8]) -> Result<(i32, Option<String>)> {
        let request = pb::GetProofRequestStatusRequest { request_id: id.to_vec() };
        let answer = self.client.network.get_proof_request_status(request).await;
        let answer = answer.context("GetProofRequestStatus")?.into_inner();
        Ok((answer.fulfillment_status, answer.proof_uri))
    }

    /// What a client does for one proof before it waits: ticket, upload of an input of its own, request; its id.
    ///
    /// # Errors
    ///
    /// When a call fails.
    pub async fn submit(&mut self, input_bytes: usize) -> Result<Vec<u8>> {
        let input = input(self.numbers.draw(), input_bytes);
        let uri = self.upload(ArtifactType::Stdin, input).await?;
        self.request(&template(uri)).await
    }

    /// Everything that a client does for one proof: ticket, upload of an input of its own, nonce, request,
    /// polls, download. The proof must be that of its own input, byte for byte.
    ///
    /// # Errors
    ///
    /// When a call fails, the proof does not come, or it is another one.
    pub async fn whole_lifecycle(&mut self, input_bytes: usize) -> Result<Lifecycle> {
        let began = Instant::now();
        let input = input(self.numbers.draw(), input_bytes);
        let expected = expected_proof(&input);
        let uri = self.upload(ArtifactType::Stdin, input).await?;
        let address = self.client.address().to_vec();
        let nonce = self.client.network.get_nonce(pb::GetNonceRequest { address }).await;
        let nonce = nonce.context("GetNonce")?.into_inner().nonce;
        let id = self.request(&Ask { nonce, ..template(uri) }).await?;
        let waiting = self.until_fulfilled(&id);
        let (proof, polls) = timeout(PROOF_LIMIT, waiting).await.context("no proof in time")??;
        let got = self.download(&proof).await?;
        ensure!(got == expected, "the proof is not that of the request's input");
        Ok(Lifecycle { whole: began.elapsed(), polls })
    }

    /// Polls until a request is fulfilled: the URI of its proof, and how many polls that took.
    ///
    /// # Errors
    ///
    /// When it ends otherwise.
    pub async fn until_fulfilled(&mut self, id: &[u8]) -> Result<(String, u32)> {
        let mut pause = POLLS.0;
        for polls in 1.. {
            match self.status(id).await? {
                (status, Some(uri)) if status == pb::FulfillmentStatus::Fulfilled as i32 => {
                    return Ok((uri, polls));
                }
                (status, _) if status == pb::FulfillmentStatus::Assigned as i32 => {}
                (status, _) => bail!("a request has the fulfilment status {status}"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(POLLS.1);
        }
        bail!("polled indefinitely")
    }

    /// Downloads a small artifact.
    ///
    /// # Errors
    ///
    /// When it is not given out whole.
    pub async fn download(&self, uri: &str) -> Result<Vec<u8>> {
        let answer = self.client.http.get(uri).send().await.context("GET of a proof")?;
        let status = answer.status();
        ensure!(status == 200, "a proof was answered with {status}");
        Ok(answer.bytes().await.context("GET of a proof")?.to_vec())
    }
}

/// The proof that a mock Contemplant makes of an input: its public values are the input's digest, so no
/// other request's proof is taken for it.
#[must_use]
pub fn expected_proof(input: &[u8]) -> Vec<u8> {
    core_proof_with(&public_values_of(input))
}

/// What the pretended program commits to.
#[must_use]
pub fn public_values_of(input: &[u8]) -> [u8; 32] {
    Sha256::digest(input).into()
}

/// An input of this length that no other number has.
fn input(number: u64, length: usize) -> Vec<u8> {
    let mut input = number.to_be_bytes().to_vec();
    input.resize(length.max(8), number as u8);
    input
}

fn template(stdin_uri: String) -> Ask {
    Ask {
        vk_hash: PROGRAM.to_vec(),
        version: "sp1-v6.1.0".into(),
        mode: pb::ProofMode::Core as i32,
        strategy: pb::FulfillmentStrategy::Hosted as i32,
        stdin_uri,
        deadline: unix_now() + 24 * 3600,
        cycle_limit: 1_000_000,
        gas_limit: 1_000_000_000,
        nonce: 0,
        mainnet: false,
        public_values_hash: None,
    }
}
