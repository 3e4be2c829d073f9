//! Hierophant, the coordinator of a self-hosted SP1 prover network.
//!
//! Clients use the network contract of `sp1-sdk` (gRPC and HTTP). Workers connect over a WebSocket and make the
//! proofs. [`run`] is the whole program; `ARCHITECTURE.md` describes its parts.

pub mod access;
pub mod admission;
pub mod api;
pub mod artifacts;
pub mod ask;
pub mod cli;
mod clock;
pub mod config;
pub mod denials;
pub mod events;
pub mod history;
pub mod listen;
pub mod metrics;
pub mod operators;
pub mod private_files;
pub mod proofs;
pub mod rate_limit;
pub mod registry;
pub mod root;
pub mod session;
pub mod tokens;
pub mod traces;
pub mod verify;
pub mod webhooks;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::serve::{ListenerExt, TapIo};
use hierophant_store::{JobStore, StoreError};
use network_lib::task;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::access::Bound;
use crate::api::http::HttpListeners;
use crate::artifacts::blobs::Blobs;
use crate::artifacts::budget::DiskBudget;
use crate::artifacts::task_blobs::TaskBlobs;
use crate::config::Config;
use crate::events::Events;
use crate::history::History;
use crate::listen::{Accept, Acceptor, AdminSocket};
use crate::metrics::Metrics;
use crate::registry::local::LocalSecret;
use crate::root::{Resources, Root};
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;

/// Time for clients to finish their calls when Hierophant stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Idle time after which TCP probes whether the peer is reachable.
pub const KEEPALIVE: Duration = Duration::from_secs(60);

/// TCP listener. Data is sent without delay (`TCP_NODELAY`), because most messages are small and their receivers
/// wait for them. Keepalive ([`KEEPALIVE`]) detects unreachable peers.
pub type Tcp = TapIo<TcpListener, fn(&mut TcpStream)>;

/// Listeners of all ports. They are bound first, so that a test can choose them and a second Hierophant on the
/// same ports fails at once.
#[derive(Debug)]
pub struct Listeners<L = Tcp> {
    /// For SDK clients.
    pub grpc: L,
    /// For uploads, proofs, workers and, unless `operators.on_public_port` is false, operators.
    pub http: L,
    /// For operators, at `operators.admin_address`.
    pub admin: Option<L>,
    /// For operators on this machine; [`run`] binds it in the data folder.
    pub socket: Option<AdminSocket>,
}

impl<L> Listeners<L> {
    /// Listeners of the public ports alone.
    #[must_use]
    pub const fn public(grpc: L, http: L) -> Self {
        Self { grpc, http, admin: None, socket: None }
    }
}

impl Listeners {
    /// Binds the configured ports; port 0 takes any free port.
    ///
    /// # Errors
    ///
    /// When a port is in use or not permitted; the error names it.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |key: &str, address: SocketAddr| {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!(
                    "cannot listen on {address}; choose another `{key}` or stop the program \
                                        that uses it"
                )
            })?;
            anyhow::Ok(listener.tap_io(prepare as fn(&mut TcpStream)))
        };
        let public = |port| SocketAddr::new(config.bind_address, port);
        let admin = match config.operators.admin_address {
            Some(address) => Some(bind("operators.admin_address", address).await?),
            None => None,
        };
        Ok(Self {
            grpc: bind("grpc_port", public(config.grpc_port)).await?,
            http: bind("http_port", public(config.http_port)).await?,
            admin,
            socket: None,
        })
    }
}

fn prepare(stream: &mut TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&*stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        tracing::debug!(%error, "TCP options not set");
    }
}

/// Runs Hierophant until `shutdown` is cancelled.
///
/// # Errors
///
/// When the data folder cannot be used, or when a server or an actor fails.
pub async fn run(
    config: Config,
    mut listeners: Listeners,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let _lock = lock(&config.data_dir)?;
    private_files::protect(&config.data_dir);
    for (key, weakness) in config.weaknesses() {
        tracing::warn!(key, "weak configuration: `{key}` {weakness}");
    }
    match AdminSocket::bind(&config.data_dir) {
        Ok(socket) => listeners.socket = Some(socket),
        Err(error) => {
            tracing::warn!(%error, "no admin socket in the data folder; commands on this machine use the HTTP port");
        }
    }
    let blobs = open_blobs(&config).await?;
    let metrics = Metrics::new();
    // A database that is away, or whose lock another Hierophant holds, is waited for.
    let opening = shutdown.run_until_cancelled(open_store(&config, metrics.clone()));
    let Some(store) = opening.await else { return Ok(()) };
    let store = store.context("cannot use the database")?;
    run_on(store, blobs, metrics, config, listeners, shutdown).await
}

