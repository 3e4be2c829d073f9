//! The exchange of messages over one connection.

use std::time::Duration;

use network_lib::handshake::Welcome;
use network_lib::ids::LeaseId;
use network_lib::job::{Failure, FailureClass};
use network_lib::wire::{FromWorker, ToWorker};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::leave::SHUTTING_DOWN;
use super::socket::{Heard, Lost, Socket};
use super::{End, Link};
use crate::attempt::{Job, JobEvent};
use crate::executor::EventSink;
use crate::metrics::Connection;

/// Number of silent heartbeat intervals after which the connection is dead.
const SILENT_INTERVALS: u32 = 4;

impl Link {
    /// Serves a connection until it ends.
    pub(super) async fn serve(&mut self, mut socket: Socket, welcome: &Welcome) -> End {
        tracing::info!(
            hierophant = welcome.software_version,
            protocol = welcome.protocol,
            resumed = welcome.resume.len(),
            "connected to Hierophant"
        );
        self.health.set(Connection::Established);
        self.runner.admitted(welcome.access_key.clone());
        self.resume(&welcome.resume);
        self.tasks.connected(welcome.protocol);
        match self.converse(&mut socket, welcome).await {
            Err(end) => end,
            Ok(()) => {
                socket.close().await;
                End::Over
            }
        }
    }

    /// Resumes the attempts that Hierophant wants, and drops the rest.
    fn resume(&mut self, wanted: &[LeaseId]) {
        let resumption = self.held.resume(wanted);
        for lease_id in resumption.unwanted {
            tracing::info!(lease = lease_id.hint(), "an attempt is no longer wanted");
            self.runner.abandon(lease_id);
            self.tasks.abandon(lease_id);
        }
        self.resume_tasks(resumption.results, &resumption.discarded);
        for (proof, cancel) in resumption.finished {
            tracing::info!(lease = proof.lease_id.hint(), "handing in an earlier proof");
            let sink = EventSink::new(proof.lease_id, self.sink.clone());
            self.runner.resume(proof, sink, cancel);
        }
        for lease_id in resumption.unknown {
            tracing::warn!(lease = lease_id.hint(), "a wanted attempt is not held by this worker");
            let failure = Failure::new(
                FailureClass::Infrastructure,
                "the attempt is not held by this worker",
            );
            self.held.end(lease_id, Some(FromWorker::Failed { lease_id, failure }));
        }
    }

    async fn converse(&mut self, socket: &mut Socket, welcome: &Welcome) -> Result<(), End> {
        let pause = Duration::from_millis(welcome.heartbeat_interval_ms.clamp(50, 60_000));
        let mut heartbeats = interval(pause);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_heard = Instant::now();
        let mut announced = false;
        let (requested, limit) = (self.shutdown.requested.clone(), self.limit.clone());
        loop {
            if self.leaving.is_none() && requested.is_cancelled() {
                tracing::info!(
                    held = self.held.running().len(),
                    grace = ?self.identity.shutdown_grace,
                    "finishing the held attempts; a second signal hands them back at once"
                );
                self.leaving = Some(SHUTTING_DOWN.to_owned());
            }
            self.leave_if_idle();
            if self.leaving.is_some() && !announced {
                announced = true;
                self.announce(socket).await?;
            }
            self.send_ends(socket).await?;
            if self.is_done() {
                tracing::info!("drained: all work is done");
                return Ok(());
            }
            tokio::select! {
                biased;
                () = requested.cancelled(), if self.leaving.is_none() => {}
                () = limit.cancelled() => return self.hand_back(socket).await,
                () = self.idle.over(), if self.leaving.is_none() => {}
                _ = heartbeats.tick() => {
                    if last_heard.elapsed() > pause * SILENT_INTERVALS {
                        return Err(End::Lost("Hierophant is silent".to_owned()));
                    }
                    self.heartbeat(socket).await?;
                }
                heard = socket.hear() => {
                    last_heard = Instant::now();
                    match heard? {
                        Heard::Message(ToWorker::Refused(refusal)) => {
                            return Err(End::Refused(refusal));
                        }
                        heard => self.handle(heard),
                    }
                }
                changed = self.capabilities.changed() => {
                    if changed.is_err() {
                        return Err(End::Broken);
                    }
                    let mut capabilities = self.capabilities.borrow_and_update().clone();
                    if !self.tasks.are_supported() {
                        capabilities.sharding = None;
                    }
                    let reason = capabilities.unavailable_reason.as_deref();
                    tracing::info!(modes = ?capabilities.modes, reason, "offering");
                    socket.send(&FromWorker::CapabilitiesChanged { capabilities }).await?;
                }
                Some((lease_id, event)) = self.events.recv() => {
                    self.forward(socket, lease_id, event).await?;
                }
                message = self.tasks.next() => self.send_task(socket, message).await?,
            }
        }
    }

