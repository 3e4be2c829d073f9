//! The routes of workers over a scripted scheduler and registry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hierophant_model::clients::Clients;
use hierophant_scheduler::proofs::{HandIn, LeaseAccess, TaskBlob};
use hierophant_store::sqlite;
use http_body_util::BodyExt;
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TokenId, WorkerId};
use network_lib::job::BlobInfo;
use network_lib::shard::blob_path;
use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::api::Contexts;
use crate::api::http::for_workers;
use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::artifacts::task_blobs::TaskBlobs;
use crate::ask::reply;
use crate::config::Config;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::proofs::ProofsHandle;
use crate::proofs::message::ProofsMsg;
use crate::registry::local::LocalSecret;
use crate::registry::message::RegistryMsg;
use crate::registry::{KeyHolder, RegistryHandle};
use crate::root::{Resources, Root};
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;

pub(super) const JOB: JobId = JobId([1; 16]);
pub(super) const LEASE: LeaseId = LeaseId([2; 16]);

/// Workers, by the access keys "1" and "2".
pub(super) const WORKERS: [WorkerId; 2] = [WorkerId([3; 16]), WorkerId([4; 16])];

/// Largest blob that may be handed in.
pub(super) const MOST: u64 = 1 << 20;

/// What the scheduler answers, and what was reported to it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) task_blob: TaskBlob,
    pub(super) may_hand_in: bool,
    pub(super) counts: bool,
    pub(super) access: Option<LeaseAccess>,
    pub(super) token: Option<TokenId>,
    pub(super) handed_in: Vec<(LeaseId, WorkerId, BlobInfo)>,
    pub(super) missing: Vec<(JobId, Sha256Digest)>,
    /// Number of questions for a blob.
    pub(super) asked: usize,
}

type Shared = Arc<Mutex<Script>>;

struct Scheduler;

#[ractor::async_trait]
impl Actor for Scheduler {
    type Msg = ProofsMsg;
    type State = Shared;
    type Arguments = Shared;

    async fn pre_start(
        &self,
        _myself: ActorRef<ProofsMsg>,
        script: Shared,
    ) -> Result<Shared, ActorProcessingErr> {
        Ok(script)
    }

    async fn handle(
        &self,
        _myself: ActorRef<ProofsMsg>,
        message: ProofsMsg,
        script: &mut Shared,
    ) -> Result<(), ActorProcessingErr> {
        let mut script = script.lock();
        match message {
            ProofsMsg::TaskBlob(_, _, _, port) => {
                script.asked += 1;
                reply(port, script.task_blob);
            }
            ProofsMsg::MayHandIn(_, _, _, port) => {
                let permission = HandIn { job: JOB, most_bytes: MOST };
                reply(port, script.may_hand_in.then_some(permission));
            }
            ProofsMsg::HandedIn(lease, worker, _, blob, port) => {
                script.handed_in.push((lease, worker, blob));
                reply(port, script.counts);
            }
            ProofsMsg::TaskBlobMissing(job, blob) => script.missing.push((job, blob)),
            ProofsMsg::LeaseAccess(_, _, port) => reply(port, script.access),
            other => panic!("unexpected: {other:?}"),
        }
        Ok(())
    }
}

struct Registry;

#[ractor::async_trait]
impl Actor for Registry {
    type Msg = RegistryMsg;
    type State = Shared;
    type Arguments = Shared;

    async fn pre_start(
        &self,
        _myself: ActorRef<RegistryMsg>,
        script: Shared,
    ) -> Result<Shared, ActorProcessingErr> {
        Ok(script)
    }

    async fn handle(
        &self,
        _myself: ActorRef<RegistryMsg>,
        message: RegistryMsg,
        script: &mut Shared,
    ) -> Result<(), ActorProcessingErr> {
        let RegistryMsg::KeyHolder(key, port) = message else { return Ok(()) };
        let worker = match key.reveal() {
            "1" => Some(WORKERS[0]),
            "2" => Some(WORKERS[1]),
            _ => None,
        };
        let token = script.lock().token;
        reply(port, worker.map(|worker| KeyHolder { worker, token, is_local: false }));
        Ok(())
    }
}

/// Hierophant's routes of workers.
pub(super) struct Harness {
    pub(super) script: Shared,
    pub(super) tasks: TaskBlobs,
    pub(super) tokens: Tokens,
    pub(super) folder: TempDir,
    proofs: ProofsHandle,
    routes: Router,
    _root: Root,
}