/// [`run`] with an open store, open blobs and any kind of listener, for simulations. The caller ensures that no
/// other process uses them.
///
/// # Errors
///
/// Those of [`run`].
pub async fn run_on<L: Accept>(
    store: Arc<dyn JobStore>,
    blobs: Blobs,
    metrics: Metrics,
    config: Config,
    listeners: Listeners<L>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let data = &config.data_dir;
    if store.is_new().await? && blobs.holds_any().await? {
        anyhow::bail!(
            "{} holds uploads and proofs, but the database is new; restore the database that belongs \
             to them, or move them away to start without them",
            blobs.location()
        );
    }
    artifacts::mark::check(&blobs, store.as_ref(), config.storage.accept_loss).await?;
    let (min_free, most) = (config.storage.min_free_bytes, config.storage.max_bytes);
    let budget = DiskBudget::new(data, min_free, most, store.stored_bytes().await?);
    let clients = root::clients(&config);
    let webhooks =
        Webhooks::open(&config.webhooks, store.as_ref(), &clients, metrics.clone()).await?;
    let tokens = Tokens::open(&store).await?;
    let folder = data.join("tasks");
    let tasks = TaskBlobs::open(&folder)
        .with_context(|| format!("cannot use the folder {}; make it writable", folder.display()))?;
    let local_secret = LocalSecret::create(data).with_context(|| {
        format!("cannot write into the data folder {}; make it writable", data.display())
    })?;
    let stop = CancellationToken::new();
    let keeping = tokens.keep(&stop);
    let acceptor = Acceptor::open(&config, metrics.clone(), &stop).await?;
    let resources = Resources {
        store: Arc::clone(&store),
        blobs,
        tasks,
        budget: budget.clone(),
        metrics,
        events: Events::new(config.limits.max_event_streams.get()),
        webhooks: webhooks.clone(),
        tokens: tokens.clone(),
        local_secret,
    };
    let root = Root::start(&config, resources.clone()).await?;
    let Listeners { grpc: for_clients, http: public, admin, socket } = listeners;
    let bound = Bound {
        grpc: for_clients.local_addr()?,
        http: public.local_addr()?,
        admin: admin.as_ref().map(axum::serve::Listener::local_addr).transpose()?,
        socket: socket.as_ref().map(AdminSocket::path),
    };
    let http_port = bound.http.port();
    tracing::info!("open: {}", access::summary(&config, &bound, &tokens));
    tracing::info!(grpc = %bound.grpc, http = %bound.http,
        data = %data.display(), mock_mode = config.mock_mode, tls = config.tls.is_on(),
        version = env!("CARGO_PKG_VERSION"), "Hierophant is ready");

    let handles = root.handles.clone();
    budget.watch(stop.clone());
    webhooks.deliver(&store, &clients, &stop);
    History::new(Arc::clone(&store), history_rules(&config)).start(stop.clone());
    let contexts = api::Contexts::new(&config, http_port, handles, resources);
    let grpc =
        api::grpc::serve(acceptor.clone(), for_clients, contexts.client.clone(), stop.clone());
    let mut grpc = task::spawn("grpc", grpc);
    let operators = config.operators_on_public_port();
    let listeners = HttpListeners { public, admin, socket, operators };
    let http = api::http::serve(acceptor, listeners, contexts, stop.clone());
    let mut http = task::spawn("http", http);

    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = &mut grpc => Err(early_end("gRPC", ended)),
        ended = &mut http => Err(early_end("HTTP", ended)),
        reason = root.broken() => Err(anyhow::anyhow!(reason)),
        damage = store.damaged() => Err(anyhow::Error::new(damage).context("cannot use the database")),
    };
    stop.cancel();
    root.stop().await;
    // After a failure no call can be served before the next start.
    let limit = if outcome.is_ok() { DRAIN_LIMIT } else { Duration::ZERO };
    let draining = async {
        for server in [grpc, http] {
            if !server.is_finished() {
                let _ = server.await;
            }
        }
        // The last uses of tokens are stored.
        let _ = keeping.await;
    };
    if tokio::time::timeout(limit, draining).await.is_err() {
        tracing::warn!("stop timed out with calls in progress");
    }
    store.close().await;
    tracing::info!("Hierophant has stopped");
    outcome
}

/// Rules for old records.
fn history_rules(config: &Config) -> history::Rules {
    let retention = &config.retention;
    history::Rules {
        records: retention.records,
        audit: retention.audit,
        archive: retention.archive.then(|| config.data_dir.join("archive")),
    }
}

/// Opens the database.
async fn open_store(config: &Config, metrics: Metrics) -> Result<Arc<dyn JobStore>, StoreError> {
    match &config.database_url {
        Some(url) => {
            let patience = config.storage.database_wait;
            hierophant_store::postgres::open_within(url.reveal(), patience, metrics).await
        }
        None => {
            hierophant_store::sqlite::open(&config.data_dir.join("hierophant.db"), metrics).await
        }
    }
}

/// Opens the folder or the bucket of uploads and proofs.
async fn open_blobs(config: &Config) -> anyhow::Result<Blobs> {
    let folder = config.data_dir.join("artifacts");
    match config.storage.bucket() {
        Ok(Some(settings)) => {
            Blobs::connect(&folder, &settings).await.context("cannot use the bucket")
        }
        Ok(None) => Blobs::open(&folder).with_context(|| {
            format!("cannot use the folder {}; make it writable", folder.display())
        }),
        Err(wrong) => anyhow::bail!("{}: {}", wrong.key, wrong.fault),
    }
}

/// Creates the data folder if it is missing, and locks it against a second Hierophant while the returned file is
/// open.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    private_files::create_folder(data).with_context(|| {
        let data = data.display();
        format!("cannot create the data folder {data}: expected a writable folder as `data_dir`")
    })?;
    // Not truncated: a file of another program stays intact.
    let mut options = private_files::options();
    options.write(true).create(true).truncate(false);
    let file = options.open(&path).with_context(|| {
        let path = path.display();
        format!("cannot write {path}; make the folder writable or choose another `data_dir`")
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another Hierophant uses the folder {}; stop it or choose another `data_dir`",
            data.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn early_end(
    server: &str,
    ended: Result<anyhow::Result<()>, tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("the {server} server ended unexpectedly"),
        Ok(Err(error)) => error.context(format!("the {server} server failed")),
        Err(error) => anyhow::Error::new(error).context(format!("the {server} server crashed")),
    }
}
