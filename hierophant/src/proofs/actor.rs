//! Actor of requests and jobs: asks the core for decisions and queues their effects (`effect_queue`): first the
//! store, then the workers, then the answer.
//!
//! Every call is answered through the queue, so that an answer never precedes the storing of an earlier decision.

mod clear;
mod decide;
mod effect_queue;
mod shared_overview;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hierophant_model::clients::Clients;
use hierophant_model::commands::Cleared;
use hierophant_model::records::{Millis, UnfinishedSharding};
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::{Effect, IdSource, Limits, ProofsCore, RestoredState};
use hierophant_scheduler::proofs::duration::MAX_SAMPLES;
use hierophant_store::JobStore;
use network_lib::ids::WorkerId;
use network_lib::task;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};

use super::assembly::Assembler;
use super::handle::ProofsHandle;
use super::lookup::{Lookups, StoredDecisions};
use super::message::{Clearing, ProofsMsg};
use crate::artifacts::blobs::Blobs;
use crate::artifacts::task_blobs::TaskBlobs;
use crate::artifacts::{ArtifactsHandle, audit};
use crate::ask::{reply, tell};
use crate::clock::{Clock, Sweeps};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::session::SessionHandle;
use crate::session::inbox::Reports;
use crate::verify::ProofChecker;
use crate::webhooks::Webhooks;

use effect_queue::{Answer, Check, Deps, EffectQueue, SideEffect};
use shared_overview::SharedOverview;

/// Interval of the sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of the actor.
#[derive(Debug)]
pub struct ProofsArguments {
    /// Store.
    pub store: Arc<dyn JobStore>,
    /// Data of programs, inputs and proofs.
    pub blobs: Blobs,
    /// Owner of artifacts, which keeps assembled proofs.
    pub artifacts: ArtifactsHandle,
    /// Bytes of tasks.
    pub tasks: TaskBlobs,
    /// Limits of the scheduler.
    pub limits: Limits,
    /// Time for which content that was set aside is not tried again; 0 = no quarantine.
    pub quarantine: Duration,
    /// Verifier of finished proofs.
    pub checker: ProofChecker,
    /// Metrics.
    pub metrics: Metrics,
    /// Event stream.
    pub events: Events,
    /// Webhooks.
    pub webhooks: Webhooks,
}

/// State of the actor.
#[derive(Debug)]
pub struct ProofsState {
    core: ProofsCore,
    clients: Clients,
    metrics: Metrics,
    events: Events,
    webhooks: Webhooks,
    queue: EffectQueue,
    sessions: Sessions,
    overview: SharedOverview,
    clock: Clock,
    sweeps: Sweeps,
    /// Whether a sweep follows as soon as everything decided is stored.
    is_sweep_queued: bool,
}

/// Actor of requests and jobs.
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
        let stored = StoredDecisions::default();
        let (store, clients) = (Arc::clone(&arguments.store), arguments.limits.clients.clone());
        let blobs = arguments.blobs.clone();
        let lookups = Lookups::new(store, blobs, clients, arguments.quarantine, stored.clone());
        let (actor, _) = Actor::spawn_linked(None, Self, (arguments, stored), supervisor).await?;
        Ok(ProofsHandle::new(actor, lookups))
    }
}

#[ractor::async_trait]
impl Actor for ProofsActor {
    type Msg = ProofsMsg;
    type State = ProofsState;
    type Arguments = (ProofsArguments, StoredDecisions);

