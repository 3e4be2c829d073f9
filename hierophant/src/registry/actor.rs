//! Actor of workers: admits workers, closes sessions, and reports to `proofs`. It never waits for the store: while it
//! waited, no worker would be heard, and all of them would seem silent afterwards.

mod saving;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hierophant_model::records::Millis;
use hierophant_model::sanitize;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::WorkerJoined;
use hierophant_scheduler::registry::Credential;
use hierophant_scheduler::registry::core::{RegistryCore, Rules};
use hierophant_store::JobStore;
use network_lib::handshake::{
    Capabilities, Hello, ProtocolRange, Refusal, RefusalCode, TASKS_PROTOCOL, Welcome,
};
use network_lib::ids::WorkerId;
use network_lib::secret::Secret;
use network_lib::task;
use network_lib::wire::ToWorker;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::sync::broadcast::error::RecvError;

use super::credential::{authorize, expired, has_private_inputs, revoked};
use super::handle::RegistryHandle;
use super::keys::Keys;
use super::message::{Admitted, KeyHolder, Place, RegistryMsg};
use crate::ask::reply;
use crate::clock::{Clock, Sweeps};
use crate::config::PrivateInputs;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::proofs::ProofsHandle;
use crate::session::{CloseReason, SessionEnd, SessionHandle};
use crate::tokens::Tokens;
use saving::Saves;

/// Interval of the checks for silent workers.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of the actor.
#[derive(Debug)]
pub struct RegistryArguments {
    /// Rules for admission and liveness.
    pub rules: Rules,
    /// Token of the configuration, valid for any worker.
    pub shared_token: Option<Secret>,
    /// Access tokens, which include those of single workers.
    pub tokens: Tokens,
    /// Workers that may get private inputs.
    pub private_inputs: PrivateInputs,
    /// Interval of the workers' heartbeats.
    pub heartbeat_interval: Duration,
    /// Receiver of the facts.
    pub proofs: ProofsHandle,
    /// Store of the settings of operators.
    pub store: Arc<dyn JobStore>,
    /// Event stream.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
}

/// State of the actor.
#[derive(Debug)]
pub struct RegistryState {
    core: RegistryCore,
    keys: Keys,
    shared_token: Option<Secret>,
    tokens: Tokens,
    private_inputs: PrivateInputs,
    clock: Clock,
    heartbeat_interval: Duration,
    proofs: ProofsHandle,
    store: Arc<dyn JobStore>,
    events: Events,
    metrics: Metrics,
    /// Sessions by number of the connection, with their workers.
    sessions: BTreeMap<SessionId, (WorkerId, SessionHandle)>,
    saves: Saves,
    sweeps: Sweeps,
    myself: ActorRef<RegistryMsg>,
}

/// Actor of workers.
#[derive(Debug)]
pub struct RegistryActor;

