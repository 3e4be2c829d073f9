//! The connection to Hierophant, which is opened again for as long as the program runs.
//!
//! Attempts belong to the program, not to a connection: they continue while it is down, and the next handshake decides
//! which of them are still wanted. A connection is dead when it is silent, not only when its socket closes, so both
//! sides send at intervals.

mod conversation;
mod delays;
mod held;
mod idle;
mod leave;
mod reports;
mod socket;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use network_lib::handshake::{Capabilities, GpuLoad, Hello, ProtocolRange, Refusal};
use network_lib::ids::{LeaseId, WorkerId};
use network_lib::secret::Secret;
use network_lib::signal::Shutdown;
use network_lib::wire::FromWorker;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::delays::delays;
use self::held::HeldAttempts;
use self::idle::IdleClock;
use self::reports::Reports;
pub(crate) use self::socket::ConnectError;
use self::socket::{Lost, Socket};
use self::tasks::LinkedTasks;
pub(crate) use self::tasks::TasksSetup;
use crate::attempt::{JobEvent, Outcome};
use crate::config::Endpoints;
use crate::depot::results::TaskResult;
use crate::finished::FinishedProof;
use crate::metrics::{Connection, Health, Metrics};
use crate::runner::Runner;
use crate::trust::Trust;

/// A connection that lasted this long counts as healthy: the next pause is short again.
const HEALTHY_CONNECTION: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to connect after a shutdown was requested.
const MAX_LEAVING_DELAY: Duration = Duration::from_secs(1);

/// Identity of this worker, and how it connects.
pub(crate) struct Identity {
    pub(crate) endpoints: Endpoints,
    pub(crate) trust: Arc<Trust>,
    pub(crate) worker_id: WorkerId,
    pub(crate) name: String,
    pub(crate) instance: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) reconnect_max_delay: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) exit_when_idle: Option<Duration>,
}

/// What the executor offers.
pub(crate) struct Offer {
    /// Its capabilities.
    pub(crate) capabilities: watch::Receiver<Capabilities>,
    /// Load of its GPUs.
    pub(crate) gpu_loads: watch::Receiver<Vec<GpuLoad>>,
}

/// The connection, and the attempts that are held over it.
pub(crate) struct Link {
    identity: Identity,
    runner: Arc<Runner>,
    capabilities: watch::Receiver<Capabilities>,
    gpu_loads: watch::Receiver<Vec<GpuLoad>>,
    held: HeldAttempts,
    tasks: LinkedTasks,
    reports: Reports,
    events: mpsc::UnboundedReceiver<(LeaseId, JobEvent)>,
    sink: mpsc::UnboundedSender<(LeaseId, JobEvent)>,
    shutdown: Shutdown,
    /// Cancelled when the grace period is over.
    limit: CancellationToken,
    /// Why no more attempts are accepted; none while they are.
    leaving: Option<String>,
    idle: IdleClock,
    metrics: Metrics,
    health: Health,
}

/// How a connection ended.
enum End {
    /// It was lost; connect again.
    Lost(String),
    /// Hierophant has refused this worker.
    Refused(Refusal),
    /// All work is done.
    Over,
    /// The executor has failed.
    Broken,
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost.0)
    }
}

/// Connects, completes the handshake and disconnects. Returns Hierophant's software version.
///
/// # Errors
///
/// Why it cannot be reached, or why it refuses this worker.
pub(crate) async fn greet(
    websocket: &url::Url,
    trust: &Trust,
    hello: Hello,
) -> Result<String, ConnectError> {
    let (socket, welcome) = Socket::open(websocket, trust, hello).await?;
    socket.close().await;
    Ok(welcome.software_version)
}

impl Link {
    /// A link that runs attempts with `runner` and `tasks` until `shutdown`, and hands in the proofs and results that were
    /// `found` on disk.
    pub(crate) fn new(
        identity: Identity,
        runner: Arc<Runner>,
        tasks: Option<TasksSetup>,
        Offer { capabilities, gpu_loads }: Offer,
        found: (Vec<FinishedProof>, Vec<TaskResult>),
        shutdown: Shutdown,
        (metrics, health): (Metrics, Health),
    ) -> Self {
        let (sink, events) = mpsc::unbounded_channel();
        Self {
            idle: IdleClock::new(identity.exit_when_idle),
            identity,
            runner,
            capabilities,
            gpu_loads,
            held: HeldAttempts::found(found.0, found.1),
            tasks: LinkedTasks::new(tasks),
            reports: Reports::default(),
            events,
            sink,
            shutdown,
            limit: CancellationToken::new(),
            leaving: None,
            metrics,
            health,
        }
    }

