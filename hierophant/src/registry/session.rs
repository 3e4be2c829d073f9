//! Tasks of a worker's connection. The reader turns frames into messages for the actors, with limits on size and
//! rate. The writer empties the session's queue.

use std::future::ready;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::SplitStream;
use futures_util::{FutureExt, StreamExt};
use hierophant_model::sanitize;
use hierophant_scheduler::SessionId;
use network_lib::codec;
use network_lib::ids::WorkerId;
use network_lib::task;
use network_lib::wire::FromWorker;
use tokio::time::Instant;

use super::RegistryHandle;
use crate::proofs::ProofsHandle;
use crate::session::outbox::{self, Outgoing};
use crate::session::{CloseReason, SessionEnd, SessionQueues};

/// Maximum frames per second in addition to [`FRAMES_PER_JOB`]. A worker sends a few; more is a fault or an attack.
const MAX_FRAMES_PER_SECOND: u64 = 200;

/// Frames that each job allows in addition: a worker whose proofs take milliseconds reports on hundreds of jobs a
/// second.
const FRAMES_PER_JOB: u64 = 10;

/// Maximum additional frames that jobs leave unused. Without it, a worker could save up for a flood.
const MAX_UNUSED_FRAMES: u64 = 10_000;

/// Maximum frames that are read during the close handshake.
const MAX_CLOSING_FRAMES: usize = 200;

/// Maximum time for the close handshake; then the socket is dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Session of an admitted worker.
#[derive(Debug)]
pub struct Session {
    /// The worker.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
    /// Its address.
    pub peer: IpAddr,
    /// Receives liveness and capabilities.
    pub registry: RegistryHandle,
    /// Receives messages about attempts.
    pub proofs: ProofsHandle,
}

impl Session {
    /// Starts the tasks on `socket`. Their log lines are in the span `session`.
    pub fn start(self, socket: WebSocket, queues: SessionQueues) {
        let span = tracing::info_span!("session", worker_id = %self.worker,
            session = %self.session, peer = %self.peer);
        span.in_scope(|| task::spawn("session", self.run(socket, queues)));
    }

    async fn run(self, socket: WebSocket, queues: SessionQueues) {
        let SessionQueues { messages, mut close, outbox, jobs } = queues;
        let (sink, mut stream) = socket.split();
        let mut writer = task::spawn("session outbox", outbox::send_all(messages, sink));
        let ended = tokio::select! {
            // A panic ends this session and nothing else.
            ended = AssertUnwindSafe(self.read_all(&mut stream, &jobs)).catch_unwind() => ended
                .unwrap_or_else(|_| Err(CloseReason::Dropped("session task failed".into()))),
            // Without a handle nothing can be sent.
            reason = close.recv() => Err(reason.unwrap_or(CloseReason::Stopping)),
        };
        match ended {
            Ok(end) => self.registry.session_ended(self.worker, self.session, end),
            Err(reason) => {
                tracing::debug!(reason = reason.text(), "session closed");
                let end = SessionEnd::from(&reason);
                // A full queue means that the worker does not read: then the socket is dropped.
                if let Some(outbox) = outbox.upgrade() {
                    let _ = outbox.try_send(Outgoing::Close(reason));
                }
                self.registry.session_ended(self.worker, self.session, end);
                // Unread data would reset the connection before the worker has read the reason.
                let unread = (&mut stream).take(MAX_CLOSING_FRAMES);
                let read = unread.take_while(|frame| ready(frame.is_ok())).for_each(|_| ready(()));
                let _ = tokio::time::timeout(CLOSE_LIMIT, read).await;
            }
        }
        if tokio::time::timeout(CLOSE_LIMIT, &mut writer).await.is_err() {
            writer.abort();
        }
    }

