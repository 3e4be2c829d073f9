//! Tasks of a worker's connection. The reader turns frames into messages for the actors, with limits on size and
//! rate. The writer empties the session's queue.

use std::future::ready;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
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
use crate::session::inbox::Inbox;
use crate::session::outbox::{self, Outgoing};
use crate::session::{CloseReason, SessionEnd, SessionQueues};

/// Maximum frames per second in addition to [`FRAMES_PER_JOB`]. A worker sends a few; more is a fault or an attack.
const MAX_FRAMES_PER_SECOND: u64 = 200;

/// Frames that each job allows in addition: a worker whose proofs take milliseconds reports on hundreds of jobs a
/// second.
const FRAMES_PER_JOB: u64 = 10;

/// Maximum additional frames that jobs leave unused. Without it, a worker could save up for a flood.
const MAX_UNUSED_FRAMES: u64 = 10_000;

/// Maximum bytes per second in addition to [`BYTES_PER_FRAME`]. The longest heartbeat has a tenth of it.
const MAX_BYTES_PER_SECOND: u64 = 1 << 20;

/// Bytes that each frame beyond [`MAX_FRAMES_PER_SECOND`] allows in addition: more than a report on a job has.
const BYTES_PER_FRAME: u64 = 4 << 10;

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
        let SessionQueues { messages, mut close, outbox, jobs, inbox } = queues;
        let (sink, mut stream) = socket.split();
        let mut writer = task::spawn("session outbox", outbox::send_all(messages, sink));
        let ended = tokio::select! {
            // A panic ends this session and nothing else.
            ended = AssertUnwindSafe(self.read_all(&mut stream, &jobs, &inbox)).catch_unwind() => ended
                .unwrap_or_else(|_| Err(CloseReason::Dropped("session task failed".into()))),
            // Without a handle nothing can be sent.
            reason = close.recv() => Err(reason.unwrap_or(CloseReason::Stopping)),
        };
        match ended {
            Ok(end) => self.registry.session_ended(self.worker, self.session, end),
            Err(reason) => {
                tracing::debug!(reason = reason.text(), "session closed");
                let end = SessionEnd::from(&reason);
                let close = Outgoing::Close(reason);
                let queued = outbox.upgrade().is_none_or(|outbox| outbox.try_send(close).is_ok());
                self.registry.session_ended(self.worker, self.session, end);
                if !queued {
                    // The worker does not read, so that no reason reaches it: the socket is dropped.
                    writer.abort();
                    return;
                }
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
        inbox: &Arc<Inbox>,
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
            let bytes = match &frame {
                Message::Text(text) => text.len(),
                Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
                Message::Close(_) => 0,
            };
            rate.allows(Instant::now(), jobs.load(Ordering::Relaxed), bytes)
                .map_err(CloseReason::Protocol)?;
            inbox.heard();
            match frame {
                Message::Text(text) => {
                    let message = codec::decode(text.as_str())
                        .map_err(|error| CloseReason::Protocol(error.to_string()))?;
                    self.dispatch(message, inbox).await?;
                }
                Message::Binary(_) => {
                    let binary = "binary frames are not part of the protocol";
                    return Err(CloseReason::Protocol(binary.into()));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(frame) => {
                    let why = frame.map(|frame| sanitize::message(&frame.reason));
                    let why = why.filter(|why| !why.is_empty()).map(|why| format!(": {why}"));
                    let why = why.unwrap_or_default();
                    return Ok(SessionEnd::Left(format!("closed by the worker{why}")));
                }
            }
        }
    }

    /// Forwards a message to the actor that it concerns, or puts it into the inbox.
    async fn dispatch(&self, message: FromWorker, inbox: &Arc<Inbox>) -> Result<(), CloseReason> {
        let (worker, session) = (self.worker, self.session);
        let most = inbox.max_held();
        match message {
            FromWorker::Hello(_) => {
                return Err(CloseReason::Protocol("second handshake on one connection".into()));
            }
            FromWorker::Heartbeat { held, gpus } => {
                if held.len() > most {
                    let excess = format!(
                        "a heartbeat lists {} attempts: expected at most {most}",
                        held.len()
                    );
                    return Err(CloseReason::Protocol(excess));
                }
                if inbox.put_gpus(gpus) {
                    self.registry.gpu_loads(worker, session, Arc::clone(inbox));
                }
                if inbox.put_held(held) {
                    self.proofs.reported(worker, session, Arc::clone(inbox));
                }
            }
            FromWorker::CapabilitiesChanged { mut capabilities } => {
                sanitize::capabilities(&mut capabilities);
                inbox.has_places(sanitize::places(&capabilities));
                let turn = inbox.turn().await;
                self.registry.capabilities_changed(worker, session, capabilities, turn);
            }
            FromWorker::Progress { lease_id, mut progress } => {
                sanitize::progress(&mut progress);
                let Some(is_news) = inbox.put_progress(lease_id, progress) else {
                    let excess = format!("progress of more than {most} attempts at once");
                    return Err(CloseReason::Protocol(excess));
                };
                if is_news {
                    self.proofs.reported(worker, session, Arc::clone(inbox));
                }
            }
            FromWorker::Executed { lease_id, execution } => {
                self.proofs.executed(worker, lease_id, execution, inbox.turn().await);
            }
            FromWorker::Completed { lease_id, execution, proof } => {
                self.proofs.completed(worker, lease_id, execution, proof, inbox.turn().await);
            }
            FromWorker::Failed { lease_id, mut failure } => {
                sanitize::failure(&mut failure);
                self.proofs.failed(worker, lease_id, failure, inbox.turn().await);
            }
            FromWorker::Task(word) => {
                if !word.is_within_limits() {
                    let excess = "a message about tasks has too many entries".to_owned();
                    return Err(CloseReason::Protocol(excess));
                }
                self.proofs.task_word(worker, word, inbox.turn().await);
            }
            FromWorker::Draining { reason } => {
                let reason = sanitize::message(&reason);
                self.registry.draining(worker, session, reason, inbox.turn().await);
            }
        }
        Ok(())
    }
}

