//! Passes a worker's words on to those who own the facts, and closes the socket when told to.

use axum::extract::ws::WebSocket;
use futures_util::StreamExt;
use hierophant_model::sanitize::sentence;
use hierophant_scheduler::SessionId;
use network_lib::ids::WorkerId;
use network_lib::task;
use network_lib::wire::FromWorker;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::sync::mpsc;

use super::message::SessionMsg;
use super::outbox::{self, Outgoing};
use super::{CloseReason, SessionHandle, reader};
use crate::proofs::ProofsHandle;
use crate::registry::{RegistryHandle, SessionEnd};

/// What a session is started with.
#[derive(Debug)]
pub struct SessionArguments {
    /// The worker.
    pub worker: WorkerId,
    /// Number of its connection.
    pub session: SessionId,
    /// Its socket.
    pub socket: WebSocket,
    /// Hears of life and abilities.
    pub registry: RegistryHandle,
    /// Hears of attempts.
    pub proofs: ProofsHandle,
}

/// What the actor holds.
#[derive(Debug)]
pub struct SessionState {
    worker: WorkerId,
    session: SessionId,
    outbox: mpsc::Sender<Outgoing>,
    registry: RegistryHandle,
    proofs: ProofsHandle,
}

/// The actor.
#[derive(Debug)]
pub struct SessionActor;

impl SessionActor {
    /// Starts a session under `supervisor`. It says nothing by itself, not even the welcome.
    ///
    /// # Errors
    ///
    /// When the actor system refuses.
    pub async fn start(
        arguments: SessionArguments,
        supervisor: ActorCell,
    ) -> Result<SessionHandle, SpawnErr> {
        let SessionArguments { worker, session, socket, registry, proofs } = arguments;
        let (sink, stream) = socket.split();
        let (outbox, queue) = mpsc::channel(outbox::CAPACITY);
        task::spawn("session outbox", outbox::send_all(queue, sink));
        let state = SessionState { worker, session, outbox: outbox.clone(), registry, proofs };
        let (actor, _) = Actor::spawn_linked(None, Self, state, supervisor).await?;
        task::spawn("session reader", reader::read_all(stream, actor.clone()));
        Ok(SessionHandle { actor, outbox })
    }
}

#[ractor::async_trait]
impl Actor for SessionActor {
    type Msg = SessionMsg;
    type State = SessionState;
    type Arguments = SessionState;

    async fn pre_start(
        &self,
        _myself: ActorRef<SessionMsg>,
        state: SessionState,
    ) -> Result<SessionState, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<SessionMsg>,
        message: SessionMsg,
        state: &mut SessionState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMsg::Frame(frame, _permit) => {
                state.registry.heard(state.worker, state.session);
                if let Err(reason) = state.pass_on(*frame) {
                    state.end(reason);
                }
            }
            SessionMsg::Alive => state.registry.heard(state.worker, state.session),
            SessionMsg::SocketEnded(end) => {
                state.registry.session_ended(state.worker, state.session, end);
            }
            SessionMsg::Close(reason) => state.end(reason),
        }
        Ok(())
    }
}

impl SessionState {
    fn pass_on(&self, frame: FromWorker) -> Result<(), CloseReason> {
        let (worker, session) = (self.worker, self.session);
        match frame {
            FromWorker::Hello(_) => {
                return Err(CloseReason::Protocol("a second handshake on one socket".into()));
            }
            FromWorker::Heartbeat { held, gpus } => {
                self.registry.gpu_loads(worker, session, gpus);
                self.proofs.held(worker, session, held);
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
                failure.message = sentence(&failure.message);
                self.proofs.failed(worker, lease_id, failure);
            }
            FromWorker::Draining { reason } => {
                self.registry.draining(worker, session, sentence(&reason));
            }
        }
        Ok(())
    }

    /// Sends the close frame. The registry hears why, and stops this actor.
    fn end(&self, reason: CloseReason) {
        let end = match &reason {
            CloseReason::Stopping => SessionEnd::Stopping,
            reason => SessionEnd::Closed(reason.text()),
        };
        // A full queue means that the worker does not read: then the socket is simply dropped.
        let _ = self.outbox.try_send(Outgoing::Close(reason));
        self.registry.session_ended(self.worker, self.session, end);
    }
}