    async fn pre_start(
        &self,
        myself: ActorRef<ProofsMsg>,
        (arguments, stored): Self::Arguments,
    ) -> Result<ProofsState, ActorProcessingErr> {
        let ProofsArguments { store, blobs, artifacts, tasks, limits, .. } = arguments;
        let ProofsArguments { checker, metrics, events, webhooks, .. } = arguments;
        let now = Millis::now();
        let unfinished = store.unfinished_jobs().await?;
        let since = Millis(now.0.saturating_sub(limits.strike_decay_ms));
        let strikes = store.strikes(since, now).await?;
        let settings = store.settings().await?;
        let ended = if limits.race_after > 0.0 {
            store.finished_jobs(MAX_SAMPLES, None).await?.into_iter().map(|(job, _)| job).collect()
        } else {
            Vec::new()
        };
        if !unfinished.is_empty() {
            tracing::info!(jobs = unfinished.len(), "unfinished jobs restored from the store");
        }
        let damaged = audit::damaged(&blobs, &unfinished).await;
        if !damaged.is_empty() {
            tracing::error!(
                artifacts = damaged.len(),
                "artifacts of unfinished jobs missing or damaged"
            );
        }
        let unfinished_shardings = store.unfinished_shardings().await?;
        clear_ended(&tasks, &unfinished_shardings);
        let stored_of = |found: UnfinishedSharding| {
            let blobs = tasks.stored(found.sharding.job);
            (found, blobs)
        };
        let shardings = unfinished_shardings.into_iter().map(stored_of).collect();
        let mut clock = Clock::start();
        let (now, _) = clock.read();
        let restored = RestoredState { unfinished, damaged, strikes, ended, settings, shardings };
        let clients = limits.clients.clone();
        let (core, effects) = ProofsCore::restore(now, limits, IdSource::random(), restored);
        let deps = Deps {
            store,
            checker,
            assembler: Assembler { tasks: tasks.clone(), blobs, artifacts },
            tasks,
            clients: clients.clone(),
            metrics: metrics.clone(),
            events: events.clone(),
            webhooks: webhooks.clone(),
        };
        let mut state = ProofsState {
            core,
            clients,
            metrics,
            events,
            webhooks,
            queue: EffectQueue::new(deps, myself.clone(), stored),
            sessions: Sessions::default(),
            overview: SharedOverview::default(),
            clock,
            sweeps: Sweeps::start(SWEEP_INTERVAL),
            is_sweep_queued: false,
        };
        state.execute(effects, None).await;
        state.queue.drain().await?;
        state.sweep_on(&myself).await;
        myself.send_interval(SWEEP_INTERVAL, || ProofsMsg::Sweep);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ProofsMsg>,
        message: ProofsMsg,
        state: &mut ProofsState,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.time();
        if let Some(worker) = message.affected_worker() {
            state.events.worker(worker);
        }
        let core = &mut state.core;
        // The turn of a worker's message stays in `message`, and is returned once its effects are queued.
        let (effects, answer) = match message {
            ProofsMsg::Submit(new, known, port) => state.submit(now, *new, *known, port),
            ProofsMsg::Cancel(id, by, port) => {
                let (answer, effects) = core.cancel(now, id, &by);
                (effects, answer_on(port, answer))
            }
            ProofsMsg::ProofStored(lease, artifact, blob, port) => {
                let (counts, effects) = core.proof_stored(now, lease, artifact, blob);
                (effects, answer_on(port, counts))
            }
            ProofsMsg::LeaseAccess(lease, worker, port) => {
                (Vec::new(), answer_on(port, core.lease_access(lease, worker)))
            }
            ProofsMsg::TaskBlob(lease, worker, blob, port) => {
                (Vec::new(), answer_on(port, core.task_blob(lease, worker, blob)))
            }
            ProofsMsg::MayHandIn(lease, worker, blob, port) => {
                (Vec::new(), answer_on(port, core.may_hand_in(lease, worker, blob)))
            }
            ProofsMsg::HandedIn(lease, worker, job, blob, port) => {
                let (counts, effects) = core.handed_in(now, (worker, lease), job, blob);
                (effects, answer_on(port, counts))
            }
            ProofsMsg::TaskBlobMissing(job, blob) => (core.task_blob_missing(now, job, blob), None),
            ProofsMsg::Assembled(lease, assembled) => (core.assembled(now, lease, assembled), None),
            ProofsMsg::Alive(port) => (Vec::new(), answer_on(port, ())),
            ProofsMsg::Overview(port) => {
                (Vec::new(), answer_on(port, state.overview.get(|| core.overview())))
            }
            ProofsMsg::WaitingTasks(job, port) => {
                (Vec::new(), answer_on(port, core.waiting_tasks_of(job)))
            }
            ProofsMsg::Why(job, port) => (Vec::new(), answer_on(port, core.why(now, job))),
            ProofsMsg::QueueSnapshot(offset, limit, port) => {
                (Vec::new(), answer_on(port, core.queue_snapshot(now, offset, limit)))
            }
            ProofsMsg::Reopen(ended, port) => state.reopen(now, *ended, port),
            ProofsMsg::Command(command, port) => {
                let (answer, effects) = core.command(now, &command);
                (effects, answer_on(port, answer))
            }
            ProofsMsg::Recreate(ended, port) => state.recreate(now, *ended, port),
            ProofsMsg::PreviewClear(filter, port) => {
                (Vec::new(), answer_on(port, core.preview_clear(&filter)))
            }
            ProofsMsg::Clear(filter, port) => {
                let (left, cleared) = (core.preview_clear(&filter).jobs, Cleared::default());
                let clearing = Clearing { left, requester: filter.requester, cleared, port };
                state.clear(&myself, now, clearing)
            }
            ProofsMsg::ContinueClear(clearing) => state.clear(&myself, now, *clearing),
            ProofsMsg::WorkerDrained(worker, session, drained) => {
                (core.worker_drained(now, worker, session, drained), None)
            }
            ProofsMsg::InputLost(lease) => (core.input_lost(now, lease), None),
            ProofsMsg::WorkerJoined(joined, handle) => {
                state.sessions.insert(joined.worker, joined.session, handle);
                (core.worker_joined(now, *joined), None)
            }
            ProofsMsg::CapabilitiesChanged(worker, session, capabilities, _) => {
                (core.capabilities_changed(now, worker, session, capabilities), None)
            }
            ProofsMsg::WorkerDraining(worker, session, _) => {
                (core.worker_draining(now, worker, session), None)
            }
            ProofsMsg::WorkerAway(worker, session) => {
                state.sessions.remove(worker, session);
                (core.worker_away(now, worker, session), None)
            }
            ProofsMsg::WorkerRemoved(worker, session, reason) => {
                state.sessions.remove(worker, session);
                (core.worker_removed(now, worker, session, &reason), None)
            }
            ProofsMsg::Reported(worker, session, inbox) => {
                let Reports { held, progress } = inbox.take_reports();
                if !progress.is_empty() {
                    state.events.worker(worker);
                }
                let mut effects = Vec::new();
                for (lease, progress) in progress {
                    effects.extend(core.progressed(now, worker, lease, progress));
                }
                if let Some(held) = held {
                    effects.extend(core.held_leases(now, worker, session, &held));
                }
                (effects, None)
            }
            ProofsMsg::Executed(worker, lease, execution, _) => {
                (core.executed(now, worker, lease, execution), None)
            }
            ProofsMsg::Completed(worker, lease, execution, proof, _) => {
                (core.completed(now, worker, lease, execution, proof), None)
            }
            ProofsMsg::Failed(worker, lease, failure, _) => {
                (core.failed(now, worker, lease, failure), None)
            }
            ProofsMsg::TaskWord(worker, word, _) => (core.task_word(now, worker, word), None),
            ProofsMsg::Checked(lease, verdict) => (core.checked(now, lease, verdict), None),
            ProofsMsg::PartsChecked(check, verdicts) => {
                (core.parts_checked(now, *check, &verdicts), None)
            }
            ProofsMsg::JobsSent(leases) => {
                core.jobs_sent(&leases);
                (Vec::new(), None)
            }
            ProofsMsg::StoreLost => return Err(state.queue.failure().await),
            ProofsMsg::Sweep => {
                if let Some(late) = state.sweeps.late() {
                    core.excuse(now, Millis::from(late).0);
                }
                (core.sweep(now), None)
            }
            ProofsMsg::SweepOn => {
                state.is_sweep_queued = false;
                (core.sweep(now), None)
            }
        };
        state.execute(effects, answer).await;
        state.sweep_on(&myself).await;
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<ProofsMsg>,
        state: &mut ProofsState,
    ) -> Result<(), ActorProcessingErr> {
        state.queue.drain().await
    }
}

