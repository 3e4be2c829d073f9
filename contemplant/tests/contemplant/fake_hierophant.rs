//! Hierophant's side of the wire, played by a test: it receives messages and sends those of the test.

pub(crate) mod blobs;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::StatusCode;
use network_lib::codec;
use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::{LeaseId, Sha256Digest, VkHash};
use network_lib::job::{BlobInfo, JobSpec, ProofMode};
use network_lib::secret::Secret;
use network_lib::shard::TaskFromWorker;
use network_lib::wire::{FromWorker, ToWorker};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::blobs::Blobs;
use self::server::serve;
use crate::waiting::{PATIENCE, until};

pub(crate) struct FakeHierophant {
    pub(crate) address: SocketAddr,
    connections: mpsc::UnboundedReceiver<Connection>,
    shared: Shared,
    /// Ends the server that runs now.
    gone: CancellationToken,
}

/// What HTTP serves and has got.
#[derive(Default)]
struct Files {
    /// By path: the bytes, and how often they are first answered with an error.
    served: BTreeMap<String, (Vec<u8>, Vec<StatusCode>)>,
    /// How long it pauses in the middle of a file.
    serving: Duration,
    proofs: BTreeMap<String, Vec<u8>>,
    /// How many proofs have arrived, accepted or not.
    uploads: usize,
    refuse_proofs: Vec<StatusCode>,
    /// How many of the next proofs are answered like those of an attempt that has ended.
    end_leases: usize,
    /// Why Hierophant itself accepts no proof.
    reject_proofs: Option<String>,
    /// How long it stores a proof before it answers.
    storing: Duration,
    /// Of the latest welcome.
    key: Option<Secret>,
    /// How many calls came with another key.
    turned_away: usize,
    withhold_settled: bool,
    blobs: Blobs,
    /// File that is named when a connection is upgraded, as that of the local secret.
    local_secret_file: Option<String>,
}

/// One worker's socket.
pub(crate) struct Connection {
    pub(crate) hello: Hello,
    heard: mpsc::UnboundedReceiver<FromWorker>,
    say: mpsc::UnboundedSender<Say>,
    shared: Shared,
}

enum Say {
    Text(String),
    /// Neither read nor write any more, but keep the socket.
    BeSilent,
}

#[derive(Clone)]
struct Shared {
    connections: mpsc::UnboundedSender<Connection>,
    files: Arc<Mutex<Files>>,
}

impl FakeHierophant {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::unbounded_channel();
        let shared = Shared { connections: sender, files: Arc::default() };
        let gone = serve(listener, shared.clone());
        Self { address, connections, shared, gone }
    }

    /// Ends `connection` and the server: from here on connections are refused.
    pub(crate) async fn vanish(&mut self, connection: Connection) {
        self.gone.cancel();
        drop(connection);
        let closed = async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, closed).await.expect("the server does not end");
    }

    /// Comes back to the same address with all that it knew.
    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.gone = serve(listener, self.shared.clone());
    }

    /// Whether ends are confirmed at once from here on, as at the beginning, or not at all.
    pub(crate) fn withhold_settled(&self, withhold: bool) {
        self.files().withhold_settled = withhold;
    }

    /// Names a file as that of the local secret from here on.
    pub(crate) fn name_secret_file(&self, path: &std::path::Path) {
        self.files().local_secret_file = Some(path.display().to_string());
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.shared.files.lock().unwrap()
    }

    /// The next worker that connects and introduces itself.
    pub(crate) async fn accept(&mut self) -> Connection {
        timeout(PATIENCE, self.connections.recv()).await.expect("a connection").unwrap()
    }

    /// The next worker, welcomed; its attempts in `resume` continue.
    pub(crate) async fn welcome(&mut self, resume: &[LeaseId]) -> Connection {
        let connection = self.accept().await;
        connection.welcome(resume);
        connection
    }

    /// The next worker, welcomed to a conversation about tasks; its attempts in `resume` continue.
    pub(crate) async fn welcome_tasks(&mut self, resume: &[LeaseId]) -> Connection {
        let connection = self.accept().await;
        connection.welcome_as(3, resume);
        connection
    }

    /// Puts a job's files in place. Returns the order to prove it.
    pub(crate) fn lease(&self, program: &[u8], stdin: &[u8]) -> (LeaseId, ToWorker) {
        let lease_id = LeaseId::random();
        let mut files = self.files();
        for (what, bytes) in [("program", program), ("stdin", stdin)] {
            files.served.insert(format!("{lease_id}/{what}"), (bytes.to_vec(), Vec::new()));
        }
        let spec = JobSpec {
            vk_hash: VkHash([7; 32]),
            circuit_version: "v6.1.0".to_owned(),
            mode: ProofMode::Core,
            cycle_limit: u64::MAX,
            gas_limit: 0,
        };
        let (program, stdin) = (blob_info(program), blob_info(stdin));
        (lease_id, ToWorker::Prove { lease_id, spec, program, stdin, traceparent: None })
    }

    /// Answers the next requests for a file with these errors.
    pub(crate) fn fail_file(&self, lease_id: LeaseId, what: &str, errors: &[StatusCode]) {
        let mut files = self.files();
        files.served.get_mut(&format!("{lease_id}/{what}")).unwrap().1 = errors.to_vec();
    }

    /// Answers the next proofs with these errors.
    pub(crate) fn refuse_proofs(&self, errors: &[StatusCode]) {
        self.files().refuse_proofs = errors.to_vec();
    }

    /// Answers that many proofs as Hierophant answers those of an attempt that has ended.
    pub(crate) fn end_leases(&self, times: usize) {
        self.files().end_leases = times;
    }

    /// Rejects all proofs for this reason, as Hierophant itself does.
    pub(crate) fn reject_proofs(&self, reason: &str) {
        self.files().reject_proofs = Some(reason.to_owned());
    }

    /// Pauses that long in the middle of each file.
    pub(crate) fn serve_slowly(&self, serving: Duration) {
        self.files().serving = serving;
    }

    /// Answers each proof that late.
    pub(crate) fn store_slowly(&self, storing: Duration) {
        self.files().storing = storing;
    }

    /// How many proofs have arrived, accepted or not.
    pub(crate) fn uploads(&self) -> usize {
        self.files().uploads
    }

    /// Waits until proofs were answered as often as [`Self::end_leases`] says.
    pub(crate) async fn expect_ended_leases(&self) {
        until(|| self.files().end_leases == 0).await.expect("no proof comes");
    }

    /// Does not know the key of the latest welcome any more.
    pub(crate) fn forget_key(&self) {
        self.files().key = None;
    }

    /// Waits until `count` calls were rejected for their key.
    pub(crate) async fn expect_turned_away(&self, count: usize) {
        let waited = until(|| self.turned_away() >= count).await;
        waited.expect("no call with an outdated key comes");
    }

    /// How many calls were turned away for their key.
    pub(crate) fn turned_away(&self) -> usize {
        self.files().turned_away
    }

    pub(crate) fn proof(&self, lease_id: LeaseId) -> Option<Vec<u8>> {
        self.files().proofs.get(&lease_id.to_string()).cloned()
    }
}

