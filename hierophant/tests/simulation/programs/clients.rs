//! Clients: each requests some proofs, retries unanswered calls, and checks the answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use hierophant_proto::artifact::{ArtifactType, CreateArtifactRequest};
use hierophant_proto::network as pb;
use parking_lot::Mutex;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use test_peers::{Ask, Client, program_upload};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::content;
use super::network::{self, PATIENCE};
use super::story::Story;

/// The only program.
const PROGRAM: [u8; 32] = [1; 32];

/// Request that a client will make.
#[derive(Debug, Clone)]
pub struct Plan {
    pub content: u8,
    /// Time of the request since the start of the run.
    pub at: Duration,
    /// Time from the request to its deadline.
    pub deadline: Duration,
    /// Time from acceptance to cancellation, if it is cancelled.
    pub withdraw: Option<Duration>,
    /// Source of the pauses.
    pub seed: u64,
}

impl Plan {
    pub fn draw(rng: &mut StdRng, storm: Duration, contents: &[u8]) -> Self {
        let storm = u64::try_from(storm.as_millis()).expect("not long");
        let impatient = rng.random_bool(0.1);
        let deadline = if impatient { rng.random_range(5..40) } else { 3600 };
        let withdraws = rng.random_bool(0.1);
        Self {
            content: contents[rng.random_range(0..contents.len())],
            at: Duration::from_millis(rng.random_range(0..storm)),
            deadline: Duration::from_secs(deadline),
            withdraw: withdraws.then(|| Duration::from_millis(rng.random_range(0..20_000))),
            seed: rng.random(),
        }
    }

    pub fn is_impatient(&self) -> bool {
        self.deadline < Duration::from_secs(3600)
    }
}

/// State of a request as reported to its client.
#[derive(Debug, Clone, Default)]
pub struct Reported {
    pub id: Option<Vec<u8>>,
    /// Once the request has ended: its fulfilment status, and whether it is unexecutable. Whether the program was
    /// executed may still become known, because the job may continue for other requests.
    pub end: Option<(i32, bool)>,
    /// The request was too late to be accepted.
    pub too_late: bool,
    /// The proof was fetched.
    pub proof: bool,
}

impl Reported {
    /// Whether the request is complete.
    pub fn is_over(&self) -> bool {
        self.too_late
            || self.end.is_some_and(|(end, _)| {
                self.proof || end != pb::FulfillmentStatus::Fulfilled as i32
            })
    }
}

/// Request and its reported state.
#[derive(Debug, Clone)]
pub struct Asked {
    pub name: String,
    pub plan: Plan,
    reported: Arc<Mutex<Reported>>,
    story: Story,
}

impl Asked {
    pub fn new(name: String, plan: Plan, story: Story) -> Self {
        Self { name, plan, reported: Arc::default(), story }
    }

    pub fn reported(&self) -> Reported {
        self.reported.lock().clone()
    }

    fn note(&self, change: impl FnOnce(&mut Reported)) {
        change(&mut self.reported.lock());
    }

    fn tell(&self, line: &str) {
        self.story.tell(format!("{}: {line}", self.name));
    }

    /// Makes the request and polls it until the end of the run.
    pub async fn run(self, channel: tonic::transport::Channel, key: u8) {
        sleep(self.plan.at).await;
        let rng = StdRng::seed_from_u64(self.plan.seed);
        let mut visit = Visit { asked: self, client: Client::over(channel, key), rng };
        visit.register().await;
        if let Some((call, id)) = visit.ask().await {
            visit.watch(call, id).await;
        }
    }
}

struct Visit {
    asked: Asked,
    client: Client,
    rng: StdRng,
}

impl Visit {
    async fn pause(&mut self) {
        let pause = self.rng.random_range(200..3000);
        sleep(Duration::from_millis(pause)).await;
    }

    async fn register(&mut self) {
        let program_uri = self.upload(ArtifactType::Program, &program_upload()).await;
        let (vk_hash, vk) = (PROGRAM.to_vec(), vec![1; 130]);
        let body = pb::CreateProgramBody { nonce: 0, vk_hash, vk, program_uri };
        let envelope = self.client.envelope(body.encode_to_vec());
        while let Err(status) = sent(self.client.network.create_program(envelope.clone())).await {
            assert!(may_be_repeated(&status), "registering a program: {status:?}");
            self.pause().await;
        }
    }

    /// Uploads until it is accepted; returns the URI of the artifact.
    async fn upload(&mut self, kind: ArtifactType, bytes: &[u8]) -> String {
        let signature = self.client.sign(b"create_artifact", 54);
        let request = CreateArtifactRequest { signature, artifact_type: kind as i32 };
        let ticket = loop {
            match sent(self.client.artifacts.create_artifact(request.clone())).await {
                Ok(ticket) => break ticket,
                Err(status) => assert!(may_be_repeated(&status), "a ticket: {status:?}"),
            }
            self.pause().await;
        };
        loop {
            let durations = Duration::from_millis(self.rng.random_range(0..400));
            let url = &ticket.artifact_presigned_url;
            match network::call(Method::PUT, url, bytes.to_vec(), durations).await {
                Ok((StatusCode::OK, _)) => return ticket.artifact_uri,
                answer => may_pass(answer, "an upload"),
            }
            self.pause().await;
        }
    }

