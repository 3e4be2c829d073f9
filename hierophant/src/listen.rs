//! Both ports as strangers meet them: how many may come, in all and from one address, how long they may take,
//! and under which certificate they are served.
//!
//! A connection counts from its acceptance until its last byte, a WebSocket included. Who comes when there are
//! too many is closed at once: every client sees a broken connection then, and tries again.

mod activity;
mod certificates;
mod connection;
mod files;
mod http;
mod slots;
mod tls;
mod x509;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use network_lib::task;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, LimitsConfig};
use crate::metrics::{Cut, Metrics, Refused};
use activity::{Activity, Times};
use certificates::Certificates;
use connection::{Connection, Raw};
use http::Served;
use tls::Secured;

pub use certificates::name_in;
pub use slots::{Full, Slot, Slots};
pub use tls::{OverTls, PeerCertificate};

/// Of handshakes, one address may have this part.
const SHARE_OF_HANDSHAKES: usize = 4;

/// How often the log says that connections are refused.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// One of the two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// For SDK clients: HTTP/2 only.
    Grpc,
    /// For everybody else: HTTP/1.1 and HTTP/2.
    Http,
}

/// What accepts connections on a port: [`crate::Tcp`], or what a simulation has in its place.
pub trait Accept: Listener<Addr = SocketAddr> {}

impl<L: Listener<Addr = SocketAddr>> Accept for L {}

/// Who guards both ports. Clones share everything.
#[derive(Debug, Clone)]
pub struct Doors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: LimitsConfig,
    connections: Slots,
    handshakes: Slots,
    certificates: Option<Certificates>,
    metrics: Metrics,
    refusals: Mutex<Refusals>,
}

/// What was refused since the log said so.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    said: Option<Instant>,
}

/// A connection that counts; another may come when it is dropped.
struct Admitted {
    _slot: Slot,
    metrics: Metrics,
}

/// Handshakes of one kind, as `[limits]` bounds them.
#[must_use]
pub fn handshakes(limits: &LimitsConfig) -> Slots {
    let most = limits.max_handshakes.get();
    let each = match limits.max_connections_per_address {
        0 => 0,
        _ => most.div_ceil(SHARE_OF_HANDSHAKES),
    };
    Slots::new(most, each)
}

impl Doors {
    /// Reads the certificates, which are read again when they change until `stop`, and makes room for as many
    /// open connections as are configured.
    ///
    /// # Errors
    ///
    /// When the certificates cannot be used.
    pub async fn open(
        config: &Config,
        metrics: Metrics,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let limits = config.limits.clone();
        let most = files::make_room(limits.max_connections.get());
        let certificates = Certificates::open(&config.tls, metrics.clone()).await?;
        if let Some(certificates) = &certificates {
            certificates.watch(stop.clone())?;
        }
        Ok(Self(Arc::new(Shared {
            connections: Slots::new(most, limits.max_connections_per_address),
            handshakes: handshakes(&limits),
            certificates,
            metrics,
            refusals: Mutex::default(),
            limits,
        })))
    }

    /// Serves until `stop` is cancelled and the requests in progress have ended.
    pub async fn serve(
        &self,
        mut listener: impl Accept,
        port: Port,
        router: Router,
        stop: CancellationToken,
    ) {
        let connections = TaskTracker::new();
        loop {
            // A listener waits a moment by itself when the system lets nobody in.
            let (io, peer) = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let admitted = match self.0.connections.take(peer.ip()) {
                Ok(slot) => Admitted::new(slot, self.0.metrics.clone()),
                Err(full) => {
                    self.refused(full.into());
                    continue;
                }
            };
            let (this, router, stop) = (self.clone(), router.clone(), stop.clone());
            let limits = &self.0.limits;
            let (head, idle, stall) = (limits.head_time, limits.idle_time, limits.stall_time);
            let activity = Activity::new(Times { head, idle, stall });
            let raw = Raw::new(io, admitted, activity.clone(), limits.stall_time);
            let connection = connections.track_future(async move {
                let secured = tokio::select! {
                    secured = this.secure(raw, peer, port) => secured,
                    () = stop.cancelled() => return,
                };
                let Some(secured) = secured else { return };
                activity.begin(secured.http2);
                let Secured { connection, certificate, .. } = secured;
                let served = Served { connection, activity, peer, certificate };
                let Shared { limits, metrics, .. } = &*this.0;
                http::serve(served, port, router, limits, metrics, &stop).await;
            });
            task::spawn("connection", connection);
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// The connection under TLS, if TLS is on.
    async fn secure<I>(&self, raw: Raw<I>, peer: SocketAddr, port: Port) -> Option<Secured<I>>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let Some(certificates) = &self.0.certificates else {
            let http2 = port == Port::Grpc;
            return Some(Secured { connection: Connection::Plain(raw), certificate: None, http2 });
        };
        let Ok(_handshake) = self.0.handshakes.take(peer.ip()) else {
            self.refused(Refused::Handshakes);
            return None;
        };
        let handshake = tls::handshake(raw, certificates.for_port(port), port);
        match tokio::time::timeout(self.0.limits.handshake_time, handshake).await {
            Ok(Ok(secured)) => Some(secured),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "a TLS handshake has failed");
                self.0.metrics.connection_cut(Cut::Handshake);
                None
            }
            Err(_) => {
                self.0.metrics.connection_cut(Cut::Handshake);
                None
            }
        }
    }

    fn refused(&self, why: Refused) {
        self.0.metrics.connection_refused(why);
        let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.count += 1;
        if refusals.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            let connections = self.0.connections.taken();
            tracing::warn!(
                refused = refusals.count,
                connections,
                last_reason = why.as_str(),
                "connections are refused: see [limits]"
            );
            *refusals = Refusals { count: 0, said: Some(Instant::now()) };
        }
    }
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        match full {
            Full::All => Self::Connections,
            Full::Address => Self::Address,
        }
    }
}

impl Admitted {
    fn new(slot: Slot, metrics: Metrics) -> Self {
        metrics.connection_opened();
        Self { _slot: slot, metrics }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}
