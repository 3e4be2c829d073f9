//! Typed interface of the `proofs` actor.

use hierophant_model::clients::Client;
use hierophant_model::commands::{ClearFilter, Cleared, Command, CommandError, CommandOutcome};
use hierophant_model::records::Accepted;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::{
    CancelError, LeaseAccess, NewRequest, Overview, QueuedJob, SubmitError, Why, WorkerJoined,
};
use network_lib::handshake::Capabilities;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, Progress};
use ractor::ActorRef;

use super::message::ProofsMsg;
use crate::ask::{Unanswered, ask, tell};
use crate::session::SessionHandle;

/// Handle to the `proofs` actor.
#[derive(Debug, Clone)]
pub struct ProofsHandle(ActorRef<ProofsMsg>);

impl ProofsHandle {
    pub(super) const fn new(actor: ActorRef<ProofsMsg>) -> Self {
        Self(actor)
    }

    /// Accepts a request; it is stored when this returns. `lost` is a finished proof whose data is missing: the
    /// request does not join its job.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; a retry may always succeed.
    pub async fn submit(
        &self,
        request: NewRequest,
        lost: Option<ArtifactId>,
    ) -> Result<Accepted, SubmitError> {
        ask(&self.0, |reply| ProofsMsg::Submit(Box::new(request), lost, reply))
            .await
            .unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Cancels a request on behalf of `by`; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`CancelError`] states whether a retry may succeed.
    pub async fn cancel(&self, id: RequestId, by: Client) -> Result<(), CancelError> {
        ask(&self.0, |reply| ProofsMsg::Cancel(id, by, reply))
            .await
            .unwrap_or(Err(CancelError::Unavailable))
    }

    /// Reports a connected worker. The first message to `session` will be the welcome.
    pub fn worker_joined(&self, joined: WorkerJoined, session: SessionHandle) {
        tell(&self.0, ProofsMsg::WorkerJoined(Box::new(joined), session));
    }

    /// Reports changed capabilities of a worker.
    pub fn capabilities_changed(
        &self,
        worker: WorkerId,
        session: SessionId,
        now_can: Capabilities,
    ) {
        tell(&self.0, ProofsMsg::CapabilitiesChanged(worker, session, now_can));
    }

    /// Reports that a worker accepts no more jobs.
    pub fn worker_draining(&self, worker: WorkerId, session: SessionId) {
        tell(&self.0, ProofsMsg::WorkerDraining(worker, session));
    }

    /// Reports a broken connection; the worker may reconnect.
    pub fn worker_away(&self, worker: WorkerId, session: SessionId) {
        tell(&self.0, ProofsMsg::WorkerAway(worker, session));
    }

    /// Reports a changed drain of a worker: its reason, or `None` if it has ended.
    pub fn worker_drained(&self, worker: WorkerId, session: SessionId, drained: Option<String>) {
        tell(&self.0, ProofsMsg::WorkerDrained(worker, session, drained));
    }

    /// Executes an operator's command; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`CommandError`]; nothing has changed then.
    pub async fn command(&self, command: Command) -> Result<CommandOutcome, CommandError> {
        ask(&self.0, |reply| ProofsMsg::Command(command, reply))
            .await
            .unwrap_or(Err(CommandError::Unavailable))
    }

    /// Preview of [`clear`](Self::clear).
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn preview_clear(&self, filter: ClearFilter) -> Result<Cleared, Unanswered> {
        ask(&self.0, |reply| ProofsMsg::PreviewClear(filter, reply)).await
    }

    /// Cancels all matching jobs; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs; the remaining jobs are still cancelled.
    pub async fn clear(&self, filter: ClearFilter) -> Result<Cleared, Unanswered> {
        ask(&self.0, |reply| ProofsMsg::Clear(filter, reply)).await
    }

    /// Reports the removal of a worker.
    pub fn worker_removed(&self, worker: WorkerId, session: SessionId, reason: String) {
        tell(&self.0, ProofsMsg::WorkerRemoved(worker, session, reason));
    }

    /// Reports the attempts that a worker runs.
    pub fn held_leases(&self, worker: WorkerId, session: SessionId, held: Vec<LeaseId>) {
        tell(&self.0, ProofsMsg::HeldLeases(worker, session, held));
    }

    /// Reports progress of an attempt.
    pub fn progressed(&self, worker: WorkerId, lease: LeaseId, progress: Progress) {
        tell(&self.0, ProofsMsg::Progressed(worker, lease, progress));
    }

    /// Reports the execution of an attempt.
    pub fn executed(&self, worker: WorkerId, lease: LeaseId, execution: Execution) {
        tell(&self.0, ProofsMsg::Executed(worker, lease, execution));
    }

    /// Reports that an attempt is complete and its proof uploaded.
    pub fn completed(
        &self,
        worker: WorkerId,
        lease: LeaseId,
        execution: Execution,
        proof: BlobInfo,
    ) {
        tell(&self.0, ProofsMsg::Completed(worker, lease, execution, proof));
    }

    /// Reports a failed attempt.
    pub fn failed(&self, worker: WorkerId, lease: LeaseId, failure: Failure) {
        tell(&self.0, ProofsMsg::Failed(worker, lease, failure));
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
        ask(&self.0, |reply| ProofsMsg::ProofStored(lease, artifact, blob, reply)).await
    }

    /// Reports that program or input of an attempt is missing.
    pub fn input_lost(&self, lease: LeaseId) {
        tell(&self.0, ProofsMsg::InputLost(lease));
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
        ask(&self.0, |reply| ProofsMsg::ProofLost(request, proof, reply)).await
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
        ask(&self.0, |reply| ProofsMsg::LeaseAccess(lease, worker, reply)).await
    }

    /// Explains why a job has no proof yet; `None` if it has ended or does not exist.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn why(&self, job: JobId) -> Result<Option<Why>, Unanswered> {
        ask(&self.0, |reply| ProofsMsg::Why(job, reply)).await
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
        ask(&self.0, |reply| ProofsMsg::QueueSnapshot(offset, limit, reply)).await
    }

    /// Summary of the scheduler.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn overview(&self) -> Result<Overview, Unanswered> {
        ask(&self.0, ProofsMsg::Overview).await
    }
}
