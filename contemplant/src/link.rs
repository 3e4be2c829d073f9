//! The connection to Hierophant, for as long as the program runs.
//!
//! Attempts belong to the program, not to a connection: when it breaks, they go on, and the next
//! handshake settles which of them are still wanted. Silence, not a closed socket, is what makes a
//! connection dead, so something is always being said in both directions.

mod held;
mod socket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use network_lib::handshake::{Capabilities, Hello, ProtocolRange, Welcome};
use network_lib::ids::{LeaseId, WorkerId};
use network_lib::job::{Failure, FailureClass, Phase, Progress};
use network_lib::wire::{FromWorker, ToWorker};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use self::held::HeldAttempts;
use self::socket::{ConnectError, Heard, Lost, Socket};
use crate::config::Endpoints;
use crate::executor::{EventSink, JobEvent, Outcome, failure};
use crate::runner::{Job, Runner, lease_hint};

/// After this many heartbeat intervals without a word the connection is dead.
const SILENT_INTERVALS: u32 = 4;

/// A connection that lasted this long was a good one: the next pause is short again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Progress of the same step is sent at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Progress of the same step is logged at most this often.
const PROGRESS_LOG_INTERVAL: Duration = Duration::from_secs(15);

/// How long attempts may take to stop when the program ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Who connects, and where.
pub(crate) struct Identity {
    pub(crate) endpoints: Endpoints,
    pub(crate) worker_id: WorkerId,
    pub(crate) name: String,
    pub(crate) token: Option<String>,
    pub(crate) reconnect_max_delay: Duration,
}

/// The connection and what is held over it.
pub(crate) struct Link {
    identity: Identity,
    runner: Arc<Runner>,
    capabilities: watch::Receiver<Capabilities>,
    held: HeldAttempts,
    reported: BTreeMap<LeaseId, Reported>,
    events: mpsc::UnboundedReceiver<(LeaseId, JobEvent)>,
    sink: mpsc::UnboundedSender<(LeaseId, JobEvent)>,
    shutdown: CancellationToken,
    draining: bool,
    pings: u64,
}

/// What was last told of an attempt.
struct Reported {
    phase: Phase,
    sent: Instant,
    logged: Instant,
}

/// How a connection ended.
enum End {
    /// There should be another.
    Lost(String),
    /// The work is done.
    Over,
    /// The executor cannot prove any more.
    Broken,
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost.0)
    }
}

impl Link {
    /// A link that hands its attempts to `runner` until `shutdown`.
    pub(crate) fn new(
        identity: Identity,
        runner: Arc<Runner>,
        capabilities: watch::Receiver<Capabilities>,
        shutdown: CancellationToken,
    ) -> Self {
        let (sink, events) = mpsc::unbounded_channel();
        Self {
            identity,
            runner,
            capabilities,
            held: HeldAttempts::default(),
            reported: BTreeMap::new(),
            events,
            sink,
            shutdown,
            draining: false,
            pings: 0,
        }
    }

