//! A Contemplant that does what a test tells it.

use futures_util::{SinkExt, StreamExt};
use network_lib::codec;
use network_lib::handshake::{Backend, Capabilities, Hello, ProtocolRange};
use network_lib::ids::{LeaseId, WorkerId};
use network_lib::job::{BlobInfo, Execution, ProofMode};
use network_lib::secret::Secret;
use network_lib::wire::{FromWorker, ToWorker, proof_path};
use reqwest::Method;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use crate::certificates::Trust;
use crate::{LIMIT, Reach, blob, execution};

/// A Contemplant that does what a test tells it.
pub struct Worker {
    /// Its connection.
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// For programs, inputs and proofs.
    pub http: reqwest::Client,
    /// What the latest welcome has brought; it is sent with each call.
    pub key: Option<Secret>,
    base: String,
}

/// What a mock Contemplant with one slot and every mode says first.
#[must_use]
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
            unavailable_reason: None,
        },
        held: vec![],
    }
}

impl Worker {
    /// Connects without a handshake.
    pub async fn dial(network: &impl Reach) -> Self {
        let url = format!("ws://{}/ws", network.http());
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("connects");
        let base = format!("http://{}", network.http());
        Self { socket, http: reqwest::Client::new(), key: None, base }
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
        let url = format!("wss://{}/ws", network.http());
        let connector = Some(Connector::Rustls(trust.config()));
        let (socket, _) =
            tokio_tungstenite::connect_async_tls_with_config(url, None, true, connector).await?;
        let base = format!("https://{}", network.http());
        Ok(Self { socket, http: trust.http(), key: None, base })
    }

    /// Connects and says hello, which must be welcome.
    pub async fn join(network: &impl Reach, hello: Hello) -> Self {
        Self::dial(network).await.welcome(hello).await
    }

    /// Says hello, which must be welcome.
    pub async fn welcome(self, hello: Hello) -> Self {
        let mut worker = self;
        worker.say(FromWorker::Hello(hello)).await;
        match worker.hear().await {
            Some(ToWorker::Welcome(_)) => worker,
            other => panic!("not welcome: {other:?}"),
        }
    }

    /// Sends a message.
    pub async fn say(&mut self, message: FromWorker) {
        self.say_text(codec::encode(&message)).await;
    }

    /// Sends any text.
    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("sends");
    }

    /// The next message, or `None` when the socket is closed.
    pub async fn hear(&mut self) -> Option<ToWorker> {
        let heard = self.next_message().await;
        if let Some(ToWorker::Welcome(welcome)) = &heard {
            self.key = Some(welcome.access_key.clone());
        }
        heard
    }

    async fn next_message(&mut self) -> Option<ToWorker> {
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

    /// The next job: its lease and its input. Acknowledgements of earlier messages are skipped.
    pub async fn leased(&mut self) -> (LeaseId, BlobInfo) {
        loop {
            match self.hear().await {
                Some(ToWorker::Prove { lease_id, stdin, .. }) => return (lease_id, stdin),
                Some(ToWorker::Settled { .. }) => {}
                other => panic!("no job: {other:?}"),
            }
        }
    }

    /// Fetches a path of the HTTP port.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.call(Method::GET, path).send().await.expect("sends")
    }

    /// Hands in a proof under a lease.
    pub async fn hand_in(&self, lease: LeaseId, proof: &[u8]) -> reqwest::StatusCode {
        let call = self.call(Method::PUT, &proof_path(lease));
        call.body(proof.to_vec()).send().await.expect("sends").status()
    }

    /// A call with its access key.
    pub fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let call = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => call.bearer_auth(key.reveal()),
            None => call,
        }
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
