//! Carries decisions about workers out: starts and closes sessions, tells `proofs`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::ws::WebSocket;
use network_lib::handshake::{Hello, Refusal, Welcome};
use network_lib::ids::WorkerId;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::core::{RegistryCore, Rules};
use super::handle::RegistryHandle;
use super::message::RegistryMsg;
use crate::ask::reply;
use crate::proofs::{ProofsHandle, WorkerArrival};
use crate::records::Millis;
use crate::session::actor::{SessionActor, SessionArguments};
use crate::session::{CloseReason, SessionHandle};

/// How often silence is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What the actor is started with.
#[derive(Debug)]
pub struct RegistryArguments {
    /// Rules for admission and liveness.
    pub rules: Rules,
    /// How often workers are asked to send a heartbeat.
    pub heartbeat_interval: Duration,
    /// Whom to tell the facts.
    pub proofs: ProofsHandle,
}

/// What the actor holds.
#[derive(Debug)]
pub struct RegistryState {
    core: RegistryCore,
    heartbeat_interval: Duration,
    proofs: ProofsHandle,
    sessions: BTreeMap<WorkerId, (u64, SessionHandle)>,
    by_actor: BTreeMap<ActorId, (WorkerId, u64)>,
}

/// The actor.
#[derive(Debug)]
pub struct RegistryActor;

impl RegistryActor {
    /// Starts the actor under `supervisor`.
    ///
    /// # Errors
    ///
    /// When the actor system refuses.
    pub async fn start(
        arguments: RegistryArguments,
        supervisor: ActorCell,
    ) -> Result<RegistryHandle, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Self, arguments, supervisor).await?;
        Ok(RegistryHandle::new(actor))
    }
}

#[ractor::async_trait]
impl Actor for RegistryActor {
    type Msg = RegistryMsg;
    type State = RegistryState;
    type Arguments = RegistryArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RegistryMsg>,
        arguments: RegistryArguments,
    ) -> Result<RegistryState, ActorProcessingErr> {
        myself.send_interval(SWEEP_INTERVAL, || RegistryMsg::Sweep);
        Ok(RegistryState {
            core: RegistryCore::new(arguments.rules),
            heartbeat_interval: arguments.heartbeat_interval,
            proofs: arguments.proofs,
            sessions: BTreeMap::new(),
            by_actor: BTreeMap::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RegistryMsg>,
        message: RegistryMsg,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Millis::now();
        match message {
            RegistryMsg::Admit(hello, ip, socket, port) => {
                reply(port, state.admit(now, *hello, ip, socket, &myself).await?);
            }
            RegistryMsg::Heard(worker, session) => state.core.heard(now, worker, session),
            RegistryMsg::CapabilitiesChanged(worker, session, capabilities) => {
                if state.core.is_current(worker, session) {
                    tracing::info!(worker_id = %worker, modes = ?capabilities.modes,
                        "Contemplant offers other modes");
                    state.proofs.capabilities_changed(worker, session, capabilities);
                }
            }
            RegistryMsg::Draining(worker, session, reason) => {
                if state.core.is_current(worker, session) {
                    tracing::info!(worker_id = %worker, reason, "Contemplant takes no more jobs");
                    state.proofs.worker_draining(worker, session);
                }
            }
            RegistryMsg::Workers(port) => reply(port, state.core.workers()),
            RegistryMsg::DeadWorkers(port) => reply(port, state.core.dead()),
            RegistryMsg::CloseAll(port) => {
                for (_, session) in state.sessions.values() {
                    session.close(CloseReason::Stopping);
                }
                reply(port, ());
            }
            RegistryMsg::Sweep => {
                for (worker, session) in state.core.silent(now) {
                    if let Some((_, handle)) = state.sessions.get(&worker) {
                        handle.close(CloseReason::Silent);
                    }
                    state.lost(now, worker, session, "silent for too long");
                }
            }
        }
        Ok(())
    }

    /// A session that ends takes its worker with it, and nothing else.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<RegistryMsg>,
        event: SupervisionEvent,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, reason) = match event {
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                (actor, reason.unwrap_or_else(|| "session ended".to_owned()))
            }
            SupervisionEvent::ActorFailed(actor, error) => {
                tracing::error!(%error, "a session failed");
                (actor, format!("session failed: {error}"))
            }
            _ => return Ok(()),
        };
        if let Some((worker, session)) = state.by_actor.remove(&actor.get_id()) {
            state.lost(Millis::now(), worker, session, &reason);
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: ActorRef<RegistryMsg>,
        _state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        myself.stop_children_and_wait(None, Some(Duration::from_secs(5))).await;
        Ok(())
    }
}

impl RegistryState {
    async fn admit(
        &mut self,
        now: Millis,
        hello: Hello,
        ip: IpAddr,
        socket: Box<WebSocket>,
        myself: &ActorRef<RegistryMsg>,
    ) -> Result<Result<(), (Refusal, Box<WebSocket>)>, ActorProcessingErr> {
        let admission = match self.core.admit(now, &hello, ip) {
            Ok(admission) => admission,
            Err(refusal) => {
                tracing::warn!(%ip, name = hello.name, code = ?refusal.code,
                    reason = refusal.message, "Contemplant refused");
                return Ok(Err((refusal, socket)));
            }
        };
        let (worker, session) = (hello.worker_id, admission.session);
        if let Some(replaced) = admission.replaces
            && let Some((_, old)) = self.sessions.remove(&worker)
        {
            old.close(CloseReason::Replaced);
            self.proofs.worker_lost(worker, replaced, "connected anew".into());
        }
        let welcome = Welcome {
            protocol: admission.protocol,
            software_version: env!("CARGO_PKG_VERSION").into(),
            heartbeat_interval_ms: u64::try_from(self.heartbeat_interval.as_millis())?,
            // Attempts of an earlier connection have gone back to the queue when it ended.
            resume: Vec::new(),
        };
        let arguments = SessionArguments {
            worker,
            session,
            socket: *socket,
            welcome,
            registry: RegistryHandle::new(myself.clone()),
            proofs: self.proofs.clone(),
        };
        let handle = SessionActor::start(arguments, myself.get_cell()).await?;
        tracing::info!(worker_id = %worker, name = hello.name, %ip,
            backend = hello.capabilities.backend.as_str(), modes = ?hello.capabilities.modes,
            "Contemplant joined");
        self.by_actor.insert(handle.actor_id(), (worker, session));
        self.sessions.insert(worker, (session, handle.clone()));
        self.proofs.worker_joined(WorkerArrival {
            worker,
            session,
            name: self.core.name(worker).unwrap_or_default().to_owned(),
            capabilities: hello.capabilities,
            handle,
        });
        Ok(Ok(()))
    }

    fn lost(&mut self, now: Millis, worker: WorkerId, session: u64, reason: &str) {
        let name = self.core.name(worker).unwrap_or_default().to_owned();
        if !self.core.lost(now, worker, session, reason) {
            return;
        }
        tracing::info!(worker_id = %worker, name, reason, "Contemplant left");
        self.sessions.remove(&worker);
        self.proofs.worker_lost(worker, session, reason.to_owned());
    }
}
