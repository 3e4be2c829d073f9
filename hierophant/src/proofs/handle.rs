//! How the rest of Hierophant talks to the `proofs` actor.

use alloy_primitives::Address;
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

/// Handle to the owner of requests and jobs.
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
    /// [`SubmitError`], always worth another try.
    pub async fn submit(
        &self,
        request: NewRequest,
        lost: Option<ArtifactId>,
    ) -> Result<Accepted, SubmitError> {
        ask(&self.0, |reply| ProofsMsg::Submit(Box::new(request), lost, reply))
            .await
            .unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Withdraws a request on behalf of `by`; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`CancelError`] says whether another try can help.
    pub async fn cancel(&self, id: RequestId, by: Address) -> Result<(), CancelError> {
        ask(&self.0, |reply| ProofsMsg::Cancel(id, by, reply))
            .await
            .unwrap_or(Err(CancelError::Unavailable))
    }

    /// A worker is there; its first message will be the welcome.
    pub fn worker_joined(&self, joined: WorkerJoined, session: SessionHandle) {
        tell(&self.0, ProofsMsg::WorkerJoined(Box::new(joined), session));
    }

    /// What a worker can prove has changed.
    pub fn capabilities_changed(
        &self,
        worker: WorkerId,
        session: SessionId,
        now_can: Capabilities,
    ) {
        tell(&self.0, ProofsMsg::CapabilitiesChanged(worker, session, now_can));
    }

    /// A worker wants no more jobs.
    pub fn worker_draining(&self, worker: WorkerId, session: SessionId) {
        tell(&self.0, ProofsMsg::WorkerDraining(worker, session));
    }

    /// A worker's connection broke; it may come back.
    pub fn worker_away(&self, worker: WorkerId, session: SessionId) {
        tell(&self.0, ProofsMsg::WorkerAway(worker, session));
    }

    /// An operator has a worker take no more jobs, for this reason, or again.
    pub fn worker_drained(&self, worker: WorkerId, session: SessionId, drained: Option<String>) {
        tell(&self.0, ProofsMsg::WorkerDrained(worker, session, drained));
    }

    /// Does what an operator asks for; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`CommandError`]; nothing has changed then.
    pub async fn command(&self, command: Command) -> Result<CommandOutcome, CommandError> {
        ask(&self.0, |reply| ProofsMsg::Command(command, reply))
            .await
            .unwrap_or(Err(CommandError::Unavailable))
    }

    /// What [`clear`](Self::clear) would cancel.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn preview_clear(&self, filter: ClearFilter) -> Result<Cleared, Unanswered> {
        ask(&self.0, |reply| ProofsMsg::PreviewClear(filter, reply)).await
    }

    /// Cancels all that match; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs; what was not cancelled yet still is then.
    pub async fn clear(&self, filter: ClearFilter) -> Result<Cleared, Unanswered> {
        ask(&self.0, |reply| ProofsMsg::Clear(filter, reply)).await
    }

    /// A worker is gone.
    pub fn worker_removed(&self, worker: WorkerId, session: SessionId, reason: String) {
        tell(&self.0, ProofsMsg::WorkerRemoved(worker, session, reason));
    }

    /// The attempts that a worker says it holds.
    pub fn held_leases(&self, worker: WorkerId, session: SessionId, held: Vec<LeaseId>) {
        tell(&self.0, ProofsMsg::HeldLeases(worker, session, held));
    }

    /// An attempt has gone on.
    pub fn progressed(&self, worker: WorkerId, lease: LeaseId, progress: Progress) {
        tell(&self.0, ProofsMsg::Progressed(worker, lease, progress));
    }

    /// An attempt has executed the program.
    pub fn executed(&self, worker: WorkerId, lease: LeaseId, execution: Execution) {
        tell(&self.0, ProofsMsg::Executed(worker, lease, execution));
    }

    /// A worker says that an attempt's proof is made and handed in.
    pub fn completed(
        &self,
        worker: WorkerId,
        lease: LeaseId,
        execution: Execution,
        proof: BlobInfo,
    ) {
        tell(&self.0, ProofsMsg::Completed(worker, lease, execution, proof));
    }

    /// An attempt has failed.
    pub fn failed(&self, worker: WorkerId, lease: LeaseId, failure: Failure) {
        tell(&self.0, ProofsMsg::Failed(worker, lease, failure));
    }

    /// The bytes of an attempt's proof are stored. Returns whether the attempt still counts.
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

    /// The program's or input's bytes of an attempt are gone.
    pub fn input_lost(&self, lease: LeaseId) {
        tell(&self.0, ProofsMsg::InputLost(lease));
    }

    /// The bytes of a request's finished `proof` are gone. Returns whether it is being made again.
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

    /// What `worker` may fetch under a lease; `None` if it is another's or does not count (any more).
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

    /// Why a job has no proof yet; `None` if it has ended or there is no such job.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn why(&self, job: JobId) -> Result<Option<Why>, Unanswered> {
        ask(&self.0, |reply| ProofsMsg::Why(job, reply)).await
    }

    /// So many of the waiting jobs after the first `offset`, the next one first.
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

    /// The scheduler at a glance.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor or its store hangs.
    pub async fn overview(&self) -> Result<Overview, Unanswered> {
        ask(&self.0, ProofsMsg::Overview).await
    }
}