    /// Connects, again and again, until the work is done.
    ///
    /// # Errors
    ///
    /// When trying again cannot help: Hierophant refuses this Contemplant, or its executor is broken.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let mut delays = self.delays();
        loop {
            let Some(connected) = shutdown.run_until_cancelled(self.connect()).await else { break };
            let reason = match connected {
                Ok((socket, welcome)) => {
                    let start = Instant::now();
                    let end = self.serve(socket, &welcome).await;
                    if start.elapsed() >= GOOD_CONNECTION {
                        delays = self.delays();
                    }
                    match end {
                        End::Lost(reason) => reason,
                        End::Over => break,
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
            let delay = delays.next().unwrap_or(self.identity.reconnect_max_delay);
            tracing::warn!(
                reason,
                ?delay,
                held = self.held.running(),
                "not connected to Hierophant"
            );
            if shutdown.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                break;
            }
        }
        self.held.cancel_all();
        self.wait_for_attempts().await;
        Ok(())
    }

    fn delays(&self) -> ExponentialBackoff {
        let longest = self.identity.reconnect_max_delay;
        ExponentialBuilder::new()
            .with_min_delay(longest.min(Duration::from_millis(500)))
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times()
            .build()
    }

    async fn connect(&mut self) -> Result<(Socket, Welcome), ConnectError> {
        // What has ended meanwhile is part of what is held.
        while let Ok((lease_id, event)) = self.events.try_recv() {
            self.note(lease_id, &event);
        }
        let hello = Hello {
            protocol: ProtocolRange::OURS,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.identity.name.clone(),
            worker_id: self.identity.worker_id,
            token: self.identity.token.clone(),
            capabilities: self.capabilities.borrow_and_update().clone(),
            held: self.held.resumable(),
        };
        Socket::open(&self.identity.endpoints.websocket, hello).await
    }

    /// Keeps a connection until it ends.
    async fn serve(&mut self, mut socket: Socket, welcome: &Welcome) -> End {
        tracing::info!(
            hierophant = welcome.software_version,
            protocol = welcome.protocol,
            resumed = welcome.resume.len(),
            "connected to Hierophant"
        );
        self.held.resume(&welcome.resume);
        match self.converse(&mut socket, welcome).await {
            Err(end) => end,
            Ok(()) => {
                socket.close().await;
                End::Over
            }
        }
    }

    async fn converse(&mut self, socket: &mut Socket, welcome: &Welcome) -> Result<(), End> {
        let pause = Duration::from_millis(welcome.heartbeat_interval_ms.clamp(50, 60_000));
        let mut heartbeats = interval(pause);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_heard = Instant::now();
        let shutdown = self.shutdown.clone();
        loop {
            self.send_ends(socket).await?;
            if self.draining && self.held.is_empty() {
                tracing::info!("drained: all work is done");
                return Ok(());
            }
            tokio::select! {
                () = shutdown.cancelled() => return self.leave(socket).await,
                heard = socket.hear() => {
                    last_heard = Instant::now();
                    self.handle(heard?);
                }
                Some((lease_id, event)) = self.events.recv() => {
                    self.forward(socket, lease_id, event).await?;
                }
                changed = self.capabilities.changed() => {
                    if changed.is_err() {
                        return Err(End::Broken);
                    }
                    let capabilities = self.capabilities.borrow_and_update().clone();
                    tracing::info!(modes = ?capabilities.modes, "offering");
                    socket.send(&FromWorker::CapabilitiesChanged { capabilities }).await?;
                }
                _ = heartbeats.tick() => {
                    if last_heard.elapsed() > pause * SILENT_INTERVALS {
                        return Err(End::Lost("Hierophant is silent".to_owned()));
                    }
                    self.heartbeat(socket).await?;
                }
            }
        }
    }

    fn handle(&mut self, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Pong(number) => self.held.answered(number),
            Heard::Message(ToWorker::Prove { lease_id, spec, program, stdin }) => {
                self.begin(Job { lease_id, spec, program, stdin });
            }
            Heard::Message(ToWorker::Cancel { lease_id, reason }) => {
                let known = self.held.cancel(lease_id);
                tracing::info!(lease = lease_hint(lease_id), reason, known, "attempt cancelled");
            }
            Heard::Message(ToWorker::Drain { reason }) => {
                tracing::info!(reason, held = self.held.running(), "draining");
                self.draining = true;
            }
            Heard::Message(ToWorker::Settled { lease_id }) => self.held.settled(lease_id),
            Heard::Message(ToWorker::Welcome(_) | ToWorker::Refused(_)) => {
                tracing::warn!("a handshake in the middle of a conversation is ignored");
            }
        }
    }

    fn begin(&mut self, job: Job) {
        let lease_id = job.lease_id;
        let slots = self.capabilities.borrow().slots as usize;
        let obstacle = match self.draining {
            true => Some("this Contemplant is draining"),
            false => (self.held.running() >= slots).then_some("this Contemplant has no free slot"),
        };
        let Some(cancel) = self.held.start(lease_id) else {
            tracing::warn!(lease = lease_hint(lease_id), "an attempt came twice");
            return;
        };
        if let Some(obstacle) = obstacle {
            tracing::warn!(lease = lease_hint(lease_id), obstacle, "attempt not taken");
            let failure = failure(FailureClass::Infrastructure, obstacle);
            self.held.over(lease_id, Some(FromWorker::Failed { lease_id, failure }));
            return;
        }
        let sink = EventSink::new(lease_id, self.sink.clone());
        self.runner.start(job, sink, cancel);
    }

