//! A worker that does what a test tells it.
//!
//! Most of its methods panic when something fails, because a test fails then. Those that return a [`Result`] are for
//! workers whose failures are results, such as those of a benchmark.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use network_lib::codec;
use network_lib::handshake::{Backend, Capabilities, Hello, ProtocolRange, Welcome};
use network_lib::ids::{LeaseId, WorkerId};
use network_lib::job::{BlobInfo, Execution, JobSpec, Phase, Progress, ProofMode};
use network_lib::local_secret;
use network_lib::secret::Secret;
use network_lib::wire::{
    FromWorker, LOCAL_SECRET_HEADER, ToWorker, WEBSOCKET_PATH, proof_path, stdin_path,
};
use reqwest::{Method, StatusCode};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_with_config};

use crate::certificates::Trust;
use crate::{LIMIT, Reach, blob, execution};

/// Maximum time for a welcome or a confirmation. Longer than [`LIMIT`], because thousands may wait for theirs at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connected worker, before or after its handshake.
pub struct Worker {
    /// Its connection.
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// HTTP client for programs, inputs and proofs.
    pub http: reqwest::Client,
    /// Access key of the latest welcome, sent with each call.
    pub key: Option<Secret>,
    /// Secret of Hierophant's data folder, if Hierophant has named the file; sent with the hello.
    pub local_secret: Option<Secret>,
    base: String,
}

/// A job as it arrived.
#[derive(Debug, Clone)]
pub struct Job {
    /// The attempt.
    pub lease: LeaseId,
    /// Program, mode and limits.
    pub spec: JobSpec,
    /// Size and digest of its input.
    pub stdin: BlobInfo,
    /// When it arrived.
    pub at: Instant,
}

/// Error when Hierophant closed the connection, or it broke.
#[derive(Debug, thiserror::Error)]
#[error("closed by Hierophant: {0:?}")]
pub struct Closed(
    /// Reason in the close frame; empty if there was none.
    pub String,
);

/// The secret in the file that Hierophant has named in its answer, if it can be read.
fn offered(upgraded: &Response) -> Option<Secret> {
    let path = upgraded.headers().get(LOCAL_SECRET_HEADER)?;
    local_secret::read_offered(path.as_bytes()).ok()
}

/// The hello of a mock worker with one slot and every mode.
#[must_use]
pub fn hello() -> Hello {
    Hello {
        protocol: ProtocolRange::OURS,
        software_version: "0.1.0".into(),
        name: "tobit".into(),
        worker_id: WorkerId::random(),
        instance: None,
        token: None,
        local_secret: None,
        capabilities: Capabilities {
            vm: "sp1".into(),
            circuit_versions: vec!["v6.1.0".into()],
            modes: ProofMode::ALL.to_vec(),
            backend: Backend::Mock,
            slots: 1,
            prefetch: 0,
            memory_bytes: 1 << 30,
            gpus: vec![],
            unavailable_reason: None,
            sharding: None,
        },
        held: vec![],
    }
}

/// Connecting and the handshake.
impl Worker {
    /// Connects without a handshake.
    pub async fn dial(network: &impl Reach) -> Self {
        Self::connect(network.http(), reqwest::Client::new()).await.expect("connects")
    }

    /// Connects under TLS without a handshake.
    ///
    /// # Errors
    ///
    /// When there is no connection, or it is not upgraded.
    pub async fn dial_under_tls(
        network: &impl Reach,
        trust: &Trust,
    ) -> Result<Self, tungstenite::Error> {
        let url = format!("wss://{}{WEBSOCKET_PATH}", network.http());
        let connector = Some(Connector::Rustls(trust.config()));
        let (socket, upgraded) =
            tokio_tungstenite::connect_async_tls_with_config(url, None, true, connector).await?;
        let base = format!("https://{}", network.http());
        let local_secret = offered(&upgraded);
        Ok(Self { socket, http: trust.http(), key: None, local_secret, base })
    }

    /// Connects and says hello, which must be welcome.
    pub async fn join(network: &impl Reach, hello: Hello) -> Self {
        Self::dial(network).await.welcome(hello).await
    }

    /// Says hello, which must be welcome.
    pub async fn welcome(mut self, hello: Hello) -> Self {
        self.say(FromWorker::Hello(hello)).await;
        match self.hear().await {
            Some(ToWorker::Welcome(_)) => self,
            other => panic!("not welcome: {other:?}"),
        }
    }

    /// Connects to an HTTP port without a handshake. The buffers are small and `http` may be shared, so that one process can have
    /// thousands.
    ///
    /// # Errors
    ///
    /// When there is no connection, or it is not upgraded.
    pub async fn connect(address: SocketAddr, http: reqwest::Client) -> Result<Self> {
        Self::connect_with(address, http, &[]).await
    }

