//! Acceptance of connections on both ports: limits in total and per address, timeouts, and TLS.
//!
//! A connection counts from its acceptance to its last byte, including WebSockets. Connections above the limit are
//! closed before any byte is read; clients see a broken connection and retry.

mod activity;
mod answers;
mod certificates;
mod connection;
mod files;
mod http;
mod limiter;
mod pace;
mod reserve;
mod socket;
mod tls;
mod x509;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use network_lib::task;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, LimitsConfig};
use crate::metrics::{Cut, Metrics, Refused};
use activity::{Activity, Times};
use certificates::Certificates;
use connection::{Connection, Raw};
use http::Served;
use pace::Rates;
use tls::Secured;

pub use answers::AnswerBudget;
pub use certificates::name_in;
pub use limiter::{ConnectionLimiter, ConnectionPermit, LimitExceeded};
pub use pace::BeyondRate;
pub use socket::{AdminSocket, OverSocket};
pub use tls::{OverTls, PeerCertificate};

/// One address may hold one in this many of what [`shared`] limits.
const ADDRESS_SHARE: usize = 4;

/// Bytes of answers that each address may hold, whatever others do.
const GUARANTEED_ANSWERS: usize = 64 * 1024;

/// Maximum number of connections on the admin listeners of this machine.
const MAX_LOCAL: usize = 256;

/// Minimum interval between log lines about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Kind of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// For SDK clients: HTTP/2 only.
    Grpc,
    /// For all other callers: HTTP/1.1 and HTTP/2.
    Http,
    /// For operators on this machine: as [`Port::Http`], without TLS.
    Local,
}

/// A listener on a port: [`crate::Tcp`], or a simulated one.
pub trait Accept: Listener<Addr = SocketAddr> {}

impl<L: Listener<Addr = SocketAddr>> Accept for L {}

/// Acceptor of connections on all ports. Clones share all state.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: LimitsConfig,
    connections: ConnectionLimiter,
    /// For workers and operators, when `connections` is used up.
    reserve: ConnectionLimiter,
    /// Connections of operators on this machine: those of strangers leave them a place.
    local: ConnectionLimiter,
    /// Bytes of answers in flight.
    answers: ConnectionLimiter,
    /// Those of [`Port::Local`], so that strangers behind a proxy on this machine leave operators theirs.
    local_answers: ConnectionLimiter,
    handshakes: ConnectionLimiter,
    rates: Rates,
    certificates: Option<Certificates>,
    metrics: Metrics,
    refusals: Mutex<Refusals>,
}

/// Refusals since the last log line.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    logged: Option<Instant>,
}

/// An accepted connection, counted until dropped.
struct Admitted {
    _permit: ConnectionPermit,
    metrics: Metrics,
}

/// The limit of `[limits]` on pending handshakes of one kind.
#[must_use]
pub fn pending_handshakes(limits: &LimitsConfig) -> ConnectionLimiter {
    shared(limits, limits.max_handshakes.get())
}

/// A limit of which one address may have a quarter, and no more than what is left, unless addresses are not limited.
#[must_use]
pub fn shared(limits: &LimitsConfig, max: usize) -> ConnectionLimiter {
    ConnectionLimiter::fair(max, address_share(limits, max))
}

/// What one address may hold of `max`; 0 = no limit.
const fn address_share(limits: &LimitsConfig, max: usize) -> usize {
    match limits.max_connections_per_address {
        0 => 0,
        _ => max.div_ceil(ADDRESS_SHARE),
    }
}

/// The budget of answers. Each address has room for a few calls with small answers, so that those of honest clients are
/// answered whatever others hold.
fn answers_of_all(limits: &LimitsConfig) -> ConnectionLimiter {
    let max = limits.max_answer_bytes;
    ConnectionLimiter::guaranteeing(max, address_share(limits, max), GUARANTEED_ANSWERS)
}

impl Acceptor {
    /// Loads the certificates, which are reloaded on changes until `stop`, and raises the limit of open files for
    /// the configured number of connections.
    ///
    /// # Errors
    ///
    /// If the certificates cannot be used.
    pub async fn open(
        config: &Config,
        metrics: Metrics,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let limits = config.limits.clone();
        let max = files::make_room(limits.max_connections.get());
        let certificates = Certificates::open(&config.tls, metrics.clone()).await?;
        if let Some(certificates) = &certificates {
            certificates.watch(stop.clone())?;
        }
        let reserved = reserve::size(max);
        let (others, each) = (max - reserved, limits.max_connections_per_address);
        Ok(Self(Arc::new(Shared {
            connections: ConnectionLimiter::new(others, each),
            reserve: shared(&limits, reserved),
            local: ConnectionLimiter::new(MAX_LOCAL, 0),
            answers: answers_of_all(&limits),
            local_answers: ConnectionLimiter::new(limits.max_answer_bytes, 0),
            handshakes: pending_handshakes(&limits),
            rates: Rates::new(&config.calls, &metrics),
            certificates,
            metrics,
            refusals: Mutex::default(),
            limits,
        })))
    }