impl RegistryActor {
    /// Starts the actor under `supervisor`.
    ///
    /// # Errors
    ///
    /// When the settings of operators cannot be read.
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
        listen(&arguments.tokens, myself.clone());
        let mut core = RegistryCore::new(arguments.rules);
        core.restore(&arguments.store.settings().await?);
        Ok(RegistryState {
            core,
            keys: Keys::default(),
            shared_token: arguments.shared_token,
            tokens: arguments.tokens,
            private_inputs: arguments.private_inputs,
            clock: Clock::start(),
            heartbeat_interval: arguments.heartbeat_interval,
            proofs: arguments.proofs,
            store: arguments.store,
            events: arguments.events,
            metrics: arguments.metrics,
            sessions: BTreeMap::new(),
            saves: Saves::default(),
            sweeps: Sweeps::start(SWEEP_INTERVAL),
            myself,
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<RegistryMsg>,
        message: RegistryMsg,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.time();
        match message {
            RegistryMsg::Admit(hello, place, session, port) => {
                reply(port, state.admit(now, *hello, &place, session)?);
            }
            RegistryMsg::GpuLoads(worker, session, inbox) => {
                if state.core.gpu_loads(worker, session, inbox.take_gpus()) {
                    state.events.worker(worker);
                }
            }
            RegistryMsg::CapabilitiesChanged(worker, session, mut capabilities, turn) => {
                state.limit_slots(worker, &mut capabilities);
                if state.core.is_current(worker, session) {
                    tracing::info!(worker_id = %worker, modes = ?capabilities.modes,
                        "worker capabilities changed");
                    state.proofs.capabilities_changed(worker, session, capabilities, turn);
                }
            }
            RegistryMsg::Draining(worker, session, reason, turn) => {
                if state.core.draining(worker, session) {
                    tracing::info!(worker_id = %worker, reason, "worker draining");
                    state.proofs.worker_draining(worker, session, turn);
                }
            }
            RegistryMsg::SessionEnded(worker, session, end) => {
                state.session_ended(now, worker, session, end);
            }
            RegistryMsg::KeyHolder(key, port) => {
                let worker = state.keys.holder(key.reveal());
                let holder = |worker| KeyHolder {
                    worker,
                    token: state.core.token(worker),
                    is_local: state.core.is_local(worker),
                };
                reply(port, worker.map(holder));
            }
            RegistryMsg::TokensRevoked => state.remove_revoked(now),
            RegistryMsg::Command(command, port) => state.command(now, command, port),
            RegistryMsg::Saved(saved) => state.saved(now, saved),
            RegistryMsg::Blocked(port) => reply(port, state.core.blocked()),
            RegistryMsg::Workers(port) => {
                state.listen_to_sessions(now);
                reply(port, state.core.workers());
            }
            RegistryMsg::RemovedWorkers(port) => reply(port, state.core.removed_workers()),
            RegistryMsg::CloseAll(port) => {
                for (_, session) in state.sessions.values() {
                    session.close(CloseReason::Stopping);
                }
                reply(port, ());
            }
            RegistryMsg::Sweep => {
                state.listen_to_sessions(now);
                if let Some(late) = state.sweeps.late() {
                    state.core.excuse(now, Millis::from(late).0);
                }
                for (worker, session, reason) in state.core.expired(now) {
                    state.close(session, CloseReason::Silent);
                    state.remove(now, worker, session, &reason);
                }
            }
        }
        Ok(())
    }
}

impl RegistryState {
    /// Current time. If the system's clock was set, the core adjusts its times.
    fn time(&mut self) -> Millis {
        let (now, set_by) = self.clock.read();
        if set_by != 0 {
            self.core.clock_set(set_by);
        }
        now
    }

    /// Records when the workers were last heard, as their sessions know.
    fn listen_to_sessions(&mut self, now: Millis) {
        for (session, (worker, handle)) in &self.sessions {
            let silence = Millis::from(handle.inbox().silence()).0;
            self.core.heard(Millis(now.0.saturating_sub(silence)), *worker, *session);
        }
    }

    fn close(&self, session: SessionId, reason: CloseReason) {
        if let Some((_, handle)) = self.sessions.get(&session) {
            handle.close(reason);
        }
    }

    fn admit(
        &mut self,
        now: Millis,
        mut hello: Hello,
        Place { ip, locality }: &Place,
        handle: SessionHandle,
    ) -> Result<Result<Admitted, Refusal>, ActorProcessingErr> {
        let ip = *ip;
        sanitize::capabilities(&mut hello.capabilities);
        self.limit_slots(hello.worker_id, &mut hello.capabilities);
        let secret = hello.token.as_ref().map(Secret::reveal);
        let shared = self.shared_token.as_ref().map(Secret::reveal);
        let authorized = authorize(shared, &self.tokens, secret, locality);
        if let Ok(Credential::Own(token, _)) = &authorized {
            self.tokens.used(*token, ip);
        }
        let private_inputs = authorized.as_ref().is_ok_and(|credential| {
            has_private_inputs(self.private_inputs, credential, &self.tokens)
        });
        let by = authorized.as_ref().map_or_else(|_| "nothing".into(), ToString::to_string);
        let admission = match self.core.admit(now, &hello, ip, authorized) {
            Ok(admission) => admission,
            Err(refusal) => {
                self.metrics.worker_refused(refusal.code.as_str());
                // Failed authentication is logged where its rate is limited.
                if refusal.code == RefusalCode::Unauthorized {
                    return Ok(Err(refusal));
                }
                tracing::warn!(%ip, name = sanitize::name(&hello.name), code = ?refusal.code, by,
                    reason = refusal.message, "worker refused");
                return Ok(Err(refusal));
            }
        };
        let (worker, session) = (hello.worker_id, admission.session);
        if let Some(from) = admission.moved_from {
            tracing::warn!(worker_id = %worker, name = sanitize::name(&hello.name), by, %from, %ip,
                "a worker connects from another address than before");
        }
        if let Some(replaced) = admission.replaces {
            self.close(replaced, CloseReason::Replaced);
        }
        if admission.protocol < TASKS_PROTOCOL {
            hello.capabilities.sharding = None;
        }
        handle.inbox().has_places(sanitize::places(&hello.capabilities));
        let welcome = Welcome {
            protocol: admission.protocol,
            software_version: env!("CARGO_PKG_VERSION").into(),
            heartbeat_interval_ms: u64::try_from(self.heartbeat_interval.as_millis())?,
            access_key: self.keys.issue(worker),
            // `proofs` knows the active attempts and fills this in.
            resume: Vec::new(),
        };
        tracing::info!(worker_id = %worker, name = sanitize::name(&hello.name), %ip, by,
            backend = hello.capabilities.backend.as_str(), modes = ?hello.capabilities.modes,
            held = hello.held.len(), private_inputs, "worker joined");
        self.sessions.insert(session, (worker, handle.clone()));
        let joined = WorkerJoined {
            worker,
            session,
            name: self.core.name(worker).unwrap_or_default().to_owned(),
            capabilities: hello.capabilities,
            held: hello.held,
            drained: self.core.drained(worker),
            private_inputs,
            welcome,
        };
        self.proofs.worker_joined(joined, handle);
        Ok(Ok(Admitted { worker, session }))
    }