    async fn heartbeat(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        socket.send(&FromWorker::Heartbeat { held: self.held.working_on() }).await?;
        self.pings += 1;
        socket.ping(self.pings).await
    }

    /// Tells Hierophant of the attempts that are over.
    async fn send_ends(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        while let Some(message) = self.held.next_message(self.pings + 1) {
            socket.send(&message).await?;
            self.pings += 1;
            socket.ping(self.pings).await?;
        }
        Ok(())
    }

    async fn forward(
        &mut self,
        socket: &mut Socket,
        lease_id: LeaseId,
        event: JobEvent,
    ) -> Result<(), Lost> {
        let will_be_told = self.note(lease_id, &event);
        match event {
            JobEvent::Progress(progress) if self.held.is_running(lease_id) => {
                if self.is_news(lease_id, &progress) {
                    socket.send(&FromWorker::Progress { lease_id, progress }).await?;
                }
            }
            JobEvent::Executed(execution) if self.held.is_running(lease_id) => {
                let cycles = execution.cycles;
                tracing::info!(
                    lease = lease_hint(lease_id),
                    cycles,
                    gas = execution.gas,
                    "executed"
                );
                socket.send(&FromWorker::Executed { lease_id, execution }).await?;
            }
            // Nothing will be said of it, so the heartbeat must say that the machine is free again.
            JobEvent::Ended(_) if !will_be_told => self.heartbeat(socket).await?,
            JobEvent::Progress(_) | JobEvent::Executed(_) | JobEvent::Ended(_) => {}
        }
        Ok(())
    }

    /// Takes note of an event, connected or not. Returns whether the end of an attempt will be told.
    fn note(&mut self, lease_id: LeaseId, event: &JobEvent) -> bool {
        let JobEvent::Ended(outcome) = event else { return false };
        self.reported.remove(&lease_id);
        let message = match outcome.clone() {
            Outcome::Completed { execution, proof } => {
                Some(FromWorker::Completed { lease_id, execution, proof })
            }
            Outcome::Failed(failure) => Some(FromWorker::Failed { lease_id, failure }),
            Outcome::Abandoned => None,
        };
        self.held.over(lease_id, message)
    }

    /// Whether progress is worth a message now; logs it now and then.
    fn is_news(&mut self, lease_id: LeaseId, progress: &Progress) -> bool {
        let now = Instant::now();
        let known = self.reported.get(&lease_id).filter(|last| last.phase == progress.phase);
        let is_due = known.is_none_or(|last| now - last.sent >= PROGRESS_INTERVAL);
        let is_logged = known.is_none_or(|last| now - last.logged >= PROGRESS_LOG_INTERVAL);
        let (sent, logged) = known.map_or((now, now), |last| (last.sent, last.logged));
        if is_logged {
            tracing::info!(
                lease = lease_hint(lease_id),
                phase = %progress.phase,
                fraction = progress.fraction,
                eta_seconds = progress.eta_seconds,
                "progress"
            );
        }
        let reported = Reported {
            phase: progress.phase,
            sent: if is_due { now } else { sent },
            logged: if is_logged { now } else { logged },
        };
        self.reported.insert(lease_id, reported);
        is_due
    }

    /// Gives back what is being worked on and ends the conversation.
    async fn leave(&mut self, socket: &mut Socket) -> Result<(), End> {
        let reason = "the Contemplant is shutting down".to_owned();
        socket.send(&FromWorker::Draining { reason: reason.clone() }).await?;
        for lease_id in self.held.cancel_all() {
            let failure = Failure {
                class: FailureClass::Infrastructure,
                cause: None,
                message: reason.clone(),
            };
            socket.send(&FromWorker::Failed { lease_id, failure }).await?;
        }
        self.send_ends(socket).await?;
        Ok(())
    }

    /// Gives cancelled attempts a moment to stop and clean up.
    async fn wait_for_attempts(&mut self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.held.is_busy() {
            let Ok(Some((lease_id, event))) = timeout_at(deadline, self.events.recv()).await else {
                return;
            };
            self.note(lease_id, &event);
        }
    }
}
