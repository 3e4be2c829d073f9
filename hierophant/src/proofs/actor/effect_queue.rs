//! Queue of decided effects, executed in order: first the store, then the workers, then the answer.
//!
//! The actor does not wait for the disk: its decisions pass through this queue. While one transaction is written,
//! later decisions gather and share the next one. No effect of a decision is visible before it is stored, and a
//! query is answered behind the decisions that preceded it.

mod transactions;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use backon::Retryable;
use futures_util::StreamExt;
use hierophant_model::clients::Clients;
use hierophant_model::records::{Change, Claim, Millis};
use hierophant_model::text::error_chain;
use hierophant_scheduler::proofs::{Assembly, PartCheck, PartVerdict};
use hierophant_store::{JobStore, StoreError};
use network_lib::ids::{ArtifactId, JobId, LeaseId, Sha256Digest, WorkerId};
use network_lib::shard::TaskToWorker;
use network_lib::task;
use network_lib::wire::ToWorker;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::artifacts::task_blobs::TaskBlobs;
use crate::ask::tell;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::proofs::assembly::Assembler;
use crate::proofs::log;
use crate::proofs::lookup::StoredDecisions;
use crate::proofs::message::ProofsMsg;
use crate::session::{CloseReason, SessionHandle};
use crate::traces;
use crate::verify::ProofChecker;
use crate::webhooks::Webhooks;

use transactions::transactions;

/// Maximum decisions that share a transaction.
const MAX_BATCH: usize = 128;

/// Maximum decisions that wait; beyond it the actor waits too (back-pressure).
const MAX_PENDING: usize = 1024;

/// Number of results of tasks that wait for their verification at the same time.
const PARTS_AT_ONCE: usize = 8;

/// Maximum keys that are remembered before those of stored decisions are removed.
const MAX_KEYS: usize = 4096;

/// An effect outside the store; executed once its decision is stored.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a message lives until it is written")]
pub(super) enum SideEffect {
    /// Send a message to a worker.
    Send(SessionHandle, ToWorker),
    /// Close a worker's connection, for this reason.
    Drop(WorkerId, Option<SessionHandle>, String),
    /// Verify a proof.
    Check(Box<Check>),
    /// Assemble a proof from its parts.
    Assemble(Box<Assembly>),
    /// Verify results of tasks.
    CheckParts(Box<PartCheck>),
    /// Remove a stored blob of a job's tasks.
    FreeTaskBlob(JobId, Sha256Digest),
    /// Remove all stored blobs of a job's tasks.
    FreeTaskBlobs(JobId),
}

/// Proof to verify.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) lease: LeaseId,
    pub(super) job: Option<JobId>,
    pub(super) proof: ArtifactId,
    pub(super) claim: Claim,
}

/// Gives the answer to a call.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// A decision.
struct Decision {
    number: u64,
    changes: Vec<Change>,
    side_effects: Vec<SideEffect>,
    answer: Option<Answer>,
}

/// What executing effects requires.
#[derive(Debug, Clone)]
pub(super) struct Deps {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) checker: ProofChecker,
    pub(super) tasks: TaskBlobs,
    pub(super) assembler: Assembler,
    pub(super) clients: Clients,
    pub(super) metrics: Metrics,
    pub(super) events: Events,
    pub(super) webhooks: Webhooks,
}

/// The actor's end of the queue.
#[derive(Debug)]
pub(super) struct EffectQueue {
    decisions: mpsc::Sender<Decision>,
    committing: Option<JoinHandle<Result<(), StoreError>>>,
    /// Number of the latest decision.
    decided: u64,
    /// Number of the latest decision that is stored.
    stored: StoredDecisions,
    /// Keys of jobs and calls, with the number of the latest decision about each.
    keys: BTreeMap<Sha256Digest, u64>,
    /// Number up to which decisions may have been removed from `keys`.
    forgotten: u64,
}

