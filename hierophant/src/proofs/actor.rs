//! Asks the core what is to be done, and has it carried out (`outlet`): first the store, then the workers,
//! then the reply.

mod operate;
mod outlet;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use hierophant_model::clients::{Clients, OverQuota, has_room};
use hierophant_model::operate::Cleared;
use hierophant_model::records::{
    JobState, Millis, RequestState, RequestView, idempotency_key, job_key,
};
use hierophant_model::text::error_chain;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::{Effect, IdSource, Known, Limits, Past, ProofsCore};
use hierophant_scheduler::proofs::pace::LATELY;
use hierophant_scheduler::proofs::{CancelError, NewRequest, SubmitError};
use network_lib::ids::{ArtifactId, RequestId, Sha256Digest, WorkerId};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};

use super::handle::ProofsHandle;
use super::message::{Clearing, ProofsMsg};
use crate::artifacts::audit;
use crate::artifacts::blobs::Blobs;
use crate::ask::reply;
use crate::clock::Clock;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::session::SessionHandle;
use crate::store::{JobStore, StoreError};
use crate::verify::ProofChecker;
use crate::webhooks::Webhooks;

use outlet::{Answer, Check, Deed, Means, Outlet};

/// How often deadlines and rested jobs are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

const DAY_MS: i64 = 24 * 3600 * 1000;

/// What the actor is started with.
#[derive(Debug)]
pub struct ProofsArguments {
    /// Where it remembers.
    pub store: Arc<dyn JobStore>,
    /// Where programs, inputs and proofs lie.
    pub blobs: Blobs,
    /// Bounds of the scheduler.
    pub limits: Limits,
    /// For how long content that was set aside is not tried again; 0 = tried again at once.
    pub quarantine: Duration,
    /// Checks finished proofs.
    pub checker: ProofChecker,
    /// What is measured.
    pub metrics: Metrics,
    /// Who hears of changes at once.
    pub events: Events,
    /// Who is to hear of ends.
    pub webhooks: Webhooks,
}

/// What the actor holds.
#[derive(Debug)]
pub struct ProofsState {
    core: ProofsCore,
    clients: Clients,
    store: Arc<dyn JobStore>,
    quarantine: Duration,
    metrics: Metrics,
    events: Events,
    webhooks: Webhooks,
    outlet: Outlet,
    sessions: BTreeMap<WorkerId, (SessionId, SessionHandle)>,
    clock: Clock,
}

/// The actor.
#[derive(Debug)]
pub struct ProofsActor;

impl ProofsActor {
    /// Starts the actor under `supervisor`, with everything unfinished from the store.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn start(
        arguments: ProofsArguments,
        supervisor: ActorCell,
    ) -> Result<ProofsHandle, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Self, arguments, supervisor).await?;
        Ok(ProofsHandle::new(actor))
    }
}

