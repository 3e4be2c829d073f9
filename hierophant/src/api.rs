//! The two ports: gRPC for SDK clients, HTTP for bytes, Contemplants and people.
//!
//! Only this module knows protobuf, HTTP and JSON; it translates to and from [`crate::records`].

pub mod auth;
pub mod classify;
pub mod grpc;
pub mod http;
pub mod urls;

use std::sync::Arc;

use auth::Authenticator;
use http::v1::model::Price;
use urls::PublicUrls;

use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::clients::Clients;
use crate::config::{AuthMode, CallsConfig, Config};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::root::{Owners, Resources};
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
    /// Whether proofs that prove nothing are taken.
    pub mock_mode: bool,
    /// What a Contemplant costs, if that is configured.
    pub price: Option<Price>,
}

impl Context {
    /// Collects what the configuration says for both ports; `http_port` is the bound one.
    #[must_use]
    pub fn new(config: &Config, http_port: u16, owners: Owners, resources: Resources) -> Self {
        let Resources { store, blobs, budget, metrics, events, webhooks, tokens } = resources;
        Self {
            owners,
            store,
            blobs,
            budget,
            metrics,
            events,
            webhooks,
            tokens,
            auth: config.auth,
            authenticator: Arc::new(Authenticator::new(config.auth, config.listed())),
            clients: Clients::new(config),
            calls: config.calls.clone(),
            urls: Arc::new(PublicUrls::new(config.public_http_url.clone(), http_port)),
            max_artifact_bytes: config.max_artifact_bytes,
            mock_mode: config.mock_mode,
            price: Price::of(&config.dashboard),
        }
    }
}
