//! One attempt at a task.

use network_lib::ids::{JobId, LeaseId};
use network_lib::shard::{NewShard, TaskFromWorker, TaskKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::announced::Announced;
use super::parcel::Parcel;
use super::stop::TaskStop;
use crate::attempt::TaskOutcome;
use crate::depot::results::Delivery;
use crate::executor::EventSink;
use crate::finished::Kept;
use crate::observer::task::TaskObserver;

/// An attempt at a task that this worker holds.
pub(super) struct Attempt {
    pub(super) lease: LeaseId,
    pub(super) job: JobId,
    pub(super) kind: TaskKind,
    /// Cancelled when the result is no longer wanted.
    pub(super) cancel: CancellationToken,
    /// Cancelled when the work has to stop: with `cancel`, or because another part of the attempt has failed.
    pub(super) stop: CancellationToken,
    /// Cancelled when Hierophant has stored the end.
    pub(super) settled: CancellationToken,
    /// Shards of an execution.
    pub(super) announced: Option<Announced>,
    pub(super) events: EventSink,
    pub(super) observer: TaskObserver,
    parcel: watch::Sender<Parcel>,
}

impl Attempt {
    /// An attempt with an empty parcel. An execution has a window: shards and bytes.
    pub(super) fn new(
        (lease, job, kind): (LeaseId, JobId, TaskKind),
        window: Option<(u32, u64)>,
        observer: TaskObserver,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            lease,
            job,
            kind,
            stop: cancel.child_token(),
            cancel,
            settled: CancellationToken::new(),
            announced: window.map(|(shards, bytes)| Announced::new(shards, bytes)),
            events,
            observer,
            parcel: watch::Sender::default(),
        }
    }

    /// Its parcel, now and in future.
    pub(super) fn parcel(&self) -> watch::Receiver<Parcel> {
        self.parcel.subscribe()
    }

    /// Sets the common input of all shards.
    pub(super) fn set_common(&self, common: Kept) {
        self.parcel.send_modify(|parcel| parcel.common = Some(common));
    }

    /// Adds a shard to announce. Returns whether it fits in a message.
    pub(super) fn announce(&self, shard: NewShard) -> bool {
        let mut fits = false;
        self.parcel.send_modify(|parcel| fits = parcel.add_shard(shard));
        fits
    }

    /// Adds a delivery.
    pub(super) fn deliver(&self, delivery: Delivery) {
        self.parcel.send_modify(|parcel| parcel.deliveries.push(delivery));
    }

    /// All deliveries so far.
    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.parcel.borrow().deliveries.clone()
    }

    /// Ends the attempt as failed, unless it has failed already, and stops its work.
    pub(super) fn fail(&self, stop: TaskStop) {
        let TaskStop::Failed { failure, lost, suspect } = stop else { return };
        self.parcel.send_modify(|parcel| {
            let lease_id = self.lease;
            let message = || TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect };
            parcel.failure.get_or_insert_with(message);
        });
        self.stop.cancel();
    }

    /// How it has ended.
    pub(super) fn outcome(&self, is_settled: bool) -> TaskOutcome {
        match &self.parcel.borrow().failure {
            _ if self.cancel.is_cancelled() => TaskOutcome::Abandoned,
            Some(TaskFromWorker::TaskFailed { failure, .. }) => {
                TaskOutcome::Failed(failure.clone())
            }
            _ if is_settled => TaskOutcome::Done,
            _ => TaskOutcome::Abandoned,
        }
    }
}