#[ractor::async_trait]
impl Actor for ProofsActor {
    type Msg = ProofsMsg;
    type State = ProofsState;
    type Arguments = ProofsArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ProofsMsg>,
        arguments: ProofsArguments,
    ) -> Result<ProofsState, ActorProcessingErr> {
        let ProofsArguments { store, blobs, limits, quarantine, checker, .. } = arguments;
        let ProofsArguments { metrics, events, webhooks, .. } = arguments;
        let now = Millis::now();
        let unfinished = store.unfinished_jobs().await?;
        let strikes = store.strikes(Millis(now.0.saturating_sub(limits.strike_decay_ms))).await?;
        let settings = store.settings().await?;
        let ended = if limits.race_after > 0.0 {
            store.finished_jobs(LATELY, None).await?.into_iter().map(|(job, _)| job).collect()
        } else {
            Vec::new()
        };
        if !unfinished.is_empty() {
            tracing::info!(jobs = unfinished.len(), "unfinished jobs taken over from the store");
        }
        let damaged = audit::damaged(&blobs, &unfinished).await;
        if !damaged.is_empty() {
            tracing::error!(
                artifacts = damaged.len(),
                "bytes of unfinished jobs are damaged or gone"
            );
        }
        let mut clock = Clock::start();
        let (now, _) = clock.look();
        let past = Past { unfinished, damaged, strikes, ended, settings };
        let clients = limits.clients.clone();
        let (core, effects) = ProofsCore::restore(now, limits, IdSource::random(), past);
        let means = Means {
            store: Arc::clone(&store),
            checker,
            clients: clients.clone(),
            metrics: metrics.clone(),
            events: events.clone(),
            webhooks: webhooks.clone(),
        };
        let mut state = ProofsState {
            core,
            clients,
            store,
            quarantine,
            metrics,
            events,
            webhooks,
            outlet: Outlet::new(means, myself.clone()),
            sessions: BTreeMap::new(),
            clock,
        };
        state.carry_out(effects, None).await;
        state.outlet.drain().await?;
        myself.send_interval(SWEEP_INTERVAL, || ProofsMsg::Sweep);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ProofsMsg>,
        message: ProofsMsg,
        state: &mut ProofsState,
    ) -> Result<(), ActorProcessingErr> {
        let (now, set_by) = state.clock.look();
        let core = &mut state.core;
        if set_by != 0 {
            let seconds = set_by / 1000;
            tracing::warn!(
                seconds,
                "the system's clock was set; deadlines go by it, limits do not"
            );
            core.clock_set(set_by);
        }
        if let Some(worker) = message.tells_of() {
            state.events.worker(worker);
        }
        let effects = match message {
            ProofsMsg::Submit(new, lost, port) => {
                let (answer, effects) = state.submit(now, *new, lost).await?;
                state.carry_out(effects, answer_by(move || reply(port, answer))).await;
                return Ok(());
            }
            ProofsMsg::Cancel(id, by, port) => {
                let (mut answer, effects) = core.cancel(now, id, by);
                if answer == Err(CancelError::NotFound) {
                    state.outlet.drain().await?;
                    answer = state.cancelled_before(id, by).await;
                }
                state.carry_out(effects, answer_by(move || reply(port, answer))).await;
                return Ok(());
            }
            ProofsMsg::ProofStored(lease, artifact, blob, port) => {
                let (counts, effects) = core.proof_stored(now, lease, artifact, blob);
                state.carry_out(effects, answer_by(move || reply(port, counts))).await;
                return Ok(());
            }
            ProofsMsg::Lease(lease, worker, port) => {
                let access = core.lease_access(lease, worker);
                state.carry_out(Vec::new(), answer_by(move || reply(port, access))).await;
                return Ok(());
            }
            ProofsMsg::Overview(port) => {
                let overview = core.overview();
                state.carry_out(Vec::new(), answer_by(move || reply(port, overview))).await;
                return Ok(());
            }
            ProofsMsg::Why(job, port) => {
                let why = core.why(now, job);
                state.carry_out(Vec::new(), answer_by(move || reply(port, why))).await;
                return Ok(());
            }
            ProofsMsg::Line(offset, limit, port) => {
                let line = core.line(now, offset, limit);
                state.carry_out(Vec::new(), answer_by(move || reply(port, line))).await;
                return Ok(());
            }
            ProofsMsg::ProofLost(request, proof, port) => {
                // Without an answer of the store there is none to the asker, who reports that.
                if let Some(reopened) = state.reopen(now, request, proof).await? {
                    reply(port, reopened);
                }
                return Ok(());
            }
            ProofsMsg::Act(action, port) => {
                let answer = state.act(now, action).await?;
                reply(port, answer);
                return Ok(());
            }
            ProofsMsg::ToClear(filter, port) => {
                reply(port, core.to_clear(&filter));
                return Ok(());
            }
            ProofsMsg::Clear(filter, port) => {
                let (left, cleared) = (core.to_clear(&filter).jobs, Cleared::default());
                let clearing = Clearing { left, requester: filter.requester, cleared, port };
                return state.clear(&myself, now, clearing).await;
            }
            ProofsMsg::ClearOn(clearing) => return state.clear(&myself, now, *clearing).await,
            ProofsMsg::WorkerDrained(worker, session, drained) => {
                core.worker_drained(now, worker, session, drained)
            }
            ProofsMsg::InputLost(lease) => core.input_lost(now, lease),
            ProofsMsg::WorkerJoined(arrival, handle) => {
                state.sessions.insert(arrival.worker, (arrival.session, handle));
                core.worker_joined(now, *arrival)
            }
            ProofsMsg::CapabilitiesChanged(worker, session, capabilities) => {
                core.capabilities_changed(now, worker, session, capabilities)
            }
            ProofsMsg::WorkerDraining(worker, session) => {
                core.worker_draining(worker, session);
                Vec::new()
            }
            ProofsMsg::WorkerAway(worker, session) => {
                state.forget_session(worker, session);
                let core = &mut state.core;
                core.worker_away(now, worker, session)
            }
            ProofsMsg::WorkerLost(worker, session, reason) => {
                state.forget_session(worker, session);
                let core = &mut state.core;
                core.worker_lost(now, worker, session, &reason)
            }
            ProofsMsg::Held(worker, session, held) => core.held(now, worker, session, &held),
            ProofsMsg::Progressed(worker, lease, progress) => {
                core.progressed(now, worker, lease, progress)
            }
            ProofsMsg::Executed(worker, lease, execution) => {
                core.executed(now, worker, lease, execution)
            }
            ProofsMsg::Completed(worker, lease, execution, proof) => {
                core.completed(now, worker, lease, execution, proof)
            }
            ProofsMsg::Failed(worker, lease, failure) => core.failed(now, worker, lease, failure),
            ProofsMsg::Checked(lease, verdict) => core.checked(now, lease, verdict),
            ProofsMsg::StoreLost => return Err(state.outlet.failure().await),
            ProofsMsg::Sweep => core.sweep(now),
        };
        state.carry_out(effects, None).await;
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<ProofsMsg>,
        state: &mut ProofsState,
    ) -> Result<(), ActorProcessingErr> {
        state.outlet.drain().await
    }
}