    /// As [`Self::connect`], with these headers beside or instead of the usual ones.
    ///
    /// # Errors
    ///
    /// Those of [`Self::connect`].
    pub async fn connect_with(
        address: SocketAddr,
        http: reqwest::Client,
        headers: &[(&'static str, &str)],
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("no connection")?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let mut request = format!("ws://{address}{WEBSOCKET_PATH}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        let stream = MaybeTlsStream::Plain(stream);
        let (socket, upgraded) = client_async_with_config(request, stream, Some(config)).await?;
        let local_secret = offered(&upgraded);
        Ok(Self { socket, http, key: None, local_secret, base: format!("http://{address}") })
    }

    /// Says hello and waits for the welcome.
    ///
    /// # Errors
    ///
    /// When it is not welcome.
    pub async fn greet(&mut self, hello: Hello) -> Result<Welcome> {
        self.send(&FromWorker::Hello(hello)).await?;
        match timeout(ANSWER_LIMIT, self.receive()).await.context("no welcome in time")?? {
            ToWorker::Welcome(welcome) => Ok(welcome),
            other => bail!("not welcome: {other:?}"),
        }
    }
}

/// Messages.
impl Worker {
    /// Sends a message.
    pub async fn say(&mut self, message: FromWorker) {
        self.send(&message).await.expect("sends");
    }

    /// Sends any text.
    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("sends");
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub async fn send(&mut self, message: &FromWorker) -> Result<()> {
        let text = match message {
            FromWorker::Hello(hello) => {
                let local_secret = self.local_secret.clone();
                codec::encode(&FromWorker::Hello(Hello { local_secret, ..hello.clone() }))
            }
            _ => codec::encode(message),
        };
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Sends a heartbeat.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub async fn heartbeat(&mut self, held: Vec<LeaseId>) -> Result<()> {
        self.send(&FromWorker::Heartbeat { held, gpus: Vec::new() }).await
    }

    /// Reports that an attempt is proving.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub async fn progress(&mut self, lease_id: LeaseId, fraction: f32) -> Result<()> {
        let progress = Progress { fraction: Some(fraction), ..Progress::phase(Phase::Proving) };
        self.send(&FromWorker::Progress { lease_id, progress }).await
    }

    /// The next message. Nothing is lost if it is not awaited to its end.
    ///
    /// # Errors
    ///
    /// When the connection ends.
    pub async fn receive(&mut self) -> Result<ToWorker, Closed> {
        loop {
            let reason = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message = codec::decode(text.as_str()).expect("a known message");
                    if let ToWorker::Welcome(welcome) = &message {
                        self.key = Some(welcome.access_key.clone());
                    }
                    return Ok(message);
                }
                Some(Ok(Message::Close(frame))) => frame.map(|frame| frame.reason.to_string()),
                Some(Err(_)) | None => None,
                Some(Ok(_)) => continue,
            };
            return Err(Closed(reason.unwrap_or_default()));
        }
    }

    /// The next message, or `None` when the socket is closed.
    pub async fn hear(&mut self) -> Option<ToWorker> {
        timeout(LIMIT, self.receive()).await.expect("hears something in time").ok()
    }

    /// The close frame's reason, after everything else that comes.
    pub async fn closing_words(&mut self) -> String {
        let hearing = async {
            loop {
                if let Err(Closed(reason)) = self.receive().await {
                    return reason;
                }
            }
        };
        timeout(LIMIT, hearing).await.expect("is closed in time")
    }

    /// The next job: its lease and its input. Confirmations of earlier reports are passed over.
    pub async fn leased(&mut self) -> (LeaseId, BlobInfo) {
        loop {
            match self.hear().await {
                Some(ToWorker::Prove { lease_id, stdin, .. }) => return (lease_id, stdin),
                Some(ToWorker::Settled { .. }) => {}
                other => panic!("no job: {other:?}"),
            }
        }
    }

    /// The next job. Everything else is passed over.
    ///
    /// # Errors
    ///
    /// When the connection ends.
    pub async fn next_job(&mut self) -> Result<Job, Closed> {
        loop {
            if let ToWorker::Prove { lease_id, spec, stdin, .. } = self.receive().await? {
                return Ok(Job { lease: lease_id, spec, stdin, at: Instant::now() });
            }
        }
    }

    /// Waits for the confirmation that an attempt's end is stored.
    ///
    /// # Errors
    ///
    /// When something else comes, or the connection ends.
    pub async fn settled(&mut self, lease: LeaseId) -> Result<()> {
        match timeout(ANSWER_LIMIT, self.receive()).await.context("no confirmation in time")?? {
            ToWorker::Settled { lease_id } if lease_id == lease => Ok(()),
            other => bail!("not settled: {other:?}"),
        }
    }
}

/// Programs, inputs and proofs.
impl Worker {
    /// A call with its access key.
    pub fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let call = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => call.bearer_auth(key.reveal()),
            None => call,
        }
    }

    /// Fetches a path of the HTTP port.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.call(Method::GET, path).send().await.expect("sends")
    }

    /// Fetches a job's input, which must be the announced one.
    ///
    /// # Errors
    ///
    /// When it is refused or another.
    pub async fn input(&self, job: &Job) -> Result<Vec<u8>> {
        let answer = self.call(Method::GET, &stdin_path(job.lease)).send().await;
        let answer = answer.context("GET of an input")?;
        let status = answer.status();
        ensure!(status == 200, "an input was answered with {status}");
        let input = answer.bytes().await?.to_vec();
        ensure!(blob(&input) == job.stdin, "an input is not the announced one");
        Ok(input)
    }

    /// Hands in a proof under a lease.
    pub async fn hand_in(&self, lease: LeaseId, proof: &[u8]) -> StatusCode {
        self.upload(lease, proof.to_vec()).await.expect("sends")
    }

    /// Uploads a proof under a lease.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn upload(&self, lease: LeaseId, proof: Vec<u8>) -> reqwest::Result<StatusCode> {
        let call = self.call(Method::PUT, &proof_path(lease)).body(proof);
        call.send().await.map(|answer| answer.status())
    }

    /// Takes the next job and proves it.
    pub async fn prove_next(&mut self, proof: &[u8]) -> LeaseId {
        self.prove_next_of(proof, execution()).await
    }

    /// Takes the next job and proves it, with this report of its execution.
    ///
    /// # Panics
    ///
    /// When no job comes, or the proof is not taken.
    pub async fn prove_next_of(&mut self, proof: &[u8], execution: Execution) -> LeaseId {
        let (lease_id, _) = self.leased().await;
        assert_eq!(self.hand_in(lease_id, proof).await, 200);
        self.say(FromWorker::Completed { lease_id, execution, proof: blob(proof) }).await;
        lease_id
    }
}
