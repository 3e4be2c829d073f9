//! State shared by the handlers of calls, by audience: clients, workers, operators.

use std::sync::Arc;
use std::time::Duration;

use hierophant_admin_model::Price;
use hierophant_model::clients::Clients;
use hierophant_store::JobStore;
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};

use super::auth::Authenticator;
use super::http::v1::render;
use super::readiness::Readiness;
use super::storing::Storing;
use super::uploads::TransferLimits;
use super::urls::PublicUrls;
use crate::admission::{Admission, Locks};
use crate::artifacts::ArtifactsHandle;
use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::artifacts::task_blobs::TaskBlobs;
use crate::config::{AuthMode, CallsConfig, Config, PeerCertificates};
use crate::denials::Denials;
use crate::events::Events;
use crate::listen::{self, ConnectionLimiter};
use crate::metrics::Metrics;
use crate::operators::Operators;
use crate::proofs::ProofsHandle;
use crate::registry::RegistryHandle;
use crate::registry::local::LocalSecret;
use crate::root::{self, Handles, Resources};
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;

/// State of the handlers of client calls. Each call clones it.
pub type ClientContext = Arc<ClientState>;

/// State of the handlers of worker calls. Each call clones it.
pub type WorkerContext = Arc<WorkerState>;

/// State of the handlers of operator calls. Each call clones it.
pub type AdminContext = Arc<AdminState>;

/// What handlers of client calls need: gRPC, and uploads and downloads over HTTP.
#[derive(Debug)]
pub struct ClientState {
    /// Scheduler.
    pub proofs: ProofsHandle,
    /// Owner of artifacts.
    pub artifacts: ArtifactsHandle,
    /// Store, for reading.
    pub store: Arc<dyn JobStore>,
    /// Artifact data.
    pub blobs: Blobs,
    /// Uploads and downloads of artifact data.
    pub transfers: Transfers,
    /// Admission of requests and programs.
    pub admission: Arc<Admission>,
    /// Metrics.
    pub metrics: Metrics,
    /// Access tokens.
    pub tokens: Tokens,
    /// Log of failed authentication.
    pub denials: Denials,
    /// Authentication mode.
    pub auth: AuthMode,
    /// Client names, networks and quotas.
    pub clients: Clients,
    /// Verification of request signatures.
    pub authenticator: Arc<Authenticator>,
    /// Limits of a single call.
    pub calls: CallsConfig,
    /// Builder of artifact URLs.
    pub urls: Arc<PublicUrls>,
    /// Time limit of a call.
    pub deadline: Duration,
    /// Whether clients must present a certificate.
    pub certificates: PeerCertificates,
}

/// What handlers of worker calls need: the WebSocket handshake, and the artifact data of leases.
#[derive(Debug)]
pub struct WorkerState {
    /// Scheduler.
    pub proofs: ProofsHandle,
    /// Owner of worker connections.
    pub registry: RegistryHandle,
    /// Owner of artifacts.
    pub artifacts: ArtifactsHandle,
    /// Bytes of tasks.
    pub tasks: TaskBlobs,
    /// Uploads and downloads of artifact data.
    pub transfers: Transfers,
    /// Leases whose proofs are being stored.
    pub storing: Storing,
    /// Blobs of tasks that are being received.
    pub handing_in: Storing<(LeaseId, WorkerId, Sha256Digest)>,
    /// Metrics.
    pub metrics: Metrics,
    /// Access tokens.
    pub tokens: Tokens,
    /// The secret by which workers prove that they run on this machine.
    pub local_secret: LocalSecret,
    /// Log of failed authentication.
    pub denials: Denials,
    /// Time limit for the first message of a WebSocket.
    pub handshake_limit: Duration,
    /// Limiter of WebSockets whose handshake is pending.
    pub pending_handshakes: ConnectionLimiter,
    /// Whether workers must present a certificate.
    pub certificates: PeerCertificates,
}