impl ProofsState {
    /// Current time. If the system's clock was set, the core adjusts what it remembers.
    fn time(&mut self) -> Millis {
        let (now, set_by) = self.clock.read();
        if set_by != 0 {
            let seconds = set_by / 1000;
            tracing::warn!(seconds, "system clock changed: deadlines follow it, limits do not");
            self.core.clock_set(set_by);
        }
        now
    }

    /// Lets a sweep follow if one event could not take everything that is due. It follows when the store has what was
    /// decided so far, and other messages are handled in between.
    async fn sweep_on(&mut self, myself: &ActorRef<ProofsMsg>) {
        if self.is_sweep_queued || !self.core.is_behind() {
            return;
        }
        self.is_sweep_queued = true;
        let myself = myself.clone();
        let next: Answer = Box::new(move || tell(&myself, ProofsMsg::SweepOn));
        self.queue.push(Vec::new(), Vec::new(), Some(next)).await;
    }

    /// Queues effects, and the answer behind them. Only a recall is executed at once, because its worker must not begin
    /// what another one is given when the store answers. Messages go to the connections of this moment: a later
    /// connection of the same worker gets a welcome of its own.
    async fn execute(&mut self, effects: Vec<Effect>, answer: Option<Answer>) {
        let (mut changes, mut side_effects) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Save(change) => changes.push(change),
                Effect::Send(worker, message) => {
                    if let Some(session) = self.sessions.get(worker) {
                        side_effects.push(SideEffect::Send(session, message));
                    }
                }
                Effect::Recall(worker, message) => {
                    let Some(session) = self.sessions.get(worker) else { continue };
                    // The welcome is the first message of a connection.
                    if session.is_welcomed() {
                        session.send(message);
                    } else {
                        side_effects.push(SideEffect::Send(session, message));
                    }
                }
                Effect::Drop(worker, reason) => {
                    side_effects.push(SideEffect::Drop(worker, self.sessions.get(worker), reason));
                }
                Effect::Assemble(assembly) => side_effects.push(SideEffect::Assemble(assembly)),
                Effect::CheckParts(check) => side_effects.push(SideEffect::CheckParts(check)),
                Effect::FreeTaskBlob(job, blob) => {
                    side_effects.push(SideEffect::FreeTaskBlob(job, blob));
                }
                Effect::FreeTaskBlobs(job) => side_effects.push(SideEffect::FreeTaskBlobs(job)),
                Effect::Check { lease, proof, claim } => {
                    let job = self.core.job_of_lease(lease);
                    side_effects.push(SideEffect::Check(Box::new(Check {
                        lease,
                        job,
                        proof,
                        claim,
                    })));
                }
            }
        }
        changes.extend(self.webhooks.notices(&changes, &self.clients));
        if changes.is_empty() && side_effects.is_empty() && answer.is_none() {
            return;
        }
        self.queue.push(changes, side_effects, answer).await;
    }
}