impl ProofsState {
    /// Lets go of a connection that is over; its socket closes when nobody holds it any more.
    fn forget_session(&mut self, worker: WorkerId, session: SessionId) {
        if self.sessions.get(&worker).is_some_and(|(current, _)| *current == session) {
            self.sessions.remove(&worker);
        }
    }

    async fn submit(
        &mut self,
        now: Millis,
        new: NewRequest,
        lost: Option<ArtifactId>,
    ) -> Result<(Result<RequestId, SubmitError>, Vec<Effect>), ActorProcessingErr> {
        let call = idempotency_key(new.requester, &new.spec, &new.stdin_uri, new.deadline);
        let key = job_key(&new.spec, &new.stdin_blob);
        if self.outlet.is_ahead_of_store(call) || self.outlet.is_ahead_of_store(key) {
            self.outlet.drain().await?;
        }
        let known = match self.known(now, call, key, lost, new.requester).await {
            Ok(known) => known,
            Err(error) => {
                log_unread(&error);
                return Ok((Err(SubmitError::Unavailable), Vec::new()));
            }
        };
        let (requester, repeated) = (new.requester, known.earlier.is_some());
        let (answer, effects) = self.core.submit(now, new, known);
        let client = self.clients.name(requester);
        match &answer {
            Ok(_) if !repeated => self.metrics.client_asked(client),
            Err(SubmitError::OverQuota(over)) => {
                tracing::info!(%requester, client, quota = over.key(), "a request over its quota");
                self.metrics.over_quota(client, *over);
            }
            _ => {}
        }
        Ok((answer, effects))
    }

    async fn known(
        &self,
        now: Millis,
        call: Sha256Digest,
        key: Sha256Digest,
        lost: Option<ArtifactId>,
        requester: Address,
    ) -> Result<Known, StoreError> {
        let since = Millis(now.0.saturating_sub(Millis::from(self.quarantine).0));
        let set_aside = async {
            if self.quarantine.is_zero() {
                Ok(None)
            } else {
                self.store.set_aside(key, since).await
            }
        };
        let (earlier, proved, set_aside) = tokio::try_join!(
            self.store.request_by_idempotency_key(call),
            self.store.proved_job(key),
            set_aside
        )?;
        // The API has looked: here everybody would wait for a slow disk or bucket.
        let proved = proved.filter(|job| job.proof.is_none() || job.proof != lost);
        // A clock that was set back must not make it last longer.
        let set_aside = set_aside.filter(|job| job.finished_at <= Some(now));
        let ended = proved.or(set_aside);
        if earlier.is_some() {
            return Ok(Known { earlier, ended, over: None });
        }
        let over = self.over_cycles(now, requester).await?;
        Ok(Known { earlier, ended, over })
    }