/// What handlers of operator calls need: `/api/v1`, the dashboard and the status pages.
#[derive(Debug)]
pub struct AdminState {
    /// Scheduler.
    pub proofs: ProofsHandle,
    /// Owner of worker connections.
    pub registry: RegistryHandle,
    /// Store, for reading.
    pub store: Arc<dyn JobStore>,
    /// Whether requests are accepted.
    pub readiness: Readiness,
    /// Artifact data.
    pub blobs: Blobs,
    /// Bytes of tasks.
    pub tasks: TaskBlobs,
    /// Downloads of artifact data.
    pub transfers: Transfers,
    /// Free storage.
    pub budget: DiskBudget,
    /// Metrics.
    pub metrics: Metrics,
    /// Event stream.
    pub events: Events,
    /// Webhook receivers.
    pub webhooks: Webhooks,
    /// Operator sessions and the audit log.
    pub operators: Arc<Operators>,
    /// Access tokens.
    pub tokens: Tokens,
    /// Log of failed authentication.
    pub denials: Denials,
    /// Client names and quotas.
    pub clients: Clients,
    /// Whether mock proofs are accepted.
    pub mock_mode: bool,
    /// Price of a worker, if configured.
    pub price: Option<Price>,
    /// Time limit of a call.
    pub deadline: Duration,
}

/// State of uploads and downloads of artifact data, for all audiences.
#[derive(Debug, Clone)]
pub struct Transfers {
    /// Artifact data.
    pub blobs: Blobs,
    /// Free storage.
    pub budget: DiskBudget,
    /// Metrics.
    pub metrics: Metrics,
    /// Limits of uploads and downloads.
    pub limits: TransferLimits,
}

/// The contexts of all audiences.
#[derive(Debug, Clone)]
pub struct Contexts {
    /// Context of client calls.
    pub client: ClientContext,
    /// Context of worker calls.
    pub worker: WorkerContext,
    /// Context of operator calls.
    pub admin: AdminContext,
}

impl Contexts {
    /// Contexts as configured; `http_port` is the bound port.
    #[must_use]
    pub fn new(config: &Config, http_port: u16, handles: Handles, resources: Resources) -> Self {
        let Handles { proofs, registry, artifacts } = handles;
        let Resources { store, blobs, tasks, budget, metrics, events, webhooks, .. } =
            resources.clone();
        let Resources { tokens, local_secret, .. } = resources;
        let clients = root::clients(config);
        let transfers = Transfers {
            blobs: blobs.clone(),
            budget: budget.clone(),
            metrics: metrics.clone(),
            limits: TransferLimits::new(config),
        };
        let admission = Admission {
            store: Arc::clone(&store),
            blobs: blobs.clone(),
            budget: budget.clone(),
            clients: clients.clone(),
            metrics: metrics.clone(),
            max_deadline: config.calls.max_deadline,
            mock_mode: config.mock_mode,
            owners_only: config.auth != AuthMode::None,
            registering: Locks::default(),
        };
        let operators = Operators::new(config, tokens.clone(), Arc::clone(&store));
        let denials = Denials::default();
        let public_url = config.public_http_url.clone();
        let client = ClientState {
            proofs: proofs.clone(),
            artifacts: artifacts.clone(),
            store: Arc::clone(&store),
            blobs: blobs.clone(),
            transfers: transfers.clone(),
            admission: Arc::new(admission),
            metrics: metrics.clone(),
            tokens: tokens.clone(),
            denials: denials.clone(),
            auth: config.auth,
            clients: clients.clone(),
            authenticator: Arc::new(Authenticator::new(config.auth, config.listed())),
            calls: config.calls.clone(),
            urls: Arc::new(PublicUrls::new(public_url, http_port, config.tls.is_on())),
            deadline: config.limits.rpc_deadline,
            certificates: config.tls.client_certificates,
        };
        let worker = WorkerState {
            proofs: proofs.clone(),
            registry: registry.clone(),
            artifacts,
            tasks: tasks.clone(),
            transfers: transfers.clone(),
            storing: Storing::default(),
            handing_in: Storing::default(),
            metrics: metrics.clone(),
            tokens: tokens.clone(),
            local_secret,
            denials: denials.clone(),
            handshake_limit: config.limits.handshake_time,
            pending_handshakes: listen::pending_handshakes(&config.limits),
            certificates: config.tls.worker_certificates,
        };
        let admin = AdminState {
            readiness: Readiness::new(Arc::clone(&store), proofs.clone()),
            proofs,
            registry,
            store,
            blobs,
            tasks,
            transfers,
            budget,
            metrics,
            events,
            webhooks,
            operators: Arc::new(operators),
            tokens,
            denials,
            clients,
            mock_mode: config.mock_mode,
            price: render::price(&config.dashboard),
            deadline: config.limits.rpc_deadline,
        };
        Self { client: client.into(), worker: worker.into(), admin: admin.into() }
    }
}
