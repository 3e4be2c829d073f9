//! Typed interface of the `proofs` actor.

use std::sync::Arc;

use hierophant_model::clients::Client;
use hierophant_model::commands::{ClearFilter, Cleared, Command, CommandError, CommandOutcome};
use hierophant_model::records::Accepted;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::Rejection;
use hierophant_scheduler::proofs::{
    CancelError, HandIn, LeaseAccess, NewRequest, Overview, QueuedJob, SubmitError, TaskBlob,
    WaitingTask, Why, WorkerJoined,
};
use network_lib::handshake::Capabilities;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure};
use network_lib::shard::TaskFromWorker;
use ractor::ActorRef;

use super::lookup::{Lookups, Outdated, log_unread};
use super::message::ProofsMsg;
use crate::ask::{Unanswered, ask, tell};
use crate::session::SessionHandle;
use crate::session::inbox::{Inbox, Turn};

/// Maximum number of look-ups for a call. A second one is needed if the same content was decided about during the
/// first.
const MAX_LOOKUPS: u32 = 10;

/// Handle to the `proofs` actor.
#[derive(Debug, Clone)]
pub struct ProofsHandle {
    actor: ActorRef<ProofsMsg>,
    lookups: Arc<Lookups>,
}

impl ProofsHandle {
    pub(super) fn new(actor: ActorRef<ProofsMsg>, lookups: Lookups) -> Self {
        Self { actor, lookups: Arc::new(lookups) }
    }

    /// A handle for a test that does not look anything up.
    #[cfg(test)]
    pub(crate) fn for_test(
        actor: ActorRef<ProofsMsg>,
        store: Arc<dyn hierophant_store::JobStore>,
        blobs: crate::artifacts::blobs::Blobs,
    ) -> Self {
        let clients = hierophant_model::clients::Clients::default();
        let stored = super::lookup::StoredDecisions::default();
        Self::new(actor, Lookups::new(store, blobs, clients, std::time::Duration::ZERO, stored))
    }

