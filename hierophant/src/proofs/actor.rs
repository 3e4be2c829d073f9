//! Carries the core's decisions out: first the store, then the workers, then the reply.

mod operate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use backon::Retryable;
use network_lib::ids::{ArtifactId, RequestId, WorkerId};
use network_lib::task;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::time::Instant;

use super::core::{Effect, IdSource, Known, Limits, Past, ProofsCore};
use super::handle::ProofsHandle;
use super::log;
use super::message::{CancelError, Clearing, NewRequest, ProofsMsg, SubmitError};
use super::pace::LATELY;
use crate::artifacts::audit;
use crate::artifacts::blobs::Blobs;
use crate::ask::{reply, tell};
use crate::clients::{Clients, OverQuota, has_room};
use crate::clock::Clock;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::operate::Cleared;
use crate::records::{JobState, Millis, RequestState, idempotency_key, job_key};
use crate::session::{CloseReason, SessionHandle};
use crate::store::{self, JobStore, RequestView, StoreError};
use crate::traces;
use crate::verify::ProofChecker;
use crate::webhooks::Webhooks;

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
    checker: ProofChecker,
    metrics: Metrics,
    events: Events,
    webhooks: Webhooks,
    sessions: BTreeMap<WorkerId, (u64, SessionHandle)>,
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
        let sessions = BTreeMap::new();
        let mut state = ProofsState {
            core,
            clients,
            store,
            quarantine,
            checker,
            metrics,
            events,
            webhooks,
            sessions,
            clock,
        };
        state.carry_out(&myself, effects).await?;
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
                let answer = state.submit(&myself, now, *new, lost).await?;
                reply(port, answer);
                return Ok(());
            }
            ProofsMsg::Cancel(id, by, port) => {
                let (mut answer, effects) = core.cancel(now, id, by);
                if answer == Err(CancelError::NotFound) {
                    answer = state.cancelled_before(id, by).await;
                }
                state.carry_out(&myself, effects).await?;
                reply(port, answer);
                return Ok(());
            }
            ProofsMsg::ProofStored(lease, artifact, blob, port) => {
                let (counts, effects) = core.proof_stored(now, lease, artifact, blob);
                state.carry_out(&myself, effects).await?;
                reply(port, counts);
                return Ok(());
            }
            ProofsMsg::Lease(lease, port) => {
                reply(port, core.lease_access(lease));
                return Ok(());
            }
            ProofsMsg::Overview(port) => {
                reply(port, core.overview());
                return Ok(());
            }
            ProofsMsg::Why(job, port) => {
                reply(port, core.why(now, job));
                return Ok(());
            }
            ProofsMsg::Line(offset, limit, port) => {
                reply(port, core.line(now, offset, limit));
                return Ok(());
            }
            ProofsMsg::ProofLost(request, proof, port) => {
                // Without an answer of the store there is none to the asker, who reports that.
                if let Some(reopened) = state.reopen(&myself, now, request, proof).await? {
                    reply(port, reopened);
                }
                return Ok(());
            }
            ProofsMsg::Act(action, port) => {
                let answer = state.act(&myself, now, action).await?;
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
            ProofsMsg::Sweep => core.sweep(now),
        };
        state.carry_out(&myself, effects).await
    }
}

impl ProofsState {
    /// Lets go of a connection that is over; its socket closes when nobody holds it any more.
    fn forget_session(&mut self, worker: WorkerId, session: u64) {
        if self.sessions.get(&worker).is_some_and(|(current, _)| *current == session) {
            self.sessions.remove(&worker);
        }
    }