    /// Serves until `stop` is cancelled, then waits for the requests in progress.
    pub async fn serve(
        &self,
        mut listener: impl Accept,
        port: Port,
        router: Router,
        stop: CancellationToken,
    ) {
        let connections = TaskTracker::new();
        loop {
            // After an error of the system the listener itself waits before the next try.
            let (io, peer) = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (admitted, is_reserved) = match self.permit(peer.ip(), port) {
                Ok((permit, is_reserved)) => {
                    (Admitted::new(permit, self.0.metrics.clone()), is_reserved)
                }
                Err(full) => {
                    self.refused(full.into());
                    continue;
                }
            };
            let Shared { answers, local_answers, .. } = &*self.0;
            let answers = if port == Port::Local { local_answers } else { answers };
            let budget = AnswerBudget::of(answers.clone(), peer.ip());
            let (this, router, stop) = (self.clone(), router.clone(), stop.clone());
            let limits = &self.0.limits;
            let (head, idle, stall) = (limits.head_time, limits.idle_time, limits.stall_time);
            let times = Times { head, idle, stall, unread: limits.unread_time };
            let activity = Activity::new(times);
            let pace = self.0.rates.of(port, peer.ip());
            let raw = Raw::new(io, admitted, activity.clone(), pace.clone(), limits.stall_time);
            let connection = connections.track_future(async move {
                let secured = tokio::select! {
                    secured = this.secure(raw, peer, port) => secured,
                    () = stop.cancelled() => return,
                };
                let Some(secured) = secured else { return };
                activity.begin(secured.http2);
                let Secured { connection, certificate, .. } = secured;
                let served =
                    Served { connection, activity, pace, peer, certificate, budget, is_reserved };
                let Shared { limits, metrics, .. } = &*this.0;
                http::serve(served, port, router, limits, metrics, &stop).await;
            });
            task::spawn("connection", connection);
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// Permits one more connection, and says whether it is a reserved one.
    fn permit(&self, peer: IpAddr, port: Port) -> Result<(ConnectionPermit, bool), LimitExceeded> {
        let limiter = match port {
            Port::Local => &self.0.local,
            Port::Grpc | Port::Http => &self.0.connections,
        };
        match limiter.take(peer) {
            Ok(permit) => Ok((permit, false)),
            Err(LimitExceeded::All) if port == Port::Http => {
                let reserved = self.0.reserve.take(peer).map_err(|_| LimitExceeded::All)?;
                Ok((reserved, true))
            }
            Err(full) => Err(full),
        }
    }

    /// Performs the TLS handshake, if TLS is on.
    async fn secure<I>(&self, mut raw: Raw<I>, peer: SocketAddr, port: Port) -> Option<Secured<I>>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let certificates = self.0.certificates.as_ref().filter(|_| port != Port::Local);
        let Some(certificates) = certificates else {
            let http2 = port == Port::Grpc;
            return Some(Secured { connection: Connection::Plain(raw), certificate: None, http2 });
        };
        // Before the handshake has a place and a time limit.
        if let Err(error) = raw.turn().await {
            tracing::debug!(%peer, %error, "connection closed before its TLS handshake");
            return None;
        }
        let Ok(_handshake) = self.0.handshakes.take(peer.ip()) else {
            self.refused(Refused::Handshakes);
            return None;
        };
        let handshake = tls::handshake(raw, certificates.for_port(port), port);
        match tokio::time::timeout(self.0.limits.handshake_time, handshake).await {
            Ok(Ok(secured)) => Some(secured),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
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
        let mut refusals = self.0.refusals.lock();
        refusals.count += 1;
        if refusals.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            let connections = self.0.connections.count() + self.0.reserve.count();
            tracing::warn!(
                refused = refusals.count,
                connections,
                last_reason = why.as_str(),
                "connections are refused: see [limits]"
            );
            *refusals = Refusals { count: 0, logged: Some(Instant::now()) };
        }
    }
}

impl From<LimitExceeded> for Refused {
    fn from(full: LimitExceeded) -> Self {
        match full {
            LimitExceeded::All => Self::Connections,
            LimitExceeded::Address => Self::Address,
        }
    }
}

impl Admitted {
    fn new(permit: ConnectionPermit, metrics: Metrics) -> Self {
        metrics.connection_opened();
        Self { _permit: permit, metrics }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}
