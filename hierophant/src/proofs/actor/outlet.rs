//! Carries decisions out in their order: first the store, then the workers, then the reply.
//!
//! The actor does not wait for the disk. What it has decided goes through a queue; while one transaction is
//! under way, the next decisions gather and are written together. Nothing of a decision is told to anybody
//! before it is stored, and what is asked about the present is answered behind what was decided before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backon::Retryable;
use hierophant_model::clients::Clients;
use hierophant_model::records::{Change, Claim, Millis};
use hierophant_model::text::error_chain;
use network_lib::ids::{ArtifactId, JobId, LeaseId, Sha256Digest, WorkerId};
use network_lib::task;
use network_lib::wire::ToWorker;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ask::tell;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::proofs::log;
use crate::proofs::message::ProofsMsg;
use crate::session::{CloseReason, SessionHandle};
use crate::store::{self, JobStore, StoreError};
use crate::traces;
use crate::verify::ProofChecker;
use crate::webhooks::Webhooks;

/// Decisions that may share a transaction.
const AT_ONCE: usize = 128;

/// Decisions that may wait; beyond that the actor waits, too.
const WAITING: usize = 1024;

/// Keys of changes that are remembered before those that are stored are forgotten.
const KEYS_KEPT: usize = 4096;

/// What is done when a decision is stored.
#[derive(Debug)]
pub(super) enum Deed {
    /// Tell a worker.
    Send(SessionHandle, ToWorker),
    /// Close a worker's connection, for this reason.
    Drop(WorkerId, Option<SessionHandle>, String),
    /// Check a proof.
    Check(Box<Check>),
}

/// A proof that is to be checked.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) lease: LeaseId,
    pub(super) job: Option<JobId>,
    pub(super) proof: ArtifactId,
    pub(super) claim: Claim,
}

/// What is told to whoever asked.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// A decision.
struct Step {
    number: u64,
    changes: Vec<Change>,
    deeds: Vec<Deed>,
    answer: Option<Answer>,
}

/// What carrying out takes.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) checker: ProofChecker,
    pub(super) clients: Clients,
    pub(super) metrics: Metrics,
    pub(super) events: Events,
    pub(super) webhooks: Webhooks,
}

/// The actor's end of the queue.
#[derive(Debug)]
pub(super) struct Outlet {
    steps: mpsc::Sender<Step>,
    carrying_out: Option<JoinHandle<Result<(), StoreError>>>,
    /// Number of the latest decision.
    decided: u64,
    /// Number of the latest one that is stored.
    stored: Arc<AtomicU64>,
    /// What decisions were about that may not be stored yet: keys of jobs and of calls, and the decision.
    keys: BTreeMap<Sha256Digest, u64>,
}

impl Outlet {
    /// An outlet for the decisions of `actor`.
    pub(super) fn new(means: Means, actor: ActorRef<ProofsMsg>) -> Self {
        let (steps, waiting) = mpsc::channel(WAITING);
        let stored = Arc::new(AtomicU64::new(0));
        let carrier = Carrier { means, actor, stored: Arc::clone(&stored) };
        let carrying_out = Some(task::spawn("carry out", carrier.carry_out(waiting)));
        Self { steps, carrying_out, decided: 0, stored, keys: BTreeMap::new() }
    }

    /// Has a decision carried out.
    pub(super) async fn push(
        &mut self,
        changes: Vec<Change>,
        deeds: Vec<Deed>,
        answer: Option<Answer>,
    ) {
        self.decided += 1;
        for change in &changes {
            let key = match change {
                Change::Job(job) => job.key,
                Change::Request(request, spec) => request.idempotency_key(spec),
                _ => continue,
            };
            self.keys.insert(key, self.decided);
        }
        if self.keys.len() > KEYS_KEPT {
            let stored = self.stored.load(Ordering::Acquire);
            self.keys.retain(|_, number| *number > stored);
        }
        let step = Step { number: self.decided, changes, deeds, answer };
        // Without anybody to take it, the word that says why is in the mailbox already.
        let _ = self.steps.send(step).await;
    }