    /// Connects, and reconnects, until all work is done.
    ///
    /// # Errors
    ///
    /// When a retry cannot help: Hierophant permanently refuses this worker, or the executor has failed.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let grace = self.identity.shutdown_grace;
        let countdown = leave::countdown(self.shutdown.clone(), grace, self.limit.clone());
        let outcome = tokio::select! {
            outcome = self.work() => outcome,
            never = countdown => match never {},
        };
        self.stop_attempts().await;
        outcome
    }

    async fn work(&mut self) -> anyhow::Result<()> {
        let longest = self.identity.reconnect_max_delay;
        let mut pauses = delays(longest);
        loop {
            // Ends of attempts that came meanwhile are part of the handshake.
            while let Ok((lease_id, event)) = self.events.try_recv() {
                self.record(lease_id, &event);
            }
            if self.is_done() {
                return Ok(());
            }
            let hello = self.hello();
            let Identity { endpoints, trust, .. } = &self.identity;
            let (websocket, trust) = (endpoints.websocket.clone(), Arc::clone(trust));
            let opening = async move { Socket::open(&websocket, &trust, hello).await };
            let Some(connected) = self.while_needed(opening).await else { return Ok(()) };
            let reason = match connected {
                Ok((socket, welcome)) => {
                    let start = Instant::now();
                    let _connected = self.metrics.connected();
                    let end = self.serve(socket, &welcome).await;
                    self.tasks.disconnected();
                    self.idle.pause();
                    if start.elapsed() >= HEALTHY_CONNECTION {
                        pauses = delays(longest);
                    }
                    match end {
                        End::Lost(reason) => reason,
                        End::Refused(refusal) if refusal.code.is_transient() => refusal.message,
                        End::Refused(refusal) => {
                            return Err(ConnectError::Refused(refusal).into());
                        }
                        End::Over => return Ok(()),
                        End::Broken => bail!("the prover has stopped working"),
                    }
                }
                Err(ConnectError::Refused(refusal)) if !refusal.code.is_transient() => {
                    return Err(ConnectError::Refused(refusal).into());
                }
                Err(error) => error.to_string(),
            };
            if self.capabilities.has_changed().is_err() {
                bail!("the prover has stopped working");
            }
            let mut delay = pauses.next().unwrap_or(longest);
            if self.shutdown.requested.is_cancelled() {
                delay = delay.min(MAX_LEAVING_DELAY);
            }
            let held = self.held.resumable().len();
            tracing::warn!(reason, ?delay, held, "not connected to Hierophant");
            self.health.set(Connection::Missing(reason));
            self.rest(delay).await;
        }
    }

    fn hello(&mut self) -> Hello {
        Hello {
            protocol: ProtocolRange::OURS,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.identity.name.clone(),
            worker_id: self.identity.worker_id,
            instance: self.identity.instance.clone(),
            token: self.identity.token.clone().map(Secret::from),
            local_secret: None,
            capabilities: self.capabilities.borrow_and_update().clone(),
            held: self.held.all(),
        }
    }

    /// Waits before the next attempt to connect, or until a shutdown is requested.
    async fn rest(&mut self, delay: Duration) {
        let deadline = Instant::now() + delay;
        let Shutdown { requested, .. } = self.shutdown.clone();
        let limit = self.limit.clone();
        while !self.is_done() {
            tokio::select! {
                () = limit.cancelled() => return,
                () = requested.cancelled(), if !requested.is_cancelled() => return,
                () = sleep_until(deadline) => return,
                Some((lease_id, event)) = self.events.recv() => {
                    self.record(lease_id, &event);
                }
            }
        }
    }

    /// Records an event, connected or not. Returns whether it is an end that will be reported.
    fn record(&mut self, lease_id: LeaseId, event: &JobEvent) -> bool {
        let JobEvent::Ended(outcome) = event else { return false };
        self.reports.forget(lease_id);
        let message = match outcome.clone() {
            Outcome::Completed { execution, proof } => {
                Some(FromWorker::Completed { lease_id, execution, proof })
            }
            Outcome::Failed(failure) => Some(FromWorker::Failed { lease_id, failure }),
            Outcome::Abandoned => None,
        };
        self.held.end(lease_id, message)
    }
}