impl Harness {
    pub(super) async fn start() -> Self {
        let folder = TempDir::new().expect("temp dir");
        let mut config = Config::for_test(folder.path().to_owned());
        config.limits.upload_window = Duration::from_secs(600);
        let store = sqlite::open(&folder.path().join("hierophant.db"), ()).await.expect("opens");
        let store: Arc<dyn hierophant_store::JobStore> = store;
        let blobs = Blobs::open(&folder.path().join("artifacts")).expect("opens");
        let tasks = TaskBlobs::open(&folder.path().join("tasks")).expect("opens");
        let metrics = Metrics::new();
        let clients = Clients::default();
        let webhooks = Webhooks::open(&[], store.as_ref(), &clients, metrics.clone());
        let tokens = Tokens::open(&store).await.expect("reads");
        let resources = Resources {
            store: Arc::clone(&store),
            blobs: blobs.clone(),
            tasks: tasks.clone(),
            budget: DiskBudget::new(folder.path(), 0, None, 0),
            metrics,
            events: Events::new(1),
            webhooks: webhooks.await.expect("opens"),
            tokens: tokens.clone(),
            local_secret: LocalSecret::create(folder.path()).expect("writes"),
        };
        let root = Root::start(&config, resources.clone()).await.expect("starts");
        let script = Arc::new(Mutex::new(Script {
            task_blob: TaskBlob::Refused,
            may_hand_in: true,
            counts: true,
            access: None,
            token: None,
            handed_in: Vec::new(),
            missing: Vec::new(),
            asked: 0,
        }));
        let (proofs, _) = Actor::spawn(None, Scheduler, Arc::clone(&script)).await.expect("starts");
        let (registry, _) =
            Actor::spawn(None, Registry, Arc::clone(&script)).await.expect("starts");
        let context = Contexts::new(&config, 0, root.handles.clone(), resources).worker;
        let mut context = Arc::into_inner(context).expect("only held here");
        let proofs = ProofsHandle::for_test(proofs, store, blobs);
        context.proofs = proofs.clone();
        context.registry = RegistryHandle::for_test(registry);
        let routes = for_workers(context.into());
        Self { script, tasks, tokens, folder, proofs, routes, _root: root }
    }

    /// Answer to a call with an access key.
    pub(super) async fn call(&self, key: &str, request: Request<Body>) -> Answer {
        let response = self.respond(key, request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Answer to a call with an access key, whose body is not read yet.
    pub(super) async fn respond(
        &self,
        key: &str,
        mut request: Request<Body>,
    ) -> axum::response::Response {
        let address = SocketAddr::from(([192, 0, 2, 1], 7000));
        request.extensions_mut().insert(ConnectInfo(address));
        let key = format!("Bearer {key}").parse().expect("a header");
        request.headers_mut().insert("authorization", key);
        self.routes.clone().oneshot(request).await.expect("answers")
    }

    /// Fetches a blob by the first worker.
    pub(super) async fn fetch(&self, blob: Sha256Digest) -> Answer {
        self.call("1", get(blob)).await
    }

    /// Hands in bytes by a worker, under their digest.
    pub(super) async fn hand_in(&self, key: &str, bytes: &[u8]) -> Answer {
        self.call(key, put(digest(bytes), bytes)).await
    }

    /// Blobs that were reported as missing.
    pub(super) async fn missing(&self) -> Vec<(JobId, Sha256Digest)> {
        // Messages are handled in their order.
        let blob = Sha256Digest([0; 32]);
        self.proofs.may_hand_in(LEASE, WORKERS[0], blob).await.expect("answers");
        self.script.lock().missing.clone()
    }

    /// Number of files that are being received.
    pub(super) fn staged(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("tasks/tmp")).expect("lists").count()
    }
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

pub(super) fn info(bytes: &[u8]) -> BlobInfo {
    BlobInfo { size: bytes.len() as u64, sha256: digest(bytes) }
}

pub(super) fn get(blob: Sha256Digest) -> Request<Body> {
    let request = Request::builder().uri(blob_path(LEASE, blob));
    request.body(Body::empty()).expect("a request")
}

pub(super) fn put(blob: Sha256Digest, bytes: &[u8]) -> Request<Body> {
    let request = Request::builder().method(Method::PUT).uri(blob_path(LEASE, blob));
    let request = request.header("content-length", bytes.len());
    request.body(Body::from(bytes.to_vec())).expect("a request")
}

/// A request without a length whose body begins with these bytes and does not end.
pub(super) fn stalled(blob: Sha256Digest, bytes: &[u8]) -> Request<Body> {
    let begin = stream::iter([Ok::<_, std::io::Error>(Bytes::copy_from_slice(bytes))]);
    let body = Body::from_stream(begin.chain(stream::pending()));
    let request = Request::builder().method(Method::PUT).uri(blob_path(LEASE, blob));
    request.body(body).expect("a request")
}
