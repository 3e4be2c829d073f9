//! Typed interface of the `registry` actor.

use std::sync::Arc;

use hierophant_model::commands::{Blocked, CommandError, CommandOutcome, WorkerCommand};
use hierophant_scheduler::SessionId;
use hierophant_scheduler::registry::{KnownWorker, RemovedWorker};
use network_lib::handshake::{Capabilities, Hello, Refusal};
use network_lib::ids::WorkerId;
use network_lib::secret::Secret;
use ractor::ActorRef;

use super::message::{Admitted, KeyHolder, Place, RegistryMsg};
use crate::ask::{Unanswered, ask, tell};
use crate::session::inbox::{Inbox, Turn};
use crate::session::{SessionEnd, SessionHandle};

/// Handle to the `registry` actor.
#[derive(Debug, Clone)]
pub struct RegistryHandle(ActorRef<RegistryMsg>);

impl RegistryHandle {
    pub(super) const fn new(actor: ActorRef<RegistryMsg>) -> Self {
        Self(actor)
    }

    /// A handle for a test whose registry is an actor of its own.
    #[cfg(test)]
    pub(crate) const fn for_test(actor: ActorRef<RegistryMsg>) -> Self {
        Self::new(actor)
    }

    /// Admits or refuses a worker. The welcome of an admitted worker is the first message to `session`.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor hangs.
    pub async fn admit(
        &self,
        hello: Hello,
        place: Place,
        session: SessionHandle,
    ) -> Result<Result<Admitted, Refusal>, Unanswered> {
        ask(&self.0, |reply| RegistryMsg::Admit(Box::new(hello), place, session, reply)).await
    }

    /// Reports that the load of a worker's GPUs waits in the inbox.
    pub fn gpu_loads(&self, worker: WorkerId, session: SessionId, inbox: Arc<Inbox>) {
        tell(&self.0, RegistryMsg::GpuLoads(worker, session, inbox));
    }

    /// Reports changed capabilities of a worker.
    pub fn capabilities_changed(
        &self,
        worker: WorkerId,
        session: SessionId,
        now_can: Capabilities,
        turn: Turn,
    ) {
        tell(&self.0, RegistryMsg::CapabilitiesChanged(worker, session, now_can, turn));
    }

    /// Reports that a worker accepts no more jobs.
    pub fn draining(&self, worker: WorkerId, session: SessionId, reason: String, turn: Turn) {
        tell(&self.0, RegistryMsg::Draining(worker, session, reason, turn));
    }

    /// Reports the end of a worker's session.
    pub fn session_ended(&self, worker: WorkerId, session: SessionId, end: SessionEnd) {
        tell(&self.0, RegistryMsg::SessionEnded(worker, session, end));
    }

    /// Holder of an access key; `None` if the key was replaced or its worker removed.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor hangs.
    pub async fn key_holder(&self, key: Secret) -> Result<Option<KeyHolder>, Unanswered> {
        ask(&self.0, |reply| RegistryMsg::KeyHolder(key, reply)).await
    }

    /// Executes an operator's command; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`CommandError`]; nothing has changed then.
    pub async fn command(&self, command: WorkerCommand) -> Result<CommandOutcome, CommandError> {
        ask(&self.0, |reply| RegistryMsg::Command(command, reply))
            .await
            .unwrap_or(Err(CommandError::Unavailable))
    }

    /// Blocked workers and addresses.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor hangs.
    pub async fn blocked(&self) -> Result<Vec<Blocked>, Unanswered> {
        ask(&self.0, RegistryMsg::Blocked).await
    }

    /// Workers that are connected or may reconnect.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor hangs.
    pub async fn workers(&self) -> Result<Vec<KnownWorker>, Unanswered> {
        ask(&self.0, RegistryMsg::Workers).await
    }

    /// Removed workers, the latest first.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor hangs.
    pub async fn removed_workers(&self) -> Result<Vec<RemovedWorker>, Unanswered> {
        ask(&self.0, RegistryMsg::RemovedWorkers).await
    }

    /// Closes every session.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] when the actor hangs.
    pub async fn close_all(&self) -> Result<(), Unanswered> {
        ask(&self.0, RegistryMsg::CloseAll).await
    }
}