    /// Whether something about this job or call is decided and may not be stored yet: then the store's word
    /// is out of date.
    pub(super) fn is_ahead_of_store(&self, key: Sha256Digest) -> bool {
        let stored = self.stored.load(Ordering::Acquire);
        self.keys.get(&key).is_some_and(|number| *number > stored)
    }

    /// Waits until everything is carried out.
    ///
    /// # Errors
    ///
    /// When the store does not take it.
    pub(super) async fn drain(&mut self) -> Result<(), ActorProcessingErr> {
        let (done, waiting) = oneshot::channel();
        let answer: Answer = Box::new(move || {
            let _ = done.send(());
        });
        self.push(Vec::new(), Vec::new(), Some(answer)).await;
        match waiting.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Why nothing is carried out any more.
    pub(super) async fn failure(&mut self) -> ActorProcessingErr {
        let ended = match self.carrying_out.take() {
            Some(task) => task.await,
            None => return "the store has failed".into(),
        };
        match ended {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) => "decisions are not carried out any more".into(),
            Err(panic) => panic.into(),
        }
    }
}

/// The other end.
struct Carrier {
    means: Means,
    actor: ActorRef<ProofsMsg>,
    stored: Arc<AtomicU64>,
}

impl Carrier {
    /// Carries out what comes until nothing can come any more.
    ///
    /// A store that stays away ends the actor: it has moved on and the store has not, and only a fresh start
    /// from the store makes them agree again. No promise has left by then.
    async fn carry_out(self, mut waiting: mpsc::Receiver<Step>) -> Result<(), StoreError> {
        let mut steps = Vec::new();
        while waiting.recv_many(&mut steps, AT_ONCE).await > 0 {
            if let Err(error) = self.carry_out_all(std::mem::take(&mut steps)).await {
                tell(&self.actor, ProofsMsg::StoreLost);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn carry_out_all(&self, mut steps: Vec<Step>) -> Result<(), StoreError> {
        let changes: Vec<Change> =
            steps.iter_mut().flat_map(|step| std::mem::take(&mut step.changes)).collect();
        let Means { store, clients, metrics, events, webhooks, .. } = &self.means;
        if !changes.is_empty() {
            (|| store.commit(&changes))
                .retry(store::patience())
                .when(StoreError::is_transient)
                .notify(|error, rest| {
                    tracing::warn!(error = %error_chain(error), ?rest, "the store did not take a change");
                })
                .await?;
        }
        if let Some(last) = steps.last() {
            self.stored.store(last.number, Ordering::Release);
        }
        for change in &changes {
            log::changed(change, clients);
            metrics.changed(change);
            events.changed(change);
            traces::changed(change);
        }
        webhooks.kept(&changes);
        for step in steps {
            step.deeds.into_iter().for_each(|deed| self.act(deed));
            if let Some(answer) = step.answer {
                answer();
            }
        }
        Ok(())
    }

    fn act(&self, deed: Deed) {
        match deed {
            Deed::Send(session, message) => session.send(message),
            Deed::Drop(worker, session, reason) => {
                tracing::warn!(worker_id = %worker, reason, "Contemplant dropped");
                if let Some(session) = session {
                    session.close(CloseReason::Dropped(reason));
                }
            }
            Deed::Check(check) => {
                let Check { lease, job, proof, claim } = *check;
                let Means { checker, metrics, .. } = self.means.clone();
                let actor = self.actor.clone();
                task::spawn("check proof", async move {
                    let (mode, started, began) = (claim.mode, Instant::now(), Millis::now());
                    let verdict = checker.check(proof, claim).await;
                    metrics.verified(mode, &verdict, started.elapsed());
                    log::checked(job, lease, &verdict, started.elapsed());
                    if let Some(job) = job {
                        traces::verified(job, lease, mode, began, &verdict);
                    }
                    tell(&actor, ProofsMsg::Checked(lease, verdict));
                });
            }
        }
    }
}