    /// Reads until the socket ends, or the worker breaks the protocol.
    async fn read_all(
        &self,
        socket: &mut SplitStream<WebSocket>,
        jobs: &AtomicU64,
    ) -> Result<SessionEnd, CloseReason> {
        let mut rate = Rate::new(Instant::now());
        loop {
            let frame = match socket.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let error = error.to_string();
                    // The WebSocket library's text for a frame or message beyond its limits.
                    if error.starts_with("Space limit exceeded") {
                        return Err(CloseReason::Protocol(error));
                    }
                    return Ok(SessionEnd::Disconnected(error));
                }
                None => return Ok(SessionEnd::Disconnected("socket closed".into())),
            };
            if !rate.allows(Instant::now(), jobs.load(Ordering::Relaxed)) {
                let excess = format!("more than {MAX_FRAMES_PER_SECOND} frames per second");
                return Err(CloseReason::Protocol(excess));
            }
            match frame {
                Message::Text(text) => {
                    let message = codec::decode(text.as_str())
                        .map_err(|error| CloseReason::Protocol(error.to_string()))?;
                    self.registry.heard(self.worker, self.session);
                    self.dispatch(message)?;
                }
                Message::Binary(_) => {
                    let binary = "binary frames are not part of the protocol";
                    return Err(CloseReason::Protocol(binary.into()));
                }
                Message::Ping(_) | Message::Pong(_) => {
                    self.registry.heard(self.worker, self.session);
                }
                Message::Close(frame) => {
                    let why = frame.map(|frame| sanitize::message(&frame.reason));
                    let why = why.filter(|why| !why.is_empty()).map(|why| format!(": {why}"));
                    let why = why.unwrap_or_default();
                    return Ok(SessionEnd::Left(format!("closed by the worker{why}")));
                }
            }
        }
    }

    /// Forwards a message to the actor that it concerns.
    fn dispatch(&self, message: FromWorker) -> Result<(), CloseReason> {
        let (worker, session) = (self.worker, self.session);
        match message {
            FromWorker::Hello(_) => {
                return Err(CloseReason::Protocol("second handshake on one connection".into()));
            }
            FromWorker::Heartbeat { held, gpus } => {
                self.registry.gpu_loads(worker, session, gpus);
                self.proofs.held_leases(worker, session, held);
            }
            FromWorker::CapabilitiesChanged { capabilities } => {
                self.registry.capabilities_changed(worker, session, capabilities);
            }
            FromWorker::Progress { lease_id, progress } => {
                self.proofs.progressed(worker, lease_id, progress);
            }
            FromWorker::Executed { lease_id, execution } => {
                self.proofs.executed(worker, lease_id, execution);
            }
            FromWorker::Completed { lease_id, execution, proof } => {
                self.proofs.completed(worker, lease_id, execution, proof);
            }
            FromWorker::Failed { lease_id, mut failure } => {
                failure.message = sanitize::message(&failure.message);
                self.proofs.failed(worker, lease_id, failure);
            }
            FromWorker::Draining { reason } => {
                self.registry.draining(worker, session, sanitize::message(&reason));
            }
        }
        Ok(())
    }
}

/// Counts frames in windows of one second.
struct Rate {
    window: Instant,
    /// Frames in this window.
    frames: u64,
    /// Additional frames that the jobs so far allow and that are not used.
    unused: u64,
    /// Number of jobs in `unused`.
    jobs: u64,
}

impl Rate {
    const fn new(now: Instant) -> Self {
        Self { window: now, frames: 0, unused: 0, jobs: 0 }
    }

    /// Whether another frame is within the limit, after `jobs` jobs in total.
    fn allows(&mut self, now: Instant, jobs: u64) -> bool {
        if now.duration_since(self.window) >= Duration::from_secs(1) {
            (self.window, self.frames) = (now, 0);
        }
        let allowed = jobs.saturating_sub(self.jobs).saturating_mul(FRAMES_PER_JOB);
        self.unused = self.unused.saturating_add(allowed).min(MAX_UNUSED_FRAMES);
        self.jobs = jobs;
        self.frames += 1;
        if self.frames <= MAX_FRAMES_PER_SECOND {
            return true;
        }
        let is_allowed = self.unused > 0;
        self.unused = self.unused.saturating_sub(1);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_allow_further_frames_once() {
        let now = Instant::now();
        let mut rate = Rate::new(now);
        assert!((0..MAX_FRAMES_PER_SECOND).all(|_| rate.allows(now, 0)));
        assert!((0..3 * FRAMES_PER_JOB).all(|_| rate.allows(now, 3)));
        let later = now + Duration::from_secs(1);
        assert!((0..MAX_FRAMES_PER_SECOND).all(|_| rate.allows(later, 3)));
        assert!(!rate.allows(later, 3), "what the three jobs allowed is used up");
    }

    #[test]
    fn what_jobs_leave_unused_is_bounded() {
        let now = Instant::now();
        let mut rate = Rate::new(now);
        let jobs = 10 * MAX_UNUSED_FRAMES;
        let allowed = MAX_FRAMES_PER_SECOND + MAX_UNUSED_FRAMES;
        assert!((0..allowed).all(|_| rate.allows(now, jobs)));
        assert!(!rate.allows(now, jobs));
    }
}