/// Connections of the workers that can be sent to.
#[derive(Debug, Default)]
struct Sessions(BTreeMap<WorkerId, (SessionId, SessionHandle)>);

impl Sessions {
    fn insert(&mut self, worker: WorkerId, session: SessionId, handle: SessionHandle) {
        self.0.insert(worker, (session, handle));
    }

    /// Removes a connection that has ended, unless a later one has taken its place.
    fn remove(&mut self, worker: WorkerId, session: SessionId) {
        if self.0.get(&worker).is_some_and(|(current, _)| *current == session) {
            self.0.remove(&worker);
        }
    }

    fn get(&self, worker: WorkerId) -> Option<SessionHandle> {
        self.0.get(&worker).map(|(_, handle)| handle.clone())
    }
}

/// Removes the bytes of tasks whose jobs have ended, in the background: their end was stored, and Hierophant ended before
/// they were freed.
fn clear_ended(tasks: &TaskBlobs, unfinished: &[UnfinishedSharding]) {
    let jobs: BTreeSet<_> = unfinished.iter().map(|found| found.sharding.job).collect();
    let tasks = tasks.clone();
    task::spawn("clear bytes of tasks", async move {
        if let Err(error) = tasks.retain(&jobs).await {
            tracing::warn!(%error, "cannot remove bytes of tasks of ended jobs");
        }
    });
}

/// Answer to a call, given once all earlier decisions are stored.
fn answer_on<T: Send + 'static>(port: RpcReplyPort<T>, answer: T) -> Option<Answer> {
    Some(Box::new(move || reply(port, answer)))
}