impl EffectQueue {
    /// A queue for the decisions of `actor`.
    pub(super) fn new(deps: Deps, actor: ActorRef<ProofsMsg>, stored: StoredDecisions) -> Self {
        let (decisions, waiting) = mpsc::channel(MAX_PENDING);
        let alarm = Alarm(actor.clone());
        let committer = Committer { deps, actor, stored: stored.clone() };
        let committing = Some(task::spawn("committer", async move {
            let ended = committer.run(waiting).await;
            drop(alarm);
            ended
        }));
        Self { decisions, committing, decided: 0, stored, keys: BTreeMap::new(), forgotten: 0 }
    }

    /// Queues a decision.
    pub(super) async fn push(
        &mut self,
        changes: Vec<Change>,
        side_effects: Vec<SideEffect>,
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
        if self.keys.len() > MAX_KEYS {
            self.forgotten = self.stored.latest();
            self.keys.retain(|_, number| *number > self.forgotten);
        }
        let decision = Decision { number: self.decided, changes, side_effects, answer };
        // If the committer has ended, `StoreLost` is in the mailbox already.
        let _ = self.decisions.send(decision).await;
    }

    /// Whether the latest decision about this job or call is part of what was read from the store when the decision
    /// with this number was stored.
    pub(super) fn is_part_of(&self, key: Sha256Digest, number: u64) -> bool {
        number >= self.forgotten && self.keys.get(&key).is_none_or(|decided| *decided <= number)
    }

    /// Waits until every queued decision is executed.
    ///
    /// # Errors
    ///
    /// When the store has failed.
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

    /// The reason why the committer has ended.
    pub(super) async fn failure(&mut self) -> ActorProcessingErr {
        let ended = match self.committing.take() {
            Some(task) => task.await,
            None => return "the store has failed".into(),
        };
        match ended {
            Ok(Err(error)) => error_chain(&error).into(),
            Ok(Ok(())) => "the committer has stopped".into(),
            Err(panic) => panic.into(),
        }
    }
}

/// Notifies the actor of the committer's end when it is dropped: also after a panic, after which decisions would go to
/// no one.
struct Alarm(ActorRef<ProofsMsg>);

impl Drop for Alarm {
    fn drop(&mut self) {
        tell(&self.0, ProofsMsg::StoreLost);
    }
}

/// The store's end of the queue.
struct Committer {
    deps: Deps,
    actor: ActorRef<ProofsMsg>,
    stored: StoredDecisions,
}

impl Committer {
    /// Executes decisions until the queue is closed.
    ///
    /// A store that stays unavailable ends the actor: its state is ahead of the store, and only a restart from the
    /// store reconciles them. No answer of an unstored decision has been given by then.
    async fn run(self, mut waiting: mpsc::Receiver<Decision>) -> Result<(), StoreError> {
        let mut decisions = Vec::new();
        while waiting.recv_many(&mut decisions, MAX_BATCH).await > 0 {
            for together in transactions(std::mem::take(&mut decisions)) {
                self.commit_all(together).await?;
            }
        }
        Ok(())
    }

    async fn commit_all(&self, mut decisions: Vec<Decision>) -> Result<(), StoreError> {
        let changes: Vec<Change> = decisions
            .iter_mut()
            .flat_map(|decision| std::mem::take(&mut decision.changes))
            .collect();
        let Deps { store, clients, metrics, events, webhooks, .. } = &self.deps;
        if !changes.is_empty() {
            (|| store.commit(&changes))
                .retry(hierophant_store::retry_policy())
                .when(StoreError::is_transient)
                .notify(|error, rest| {
                    tracing::warn!(error = %error_chain(error), ?rest, "commit failed; retrying");
                })
                .await?;
        }
        if let Some(last) = decisions.last() {
            self.stored.advance(last.number);
        }
        for change in &changes {
            log::changed(change, clients);
            metrics.changed(change);
            events.changed(change);
            traces::changed(change);
        }
        webhooks.kept(&changes, clients);
        let mut jobs_sent = Vec::new();
        for decision in decisions {
            for side_effect in decision.side_effects {
                if let SideEffect::Send(
                    _,
                    ToWorker::Prove { lease_id, .. }
                    | ToWorker::Task(TaskToWorker::Run { lease_id, .. }),
                ) = &side_effect
                {
                    jobs_sent.push(*lease_id);
                }
                self.execute_side_effect(side_effect);
            }
            if let Some(answer) = decision.answer {
                answer();
            }
        }
        if !jobs_sent.is_empty() {
            tell(&self.actor, ProofsMsg::JobsSent(jobs_sent));
        }
        Ok(())
    }