    /// Accepts a request; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; a retry may always succeed.
    pub async fn submit(&self, request: NewRequest) -> Result<Accepted, SubmitError> {
        for _ in 0..MAX_LOOKUPS {
            let known = self.lookups.of_submission(&request).await.map_err(|error| {
                log_unread(&error);
                SubmitError::Unavailable
            })?;
            let (new, known) = (Box::new(request.clone()), Box::new(known));
            match ask(&self.actor, |reply| ProofsMsg::Submit(new, known, reply)).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(Outdated)) => {}
                Err(Unanswered) => break,
            }
        }
        Err(SubmitError::Unavailable)
    }

    /// Cancels a request on behalf of `by`; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`CancelError`] states whether a retry may succeed.
    pub async fn cancel(&self, id: RequestId, by: Client) -> Result<(), CancelError> {
        for _ in 0..MAX_LOOKUPS {
            // Most ids of strangers are unknown or of ended requests, which do not concern the scheduler.
            if let Some(answer) = self.lookups.cancelled_before(id, &by).await {
                return answer;
            }
            let client = by.clone();
            match ask(&self.actor, |reply| ProofsMsg::Cancel(id, client, reply)).await {
                // It has ended since.
                Ok(Err(CancelError::NotFound)) => {}
                Ok(answer) => return answer,
                Err(Unanswered) => break,
            }
        }
        Err(CancelError::Unavailable)
    }

    /// Reports a connected worker. The first message to `session` will be the welcome.
    pub fn worker_joined(&self, joined: WorkerJoined, session: SessionHandle) {
        tell(&self.actor, ProofsMsg::WorkerJoined(Box::new(joined), session));
    }

    /// Reports changed capabilities of a worker.
    pub fn capabilities_changed(
        &self,
        worker: WorkerId,
        session: SessionId,
        now_can: Capabilities,
        turn: Turn,
    ) {
        tell(&self.actor, ProofsMsg::CapabilitiesChanged(worker, session, now_can, turn));
    }

    /// Reports that a worker accepts no more jobs.
    pub fn worker_draining(&self, worker: WorkerId, session: SessionId, turn: Turn) {
        tell(&self.actor, ProofsMsg::WorkerDraining(worker, session, turn));
    }

    /// Reports a broken connection; the worker may reconnect.
    pub fn worker_away(&self, worker: WorkerId, session: SessionId) {
        tell(&self.actor, ProofsMsg::WorkerAway(worker, session));
    }

    /// Reports a changed drain of a worker: its reason, or `None` if it has ended.
    pub fn worker_drained(&self, worker: WorkerId, session: SessionId, drained: Option<String>) {
        tell(&self.actor, ProofsMsg::WorkerDrained(worker, session, drained));
    }

    /// Executes an operator's command; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`CommandError`]; nothing has changed then.
    pub async fn command(&self, command: Command) -> Result<CommandOutcome, CommandError> {
        for _ in 0..MAX_LOOKUPS {
            let asked = command.clone();
            match ask(&self.actor, |reply| ProofsMsg::Command(asked, reply)).await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(Rejection::Conflict(conflict))) => {
                    return Err(CommandError::Conflict(conflict));
                }
                Ok(Err(Rejection::NotOpen)) => {}
                Err(Unanswered) => break,
            }
            let Command::Requeue(id) = command else {
                return self.lookups.ended_before(&command).await;
            };
            let ended = Box::new(self.lookups.recreatable(id).await?);
            match ask(&self.actor, |reply| ProofsMsg::Recreate(ended, reply)).await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(Outdated)) => {}
                Err(Unanswered) => break,
            }
        }
        Err(CommandError::Unavailable)
    }

    /// Preview of [`clear`](Self::clear).
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn preview_clear(&self, filter: ClearFilter) -> Result<Cleared, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::PreviewClear(filter, reply)).await
    }

    /// Cancels all matching jobs; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs; the remaining jobs are still cancelled.
    pub async fn clear(&self, filter: ClearFilter) -> Result<Cleared, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::Clear(filter, reply)).await
    }

    /// Reports the removal of a worker.
    pub fn worker_removed(&self, worker: WorkerId, session: SessionId, reason: String) {
        tell(&self.actor, ProofsMsg::WorkerRemoved(worker, session, reason));
    }

    /// Reports that a heartbeat, or progress of attempts, waits in the inbox.
    pub fn reported(&self, worker: WorkerId, session: SessionId, inbox: Arc<Inbox>) {
        tell(&self.actor, ProofsMsg::Reported(worker, session, inbox));
    }

    /// Reports the execution of an attempt.
    pub fn executed(&self, worker: WorkerId, lease: LeaseId, execution: Execution, turn: Turn) {
        tell(&self.actor, ProofsMsg::Executed(worker, lease, execution, turn));
    }

    /// Reports that an attempt is complete and its proof uploaded.
    pub fn completed(
        &self,
        worker: WorkerId,
        lease: LeaseId,
        execution: Execution,
        proof: BlobInfo,
        turn: Turn,
    ) {
        tell(&self.actor, ProofsMsg::Completed(worker, lease, execution, proof, turn));
    }

    /// Reports a failed attempt.
    pub fn failed(&self, worker: WorkerId, lease: LeaseId, failure: Failure, turn: Turn) {
        tell(&self.actor, ProofsMsg::Failed(worker, lease, failure, turn));
    }

    /// Reports a message about a task.
    pub fn task_word(&self, worker: WorkerId, word: TaskFromWorker, turn: Turn) {
        tell(&self.actor, ProofsMsg::TaskWord(worker, word, turn));
    }

    /// Reports that an attempt's proof is stored. Returns whether the attempt is still active.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn proof_stored(
        &self,
        lease: LeaseId,
        artifact: ArtifactId,
        blob: BlobInfo,
    ) -> Result<bool, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::ProofStored(lease, artifact, blob, reply)).await
    }

    /// Reports that program or input of an attempt is missing.
    pub fn input_lost(&self, lease: LeaseId) {
        tell(&self.actor, ProofsMsg::InputLost(lease));
    }

    /// Reports that a request's finished `proof` is missing. Returns whether its job is queued again.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn proof_lost(
        &self,
        request: RequestId,
        proof: ArtifactId,
    ) -> Result<bool, Unanswered> {
        for _ in 0..MAX_LOOKUPS {
            let ended = self.lookups.of_lost_proof(request, proof).await.map_err(|error| {
                log_unread(&error);
                Unanswered
            })?;
            let Some(ended) = ended.map(Box::new) else { return Ok(false) };
            if ask(&self.actor, |reply| ProofsMsg::Reopen(ended, reply)).await?.is_ok() {
                return Ok(true);
            }
        }
        Err(Unanswered)
    }

    /// Data that `worker` may fetch under a lease; `None` if the lease is another worker's or not active.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn lease_access(
        &self,
        lease: LeaseId,
        worker: WorkerId,
    ) -> Result<Option<LeaseAccess>, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::LeaseAccess(lease, worker, reply)).await
    }

    /// Whether `worker` may fetch a blob under the lease of its task.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn task_blob(
        &self,
        lease: LeaseId,
        worker: WorkerId,
        blob: Sha256Digest,
    ) -> Result<TaskBlob, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::TaskBlob(lease, worker, blob, reply)).await
    }

    /// Whether `worker` may hand in a blob under a lease; `None` if it may not.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn may_hand_in(
        &self,
        lease: LeaseId,
        worker: WorkerId,
        blob: Sha256Digest,
    ) -> Result<Option<HandIn>, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::MayHandIn(lease, worker, blob, reply)).await
    }

    /// Reports that a blob of `job` that `worker` handed in under a lease is stored. Returns whether the lease still counts.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn handed_in(
        &self,
        lease: LeaseId,
        worker: WorkerId,
        job: JobId,
        blob: BlobInfo,
    ) -> Result<bool, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::HandedIn(lease, worker, job, blob, reply)).await
    }

    /// Reports that a blob of a job's tasks, which counts as stored, is missing.
    pub fn task_blob_missing(&self, job: JobId, blob: Sha256Digest) {
        tell(&self.actor, ProofsMsg::TaskBlobMissing(job, blob));
    }

    /// Explains why a job has no proof yet; `None` if it has ended or does not exist.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn why(&self, job: JobId) -> Result<Option<Why>, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::Why(job, reply)).await
    }

    /// What the unfinished tasks of a job wait for; empty for a job that is not divided.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn waiting_tasks(&self, job: JobId) -> Result<Vec<WaitingTask>, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::WaitingTasks(job, reply)).await
    }

    /// At most `limit` waiting jobs after the first `offset`, in the order of assignment.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn queue_snapshot(
        &self,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<QueuedJob>, Unanswered> {
        ask(&self.actor, |reply| ProofsMsg::QueueSnapshot(offset, limit, reply)).await
    }

    /// Waits until all earlier decisions are stored.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn alive(&self) -> Result<(), Unanswered> {
        ask(&self.actor, ProofsMsg::Alive).await
    }

    /// Summary of the scheduler, at most a second old and shared with other callers.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn overview(&self) -> Result<Arc<Overview>, Unanswered> {
        ask(&self.actor, ProofsMsg::Overview).await
    }
}