    /// Whether an address has used up its cycles of a day. What was executed a moment ago may not be stored yet;
    /// what is being executed is not known at all.
    async fn over_cycles(
        &self,
        now: Millis,
        requester: Address,
    ) -> Result<Option<OverQuota>, StoreError> {
        let most = self.clients.quota(requester).cycles_per_day;
        if most == 0 {
            return Ok(None);
        }
        let since = Millis(now.0.saturating_sub(DAY_MS));
        let executed = self.store.cycles_executed(requester, since, now).await?;
        Ok((!has_room(executed, most)).then_some(OverQuota::CyclesPerDay(most)))
    }

    /// Has a finished `proof` whose bytes are gone made again, for those who still wait for it. Returns
    /// whether it is, or nothing if the store could not be read: then the asker is to ask again.
    async fn reopen(
        &mut self,
        now: Millis,
        request: RequestId,
        proof: ArtifactId,
    ) -> Result<Option<bool>, ActorProcessingErr> {
        self.outlet.drain().await?;
        let (job, mut requests) = match self.store.job_of(request).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Some(false)),
            Err(error) => {
                log_unread(&error);
                return Ok(None);
            }
        };
        requests.retain(|request| {
            request.state == RequestState::Fulfilled && Millis::from_seconds(request.deadline) > now
        });
        // It may be made again already, or have been.
        let current = job.state == JobState::Proved && job.proof == Some(proof);
        if !current || !requests.iter().any(|waiting| waiting.id == request) {
            return Ok(Some(false));
        }
        tracing::error!(job_id = %job.id, "a finished proof is gone; it is made again");
        let effects = self.core.reopen(now, job, requests);
        self.carry_out(effects, None).await;
        self.outlet.drain().await?;
        Ok(Some(true))
    }

    /// What to answer for a request that is not open: cancelling twice is fine, cancelling what has
    /// ended otherwise is not.
    async fn cancelled_before(&self, id: RequestId, by: Address) -> Result<(), CancelError> {
        let view = self.store.request(id).await.map_err(|error| {
            log_unread(&error);
            CancelError::Unavailable
        })?;
        let Some(RequestView { request, .. }) = view else { return Err(CancelError::NotFound) };
        match request.state {
            _ if request.requester != by => Err(CancelError::NotYours),
            RequestState::Cancelled => Ok(()),
            ended => Err(CancelError::AlreadyEnded(ended)),
        }
    }

    /// Has effects carried out, and the answer given behind them. Whom they are for is settled now: a worker's
    /// later connection has a welcome of its own.
    async fn carry_out(&mut self, effects: Vec<Effect>, answer: Option<Answer>) {
        let (mut changes, mut deeds) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Save(change) => changes.push(change),
                Effect::Send(worker, message) => {
                    if let Some((_, session)) = self.sessions.get(&worker) {
                        deeds.push(Deed::Send(session.clone(), message));
                    }
                }
                Effect::Drop(worker, reason) => {
                    let session = self.sessions.get(&worker).map(|(_, session)| session.clone());
                    deeds.push(Deed::Drop(worker, session, reason));
                }
                Effect::Check { lease, proof, claim } => {
                    let job = self.core.job_leased(lease);
                    deeds.push(Deed::Check(Box::new(Check { lease, job, proof, claim })));
                }
            }
        }
        changes.extend(self.webhooks.notices(&changes));
        if changes.is_empty() && deeds.is_empty() && answer.is_none() {
            return;
        }
        self.outlet.push(changes, deeds, answer).await;
    }
}

fn answer_by(answer: impl FnOnce() + Send + 'static) -> Option<Answer> {
    Some(Box::new(answer))
}

fn log_unread(error: &StoreError) {
    tracing::warn!(error = %error_chain(error), "a request could not be looked up");
}