    fn execute_side_effect(&self, side_effect: SideEffect) {
        match side_effect {
            SideEffect::Send(session, message) => session.send(message),
            SideEffect::Drop(worker, session, reason) => {
                tracing::warn!(worker_id = %worker, reason, "worker dropped");
                if let Some(session) = session {
                    session.close(CloseReason::Dropped(reason));
                }
            }
            SideEffect::Assemble(assembly) => self.assemble(*assembly),
            SideEffect::CheckParts(check) => self.check_parts(*check),
            SideEffect::FreeTaskBlob(job, blob) => {
                let tasks = self.deps.tasks.clone();
                task::spawn("free a blob of a task", async move {
                    log_leftover(job, tasks.remove(job, blob).await);
                });
            }
            SideEffect::FreeTaskBlobs(job) => {
                let tasks = self.deps.tasks.clone();
                task::spawn("free the blobs of a job", async move {
                    log_leftover(job, tasks.remove_all(job).await);
                });
            }
            SideEffect::Check(check) => {
                let Check { lease, job, proof, claim } = *check;
                let Deps { checker, metrics, .. } = self.deps.clone();
                let actor = self.actor.clone();
                let span = tracing::info_span!(
                    "job",
                    job_id = job.map(tracing::field::display),
                    lease = lease.hint()
                );
                span.in_scope(|| {
                    task::spawn("check proof", async move {
                        let (mode, started, started_at) =
                            (claim.mode, Instant::now(), Millis::now());
                        let verdict = checker.check(proof, claim).await;
                        metrics.verified(mode, &verdict, started.elapsed());
                        log::checked(job, lease, &verdict, started.elapsed());
                        if let Some(job) = job {
                            traces::verified(job, lease, mode, started_at, &verdict);
                        }
                        tell(&actor, ProofsMsg::Checked(lease, verdict));
                    })
                });
            }
        }
    }

    /// Verifies results of tasks in its own task and reports the verdicts.
    fn check_parts(&self, check: PartCheck) {
        let Deps { checker, tasks, .. } = self.deps.clone();
        let actor = self.actor.clone();
        let span = tracing::info_span!("job", job_id = %check.job);
        span.in_scope(|| {
            task::spawn("check parts", async move {
                let started = Instant::now();
                let common = tasks.path(check.job, check.common.sha256);
                let verdicts = if checker.is_common_of(&common, check.program).await {
                    let verdicts = check.parts.clone().into_iter().map(|part| {
                        let path = tasks.path(check.job, part.blob.sha256);
                        let (checker, program) = (checker.clone(), check.program);
                        async move { checker.check_part(&path, &part, program).await }
                    });
                    futures_util::stream::iter(verdicts).buffered(PARTS_AT_ONCE).collect().await
                } else {
                    vec![PartVerdict::Unknown; check.parts.len()]
                };
                log::parts_checked(&check, &verdicts, started.elapsed());
                tell(&actor, ProofsMsg::PartsChecked(Box::new(check), verdicts));
            })
        });
    }

    /// Assembles a proof in its own task and reports the outcome.
    fn assemble(&self, assembly: Assembly) {
        let (assembler, actor) = (self.deps.assembler.clone(), self.actor.clone());
        let span =
            tracing::info_span!("job", job_id = %assembly.job, lease = assembly.lease.hint());
        span.in_scope(|| {
            task::spawn("assemble proof", async move {
                let started = Instant::now();
                let assembled = assembler.assemble(&assembly).await;
                log::assembled(&assembly, &assembled, started.elapsed());
                tell(&actor, ProofsMsg::Assembled(assembly.lease, assembled));
            })
        });
    }
}

/// Logs files that could not be removed. They are removed at the next start after the end of their job.
fn log_leftover(job: JobId, removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(job_id = %job, %error, "cannot remove bytes of tasks");
    }
}

#[cfg(test)]
mod tests;
