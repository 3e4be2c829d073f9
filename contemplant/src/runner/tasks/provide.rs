//! Records of the depot that tasks of other workers need.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use network_lib::ids::{LeaseId, Sha256Digest};
use network_lib::job::BlobInfo;
use network_lib::task;

use super::TaskRunner;
use crate::finished::{Kept, KeptBytes};

impl TaskRunner {
    /// Hands in a record under the lease of another worker's task. If the depot lacks it, sends the lists of the depot.
    /// Hierophant repeats the request after a new connection, so this one ends with the connection.
    pub fn provide(self: &Arc<Self>, lease: LeaseId, blob: Sha256Digest) {
        let Some(connection) = *self.connection.borrow() else { return };
        if !self.provided().insert((lease, blob)) {
            return;
        }
        let runner = Arc::clone(self);
        let span = tracing::info_span!("provide", lease = lease.hint(), blob = blob.hint());
        let provided = async move {
            let mut connections = runner.connection.subscribe();
            tokio::select! {
                () = runner.hand_in_record(lease, blob) => {}
                () = runner.leaving.cancelled() => {}
                _ = connections.wait_for(|now| *now != Some(connection)) => {}
            }
            runner.provided().remove(&(lease, blob));
        };
        span.in_scope(|| task::spawn("provide", provided));
    }

    async fn hand_in_record(&self, lease: LeaseId, blob: Sha256Digest) {
        let Ok(_permit) = self.providing.acquire().await else { return };
        let Some(job) = self.depot.job_of(blob) else {
            tracing::warn!("a record that another worker needs is not in the depot");
            // The request does not name the job.
            self.jobs().into_iter().for_each(|job| self.list_depot(job));
            return;
        };
        let depot = self.depot.clone();
        let read = tokio::task::spawn_blocking(move || depot.read(job, blob)).await;
        let Some(bytes) = read.ok().flatten() else {
            self.list_depot(job);
            return;
        };
        let info = BlobInfo { size: bytes.len() as u64, sha256: blob };
        let record = Kept { info, bytes: KeptBytes::Memory(bytes.into()) };
        match self.hand_in(lease, &record).await {
            Ok(()) => {
                tracing::info!(bytes = info.size, "a record was handed in for another worker");
            }
            Err(error) => {
                tracing::warn!(%error, "a record could not be handed in for another worker");
            }
        }
    }

    fn provided(&self) -> MutexGuard<'_, BTreeSet<(LeaseId, Sha256Digest)>> {
        self.provided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