    async fn submit(
        &mut self,
        myself: &ActorRef<ProofsMsg>,
        now: Millis,
        new: NewRequest,
        lost: Option<ArtifactId>,
    ) -> Result<Result<RequestId, SubmitError>, ActorProcessingErr> {
        let known = match self.known(now, &new, lost).await {
            Ok(known) => known,
            Err(error) => {
                log_unread(&error);
                return Ok(Err(SubmitError::Unavailable));
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
        self.carry_out(myself, effects).await?;
        Ok(answer)
    }

    async fn known(
        &self,
        now: Millis,
        new: &NewRequest,
        lost: Option<ArtifactId>,
    ) -> Result<Known, StoreError> {
        let call = idempotency_key(new.requester, &new.spec, &new.stdin_uri, new.deadline);
        let earlier = self.store.request_by_idempotency_key(call).await?;
        if earlier.is_some() {
            return Ok(Known { earlier, ..Known::default() });
        }
        let key = job_key(&new.spec, &new.stdin_blob);
        let mut ended = self.store.proved_job(key).await?;
        // The API has looked: here everybody would wait for a slow disk or bucket.
        ended = ended.filter(|job| job.proof.is_none() || job.proof != lost);
        if ended.is_none() && !self.quarantine.is_zero() {
            let since = Millis(now.0.saturating_sub(millis(self.quarantine)));
            ended = self.store.set_aside(key, since).await?;
            // A clock that was set back must not make it last longer.
            ended = ended.filter(|job| job.finished_at <= Some(now));
        }
        let over = self.over_cycles(now, new.requester).await?;
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
        myself: &ActorRef<ProofsMsg>,
        now: Millis,
        request: RequestId,
        proof: ArtifactId,
    ) -> Result<Option<bool>, ActorProcessingErr> {
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
        self.carry_out(myself, effects).await?;
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

    /// Writes what is to be saved, then does the rest.
    ///
    /// A store that stays away ends the actor: the core has moved on and the store has not, and only a
    /// fresh start from the store makes them agree again. No promise has left by then.
    async fn carry_out(
        &mut self,
        myself: &ActorRef<ProofsMsg>,
        effects: Vec<Effect>,
    ) -> Result<(), ActorProcessingErr> {
        let mut changes = Vec::new();
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Save(change) => changes.push(change),
                other => rest.push(other),
            }
        }
        changes.extend(self.webhooks.notices(&changes));
        if !changes.is_empty() {
            let store = &self.store;
            (|| store.commit(&changes))
                .retry(store::patience())
                .when(StoreError::is_transient)
                .notify(|error, rest| {
                    tracing::warn!(error = %chain(error), ?rest, "the store did not take a change");
                })
                .await?;
            for change in &changes {
                log::changed(change, &self.clients);
                self.metrics.changed(change);
                self.events.changed(change);
                traces::changed(change);
            }
            self.webhooks.kept(&changes);
        }
        for effect in rest {
            match effect {
                Effect::Save(_) => {}
                Effect::Send(worker, message) => {
                    if let Some((_, session)) = self.sessions.get(&worker) {
                        session.send(message);
                    }
                }
                Effect::Drop(worker, reason) => {
                    tracing::warn!(worker_id = %worker, reason, "Contemplant dropped");
                    if let Some((_, session)) = self.sessions.get(&worker) {
                        session.close(CloseReason::Dropped(reason));
                    }
                }
                Effect::Check { lease, proof, claim } => {
                    let (checker, myself) = (self.checker.clone(), myself.clone());
                    let (metrics, job) = (self.metrics.clone(), self.core.job_leased(lease));
                    task::spawn("check proof", async move {
                        let (mode, started, began) = (claim.mode, Instant::now(), Millis::now());
                        let verdict = checker.check(proof, claim).await;
                        metrics.verified(mode, &verdict, started.elapsed());
                        log::checked(job, lease, &verdict, started.elapsed());
                        if let Some(job) = job {
                            traces::verified(job, lease, mode, began, &verdict);
                        }
                        tell(&myself, ProofsMsg::Checked(lease, verdict));
                    });
                }
            }
        }
        Ok(())
    }
}

fn log_unread(error: &StoreError) {
    tracing::warn!(error = %chain(error), "a request could not be looked up");
}

/// A duration in milliseconds, as the core counts time.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Enough of a request id to recognize it; the whole id is a credential and does not belong in logs.
#[must_use]
pub fn short(id: RequestId) -> String {
    hex::encode(&id.0[..8])
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