    pub(super) fn handle(&mut self, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Message(ToWorker::Prove { lease_id, spec, program, stdin, traceparent }) => {
                self.begin(Job { lease_id, spec, program, stdin, traceparent });
            }
            Heard::Message(ToWorker::Cancel { lease_id, reason }) => {
                let known = self.held.cancel(lease_id);
                tracing::info!(lease = lease_id.hint(), reason, known, "attempt cancelled");
                self.runner.abandon(lease_id);
                self.tasks.abandon(lease_id);
            }
            Heard::Message(ToWorker::Settled { lease_id }) => {
                if self.held.acknowledged(lease_id) {
                    self.reports.forget(lease_id);
                    self.runner.forget_proof(lease_id);
                    self.tasks.settled(lease_id);
                }
            }
            Heard::Message(ToWorker::Task(message)) => self.handle_task(message),
            Heard::Message(ToWorker::Drain { reason }) => {
                tracing::info!(reason, held = self.held.running().len(), "draining");
                self.leaving = Some(reason);
            }
            Heard::Message(ToWorker::Welcome(_) | ToWorker::Refused(_)) => {
                tracing::warn!("unexpected handshake message; ignored");
            }
        }
        self.runner.heard_from_hierophant();
    }

    fn begin(&mut self, job: Job) {
        let lease_id = job.lease_id;
        let limit = {
            let offered = self.capabilities.borrow();
            offered.slots.saturating_add(offered.prefetch) as usize
        };
        let rejection = match self.leaving.is_some() {
            true => Some("this worker is draining"),
            false => {
                let running = self.held.running();
                let full = running.into_iter().filter(|id| !self.tasks.holds(*id)).count() >= limit;
                full.then_some("this worker has no free slot")
            }
        };
        let Some(cancel) = self.held.start(lease_id) else {
            tracing::warn!(lease = lease_id.hint(), "an attempt was assigned twice");
            return;
        };
        if let Some(rejection) = rejection {
            tracing::warn!(lease = lease_id.hint(), rejection, "attempt rejected");
            let failure = Failure::new(FailureClass::Infrastructure, rejection);
            self.held.end(lease_id, Some(FromWorker::Failed { lease_id, failure }));
            return;
        }
        let sink = EventSink::new(lease_id, self.sink.clone());
        self.runner.start(job, sink, cancel);
    }

    async fn heartbeat(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        let gpus = self.gpu_loads.borrow().clone();
        socket.send(&FromWorker::Heartbeat { held: self.held.working_on(), gpus }).await?;
        socket.ping().await
    }

    /// Reports the ends of attempts.
    pub(super) async fn send_ends(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        while let Some(message) = self.held.next_message() {
            socket.send(&message).await?;
        }
        Ok(())
    }

    pub(super) async fn forward(
        &mut self,
        socket: &mut Socket,
        lease_id: LeaseId,
        event: JobEvent,
    ) -> Result<(), Lost> {
        let will_be_reported = self.record(lease_id, &event);
        match event {
            JobEvent::Progress(progress) if self.held.is_running(lease_id) => {
                if self.reports.is_due(lease_id, &progress) {
                    socket.send(&FromWorker::Progress { lease_id, progress }).await?;
                }
            }
            JobEvent::Executed(execution) if self.held.is_running(lease_id) => {
                socket.send(&FromWorker::Executed { lease_id, execution }).await?;
            }
            // This end is not reported, so a heartbeat must show that the machine is free again.
            JobEvent::Ended(_) if !will_be_reported => self.heartbeat(socket).await?,
            JobEvent::Progress(_)
            | JobEvent::Executed(_)
            | JobEvent::Waiting
            | JobEvent::Ended(_) => {}
        }
        Ok(())
    }
}