    /// Limits the slots that a worker claims.
    fn limit_slots(&self, worker: WorkerId, capabilities: &mut Capabilities) {
        if let Some(claimed) = self.core.limit_slots(capabilities) {
            tracing::warn!(worker_id = %worker, claimed, counted = capabilities.slots,
                "a worker claims more slots than `worker_registry.max_slots`");
        }
    }

    fn session_ended(
        &mut self,
        now: Millis,
        worker: WorkerId,
        session: SessionId,
        end: SessionEnd,
    ) {
        if let Some((_, handle)) = self.sessions.remove(&session) {
            let silence = Millis::from(handle.inbox().silence()).0;
            self.core.heard(Millis(now.0.saturating_sub(silence)), worker, session);
        }
        match end {
            SessionEnd::Stopping => {}
            SessionEnd::Closed(reason) => self.remove(now, worker, session, &reason),
            SessionEnd::Left(reason) if self.core.is_draining(worker, session) => {
                self.remove(now, worker, session, &reason);
            }
            SessionEnd::Left(reason) | SessionEnd::Disconnected(reason) => {
                if self.core.disconnected(worker, session, &reason) {
                    tracing::info!(worker_id = %worker, reason, "worker away");
                    self.proofs.worker_away(worker, session);
                }
            }
        }
    }

    /// Removes the workers whose tokens were revoked or have expired. Their jobs are queued again without blame.
    fn remove_revoked(&mut self, now: Millis) {
        let tokens = self.tokens.clone();
        for (worker, session, name) in self.core.with_invalid_token(|id| tokens.is_valid(id)) {
            let message = if tokens.has_expired(&name) { expired(&name) } else { revoked(&name) };
            if let Some((_, handle)) = self.sessions.get(&session) {
                handle.send(ToWorker::Refused(Refusal {
                    code: RefusalCode::Unauthorized,
                    message: message.clone(),
                    protocol: ProtocolRange::OURS,
                }));
                handle.close(CloseReason::Dropped(message.clone()));
            }
            self.remove(now, worker, session, &message);
        }
    }

    fn remove(&mut self, now: Millis, worker: WorkerId, session: SessionId, reason: &str) {
        let leaving = self.core.is_draining(worker, session);
        let name = self.core.name(worker).unwrap_or_default().to_owned();
        if !self.core.remove(now, worker, session, reason) {
            return;
        }
        self.keys.withdraw(worker);
        tracing::info!(worker_id = %worker, name, reason, "worker left");
        self.proofs.worker_removed(worker, session, reason.to_owned());
        if leaving {
            self.clear_drained(now, worker);
        }
    }
}

/// Forwards revocations of tokens to the actor.
fn listen(tokens: &Tokens, actor: ActorRef<RegistryMsg>) {
    let mut revocations = tokens.revocations();
    task::spawn("revocations", async move {
        // Missed revocations do no harm, because the actor checks all workers.
        while !matches!(revocations.recv().await, Err(RecvError::Closed)) {
            if actor.cast(RegistryMsg::TokensRevoked).is_err() {
                break;
            }
        }
    });
}
