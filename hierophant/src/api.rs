//! The two ports: gRPC for SDK clients, HTTP for bytes, Contemplants and people.
//!
//! Only this module knows protobuf, HTTP and JSON; it translates to and from [`crate::records`].

pub mod auth;
mod certificate;
pub mod classify;
mod deadline;
pub mod grpc;
pub mod http;
pub mod urls;

use std::sync::Arc;
use std::time::Duration;

use auth::Authenticator;
use http::receive::Uploads;
use http::v1::render;
use urls::PublicUrls;

use crate::admin_model::Price;
use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::clients::Clients;
use crate::config::{AuthMode, CallsConfig, Config, PeerCertificates};
use crate::events::Events;
use crate::listen::{self, Slots};
use crate::metrics::Metrics;
use crate::operators::Operators;
use crate::root::{self, Owners, Resources};
use crate::store::JobStore;
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;

/// What every call needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// Requests, workers, artifacts.
    pub owners: Owners,
    /// For reading.
    pub store: Arc<dyn JobStore>,
    /// For streaming.
    pub blobs: Blobs,
    /// How full the disk is.
    pub budget: DiskBudget,
    /// What is measured.
    pub metrics: Metrics,
    /// Who hears of changes at once.
    pub events: Events,
    /// Who is to hear of ends.
    pub webhooks: Webhooks,
    /// Who may operate.
    pub operators: Arc<Operators>,
    /// Who has a token.
    pub tokens: Tokens,
    /// How clients are told apart.
    pub auth: AuthMode,
    /// Who may ask.
    pub authenticator: Arc<Authenticator>,
    /// Who they are by name.
    pub clients: Clients,
    /// What a single call may be.
    pub calls: CallsConfig,
    /// URLs that clients can reach.
    pub urls: Arc<PublicUrls>,
    /// Largest upload in bytes.
    pub max_artifact_bytes: u64,
    /// How many may upload at once, and how slowly.
    pub uploads: Uploads,
    /// Whether proofs that prove nothing are taken.
    pub mock_mode: bool,
    /// What a Contemplant costs, if that is configured.
    pub price: Option<Price>,
    /// How long a call may take.
    pub rpc_deadline: Duration,
    /// How long the first message of a WebSocket may take.
    pub hello_limit: Duration,
    /// WebSockets that have not said who they are.
    pub hellos: Slots,
    /// Whether Contemplants must show a certificate.
    pub worker_certificates: PeerCertificates,
    /// Whether gRPC clients must show one.
    pub client_certificates: PeerCertificates,
}

impl Context {
    /// Collects what the configuration says for both ports; `http_port` is the bound one.
    #[must_use]
    pub fn new(config: &Config, http_port: u16, owners: Owners, resources: Resources) -> Self {
        let Resources { store, blobs, budget, metrics, events, webhooks, tokens } = resources;
        let operators = Operators::new(config, tokens.clone(), Arc::clone(&store));
        let operators = Arc::new(operators);
        Self {
            owners,
            store,
            blobs,
            budget,
            metrics,
            events,
            webhooks,
            operators,
            tokens,
            auth: config.auth,
            authenticator: Arc::new(Authenticator::new(config.auth, config.listed())),
            clients: root::clients(config),
            calls: config.calls.clone(),
            urls: Arc::new(PublicUrls::new(
                config.public_http_url.clone(),
                http_port,
                config.tls.is_on(),
            )),
            max_artifact_bytes: config.max_artifact_bytes,
            uploads: Uploads::new(&config.limits),
            mock_mode: config.mock_mode,
            price: render::price(&config.dashboard),
            rpc_deadline: config.limits.rpc_deadline,
            hello_limit: config.limits.handshake_time,
            hellos: listen::handshakes(&config.limits),
            worker_certificates: config.tls.worker_certificates,
            client_certificates: config.tls.client_certificates,
        }
    }
}