impl Connection {
    /// The answer to its handshake; its attempts in `resume` continue.
    pub(crate) fn welcome(&self, resume: &[LeaseId]) {
        self.welcome_as(2, resume);
    }

    /// The answer to its handshake in this version of the protocol.
    pub(crate) fn welcome_as(&self, protocol: u16, resume: &[LeaseId]) {
        let access_key = Secret::random();
        self.shared.files.lock().unwrap().key = Some(access_key.clone());
        self.say(&ToWorker::Welcome(Welcome {
            protocol,
            software_version: "fake".to_owned(),
            heartbeat_interval_ms: 100,
            access_key,
            resume: resume.to_vec(),
        }));
    }

    pub(crate) fn say(&self, message: &ToWorker) {
        self.say_text(codec::encode(message));
    }

    pub(crate) fn say_text(&self, text: String) {
        self.say.send(Say::Text(text)).unwrap();
    }

    pub(crate) fn be_silent(&self) {
        self.say.send(Say::BeSilent).unwrap();
    }

    /// Waits for a message that `pick` wants; others are passed over.
    pub(crate) async fn expect<T>(&mut self, pick: impl Fn(&FromWorker) -> Option<T>) -> T {
        let wait = async {
            loop {
                let message = self.heard.recv().await.expect("the connection is gone");
                if let Some(picked) = pick(&message) {
                    return picked;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the message does not come")
    }

    /// The next message about tasks; others are passed over.
    pub(crate) async fn next_task(&mut self) -> TaskFromWorker {
        self.expect(|message| match message {
            FromWorker::Task(message) => Some(message.clone()),
            _ => None,
        })
        .await
    }

    /// Waits for the end of an attempt.
    pub(crate) async fn expect_end(&mut self, lease: LeaseId) -> FromWorker {
        self.expect(|message| match message {
            FromWorker::Completed { lease_id, .. } | FromWorker::Failed { lease_id, .. } => {
                (*lease_id == lease).then(|| message.clone())
            }
            _ => None,
        })
        .await
    }

    /// Waits for a heartbeat that names exactly these attempts.
    pub(crate) async fn expect_held(&mut self, leases: &[LeaseId]) {
        self.expect(|message| match message {
            FromWorker::Heartbeat { held, .. } => (held == leases).then_some(()),
            _ => None,
        })
        .await;
    }

    /// Waits until the worker has closed the socket, and returns what it said before.
    pub(crate) async fn rest(mut self) -> Vec<FromWorker> {
        let wait = async {
            let mut messages = Vec::new();
            while let Some(message) = self.heard.recv().await {
                messages.push(message);
            }
            messages
        };
        timeout(PATIENCE, wait).await.expect("the worker does not leave")
    }
}

pub(crate) fn blob_info(bytes: &[u8]) -> BlobInfo {
    BlobInfo { size: bytes.len() as u64, sha256: Sha256Digest(Sha256::digest(bytes).into()) }
}