    /// Requests until there is an answer, sometimes twice: the same call is the same request.
    async fn ask(&mut self) -> Option<(pb::SignedRequest, Vec<u8>)> {
        let plan = self.asked.plan.clone();
        let stdin_uri = self.upload(ArtifactType::Stdin, &content::stdin(plan.content)).await;
        let deadline = now_seconds() + plan.deadline.as_secs();
        let ask = Ask {
            vk_hash: PROGRAM.to_vec(),
            version: "sp1-v6.1.0".into(),
            mode: pb::ProofMode::Core as i32,
            strategy: pb::FulfillmentStrategy::Hosted as i32,
            stdin_uri,
            deadline,
            cycle_limit: 1_000_000,
            gas_limit: 1_000_000_000,
            nonce: 0,
            mainnet: false,
            public_values_hash: None,
        };
        let envelope = self.client.envelope(self.client.body(&ask));
        let mut again = self.rng.random_bool(0.3);
        loop {
            match sent(self.client.network.request_proof(envelope.clone())).await {
                Ok(answer) => {
                    let id = answer.body.expect("a body").request_id;
                    let before = self.asked.reported().id;
                    assert!(before.is_none_or(|before| before == id), "the same call, another id");
                    self.asked.note(|reported| reported.id = Some(id.clone()));
                    self.asked.tell(&format!("content {} is accepted", plan.content));
                    if !again {
                        return Some((envelope, id));
                    }
                    again = false;
                }
                Err(status) => {
                    let late = status.code() == Code::InvalidArgument && now_seconds() >= deadline;
                    if late && let Some(id) = self.asked.reported().id {
                        return Some((envelope, id));
                    }
                    if late {
                        self.asked.tell("the deadline passed before it was accepted");
                        self.asked.note(|reported| reported.too_late = true);
                        return None;
                    }
                    assert!(may_be_repeated(&status), "a request: {status:?}");
                }
            }
            self.pause().await;
        }
    }

    /// Polls until the end of the run, and repeats the call after the request has ended.
    async fn watch(&mut self, call: pb::SignedRequest, id: Vec<u8>) {
        let accepted = turmoil::sim_elapsed().expect("a host");
        let mut withdraw = self.asked.plan.withdraw;
        let mut again = self.rng.random_bool(0.3);
        loop {
            self.pause().await;
            if again && self.asked.reported().is_over() {
                match sent(self.client.network.request_proof(call.clone())).await {
                    Ok(answer) => {
                        again = false;
                        let same = answer.body.expect("a body").request_id == id;
                        assert!(same, "the same call has another id when it has ended");
                    }
                    Err(status) if status.code() == Code::InvalidArgument => again = false,
                    Err(status) => assert!(may_be_repeated(&status), "once more: {status:?}"),
                }
            }
            if let Some(after) = withdraw
                && turmoil::sim_elapsed().expect("a host") >= accepted + after
                && self.withdraw(&id).await
            {
                withdraw = None;
            }
            let request = pb::GetProofRequestStatusRequest { request_id: id.clone() };
            match sent(self.client.network.get_proof_request_status(request)).await {
                Ok(status) => self.hear(status).await,
                Err(status) => assert!(may_be_repeated(&status), "a status: {status:?}"),
            }
        }
    }

    /// Whether the cancellation was answered.
    async fn withdraw(&mut self, id: &[u8]) -> bool {
        let body = pb::CancelRequestBody { nonce: 0, request_id: id.to_vec() };
        let envelope = self.client.envelope(body.encode_to_vec());
        match sent(self.client.network.cancel_request(envelope)).await {
            Ok(_) => self.asked.tell("is withdrawn"),
            Err(status) if status.code() == Code::FailedPrecondition => {
                self.asked.tell("had ended before it could be withdrawn");
            }
            Err(status) => {
                assert!(may_be_repeated(&status), "a withdrawal: {status:?}");
                return false;
            }
        }
        true
    }

    async fn hear(&mut self, status: pb::GetProofRequestStatusResponse) {
        let fulfilled = status.fulfillment_status == pb::FulfillmentStatus::Fulfilled as i32;
        let open = status.fulfillment_status == pb::FulfillmentStatus::Assigned as i32;
        let reported = self.asked.reported();
        let unexecutable = status.execution_status == pb::ExecutionStatus::Unexecutable as i32;
        let end = (status.fulfillment_status, unexecutable);
        match reported.end {
            None if open => return,
            None => {
                self.asked.tell(&format!("ends: {end:?}"));
                self.asked.note(|reported| reported.end = Some(end));
            }
            Some(before) => assert_eq!(before, end, "an end was taken back"),
        }
        let stdin = content::stdin(self.asked.plan.content);
        assert!(!unexecutable || content::fails(&stdin), "a program blamed for nothing");
        assert!(!fulfilled || !content::fails(&stdin), "a proof of what cannot be proved");
        if !fulfilled || reported.proof {
            return;
        }
        let hash = content::public_values_hash(&stdin).0.to_vec();
        assert_eq!(status.public_values_hash, Some(hash), "other public values");
        let url = status.proof_uri.expect("a fulfilled request has a proof");
        match network::call(Method::GET, &url, vec![], Duration::ZERO).await {
            Ok((StatusCode::OK, proof)) => {
                assert!(proof == content::proof(&stdin), "a wrong proof");
                self.asked.tell("has its proof");
                self.asked.note(|reported| reported.proof = true);
            }
            answer => may_pass(answer, "a proof"),
        }
    }
}

/// Answer to a call, if it arrives in time.
async fn sent<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout(PATIENCE, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

/// Whether a client would retry: the code is retryable, or there is no answer.
fn may_be_repeated(status: &Status) -> bool {
    let no_answer = std::error::Error::source(status).is_some();
    no_answer || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

/// Fails on an HTTP answer that excludes a retry.
fn may_pass(answer: Result<(StatusCode, Bytes), String>, what: &str) {
    if let Ok((status, text)) = answer {
        let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::GATEWAY_TIMEOUT].contains(&status);
        assert!(again, "{what}: {status} {}", String::from_utf8_lossy(&text));
    }
}

fn now_seconds() -> u64 {
    turmoil::since_epoch().expect("a host").as_secs()
}