/// Counts frames and their bytes in windows of one second.
struct Rate {
    window: Instant,
    /// Frames in this window.
    frames: u64,
    /// Bytes in this window.
    bytes: u64,
    /// Additional frames that the jobs so far allow and that are not used.
    unused: u64,
    /// Number of jobs in `unused`.
    jobs: u64,
}

impl Rate {
    const fn new(now: Instant) -> Self {
        Self { window: now, frames: 0, bytes: 0, unused: 0, jobs: 0 }
    }

    /// Counts another frame of `bytes` bytes, after `jobs` jobs in total; fails if it exceeds a limit.
    fn allows(&mut self, now: Instant, jobs: u64, bytes: usize) -> Result<(), String> {
        if now.duration_since(self.window) >= Duration::from_secs(1) {
            (self.window, self.frames, self.bytes) = (now, 0, 0);
        }
        let allowed = jobs.saturating_sub(self.jobs).saturating_mul(FRAMES_PER_JOB);
        self.unused = self.unused.saturating_add(allowed).min(MAX_UNUSED_FRAMES);
        self.jobs = jobs;
        self.frames += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let additional = self.frames.saturating_sub(MAX_FRAMES_PER_SECOND);
        let most = MAX_BYTES_PER_SECOND.saturating_add(additional.saturating_mul(BYTES_PER_FRAME));
        if self.bytes > most {
            return Err(format!("more than {MAX_BYTES_PER_SECOND} bytes per second"));
        }
        if additional > 0 && self.unused == 0 {
            return Err(format!("more than {MAX_FRAMES_PER_SECOND} frames per second"));
        }
        if additional > 0 {
            self.unused -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
