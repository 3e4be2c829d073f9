//! Delivery of parcels: bytes by HTTP, then the messages about them, over each connection from the beginning.

use network_lib::ids::LeaseId;
use network_lib::shard::{TaskFromWorker, blob_path};

use super::TaskRunner;
use super::attempt::Attempt;
use super::parcel::{Position, Step};
use crate::finished::Kept;
use crate::runner::meter::Meter;
use crate::runner::transfer::TransferError;

impl TaskRunner {
    /// Delivers an attempt's parcel until Hierophant has settled the attempt, does not want it, or the program ends.
    /// Returns whether it is settled.
    pub(super) async fn deliver(&self, attempt: &Attempt) -> bool {
        tokio::select! {
            biased;
            () = attempt.settled.cancelled() => true,
            () = attempt.cancel.cancelled() => false,
            () = self.leaving.cancelled() => false,
            () = self.deliver_to_each(attempt) => false,
        }
    }

    async fn deliver_to_each(&self, attempt: &Attempt) {
        let mut connections = self.connection.subscribe();
        loop {
            let Some(number) = *connections.borrow_and_update() else {
                if connections.changed().await.is_err() {
                    return;
                }
                continue;
            };
            self.deliver_over(attempt, number).await;
        }
    }

    /// Delivers over one connection until it ends.
    async fn deliver_over(&self, attempt: &Attempt, number: u64) {
        let mut connections = self.connection.subscribe();
        let mut parcel = attempt.parcel();
        let mut at = Position::default();
        while *connections.borrow() == Some(number) {
            let step = parcel.borrow_and_update().next(&mut at);
            let Some(step) = step else {
                tokio::select! {
                    _ = connections.wait_for(|now| *now != Some(number)) => return,
                    _ = parcel.changed() => continue,
                }
            };
            let (blobs, message) = match step {
                Step::HandIn(blob) => (vec![blob], None),
                Step::Announce { common, shards } => {
                    let lease_id = attempt.lease;
                    (Vec::new(), Some(TaskFromWorker::Shards { lease_id, common, shards }))
                }
                Step::Deliver(delivery) => (delivery.blobs, Some(delivery.message)),
            };
            for blob in &blobs {
                if let Err(error) = self.hand_in(attempt.lease, blob).await {
                    tracing::warn!(%error, "a result could not be handed in");
                    attempt.fail(error.into());
                }
            }
            // What was handed in before a new connection may be lost with an earlier Hierophant.
            if *connections.borrow() != Some(number) {
                return;
            }
            let has_failed = parcel.borrow().failure.is_some();
            let is_failure = matches!(message, Some(TaskFromWorker::TaskFailed { .. }));
            if let Some(message) = message.filter(|_| is_failure || !has_failed) {
                self.say(number, message);
            }
        }
    }

    /// Hands a blob in under a lease, as often as necessary.
    pub(super) async fn hand_in(&self, lease: LeaseId, blob: &Kept) -> Result<(), TransferError> {
        let path = blob_path(lease, blob.info.sha256);
        let meter = Meter::silent();
        self.confirmed(|| self.transfer.hand_in(&path, blob, &meter)).await
    }

    /// Repeats a call once, after the next message of Hierophant, if its answer says that the lease or the blob is gone.
    /// Before the handshake, Hierophant does not accept the leases of a worker that it has declared lost, and a proxy may
    /// answer for a Hierophant that is down.
    pub(super) async fn confirmed<T, F: Future<Output = Result<T, TransferError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, TransferError> {
        let mut heard = self.heard.subscribe();
        let first = call().await;
        if !matches!(first, Err(TransferError::LeaseGone | TransferError::Missing)) {
            return first;
        }
        heard.mark_unchanged();
        // The channel cannot close: this runner holds the other end.
        let _ = heard.changed().await;
        call().await
    }
}
