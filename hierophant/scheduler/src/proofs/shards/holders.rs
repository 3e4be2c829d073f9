//! Which workers hold which records.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::Millis;
use network_lib::ids::{Sha256Digest, WorkerId};

/// Places of the records of one job. It is in memory only: workers list their depots after each welcome.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Workers by record, with the times at which they last reported that they hold it.
    workers: BTreeMap<Sha256Digest, BTreeMap<WorkerId, Millis>>,
    /// Records that Hierophant has received from their makers.
    stored: BTreeSet<Sha256Digest>,
    /// Records that were requested from their makers.
    requested: BTreeSet<Sha256Digest>,
    /// Whether workers may still return after a start and list what they hold.
    may_return: bool,
}

impl Holders {
    pub(super) fn after_start() -> Self {
        Self { may_return: true, ..Self::default() }
    }

    /// A worker reports that it holds a blob.
    pub(super) fn add(&mut self, now: Millis, blob: Sha256Digest, worker: WorkerId) {
        self.workers.entry(blob).or_default().insert(worker, now);
    }

    /// Removes a worker from the holders of a blob.
    pub(super) fn remove(&mut self, blob: Sha256Digest, worker: WorkerId) {
        if let Some(workers) = self.workers.get_mut(&blob) {
            workers.remove(&worker);
            if workers.is_empty() {
                self.workers.remove(&blob);
            }
        }
        if !self.workers.contains_key(&blob) {
            self.requested.remove(&blob);
        }
    }

    /// Removes a worker from the holders of everything.
    pub(super) fn remove_worker(&mut self, worker: WorkerId) {
        let held: Vec<_> = self.held_by(worker).collect();
        held.into_iter().for_each(|blob| self.remove(blob, worker));
    }

    /// Blobs that the worker holds.
    pub(super) fn held_by(&self, worker: WorkerId) -> impl Iterator<Item = Sha256Digest> {
        let holds = move |workers: &BTreeMap<WorkerId, Millis>| workers.contains_key(&worker);
        self.workers.iter().filter(move |(_, workers)| holds(workers)).map(|(blob, _)| *blob)
    }

    /// Hierophant has the blob since before the start.
    pub(super) fn restore(&mut self, blob: Sha256Digest) {
        self.stored.insert(blob);
    }

    /// Hierophant has received the blob, and `true` if it was requested.
    pub(super) fn store(&mut self, blob: Sha256Digest) -> bool {
        let was_requested = self.requested.remove(&blob);
        if was_requested {
            self.stored.insert(blob);
        }
        was_requested
    }

    /// Notes that the blob was requested; `None` if it was before, or no other worker has it.
    pub(super) fn request(&mut self, blob: Sha256Digest, except: WorkerId) -> Option<WorkerId> {
        let holder = self.workers.get(&blob)?.keys().copied().find(|worker| *worker != except)?;
        (!self.stored.contains(&blob) && self.requested.insert(blob)).then_some(holder)
    }

    /// The request for the blob is over: nothing needs it now, or it is repeated for another task.
    pub(super) fn withdraw(&mut self, blob: Sha256Digest) {
        self.requested.remove(&blob);
    }

    /// Whether the blob may arrive: a holder was asked for it, or may still return after the start.
    pub(super) fn is_expected(&self, blob: Sha256Digest) -> bool {
        self.requested.contains(&blob) || self.may_return && !self.has(blob)
    }

    /// Whether Hierophant has received the blob from its maker.
    pub(super) fn is_stored(&self, blob: Sha256Digest) -> bool {
        self.stored.contains(&blob)
    }

    /// Whether a task can be started that needs the blob.
    pub(super) fn has(&self, blob: Sha256Digest) -> bool {
        self.stored.contains(&blob) || self.workers.contains_key(&blob)
    }

    /// Whether the blob has to be made again.
    pub(super) fn is_lost(&self, blob: Sha256Digest) -> bool {
        !self.may_return && !self.has(blob)
    }

    /// A worker that has the blob.
    pub(super) fn holder(&self, blob: Sha256Digest) -> Option<WorkerId> {
        self.workers.get(&blob)?.keys().next().copied()
    }

    /// Whether the worker has the blob.
    pub(super) fn is_held_by(&self, blob: Sha256Digest, worker: WorkerId) -> bool {
        self.workers.get(&blob).is_some_and(|workers| workers.contains_key(&worker))
    }

    /// No worker returns with a list any longer.
    pub(super) const fn stop_waiting(&mut self) {
        self.may_return = false;
    }

    /// Forgets a blob; its holders, and whether Hierophant stores it.
    pub(super) fn forget(&mut self, blob: Sha256Digest) -> (BTreeSet<WorkerId>, bool) {
        self.requested.remove(&blob);
        let workers = self.workers.remove(&blob).unwrap_or_default();
        (workers.into_keys().collect(), self.stored.remove(&blob))
    }

    /// A blob could not be had anywhere by an attempt that began at `since`. Workers that have reported it later are not
    /// meant: another execution may have made it again. Returns whether Hierophant stored it.
    pub(super) fn lose(&mut self, blob: Sha256Digest, since: Millis) -> bool {
        let is_stored = self.lose_stored(blob);
        if let Some(workers) = self.workers.get_mut(&blob) {
            workers.retain(|_, reported| *reported > since);
            if workers.is_empty() {
                self.workers.remove(&blob);
            }
        }
        is_stored
    }

    /// Hierophant does not have a blob, whether it was received or expected. Returns whether it counted as received.
    pub(super) fn lose_stored(&mut self, blob: Sha256Digest) -> bool {
        self.requested.remove(&blob);
        self.stored.remove(&blob)
    }

    /// All workers that hold anything, and all that Hierophant stores.
    pub(super) fn drain(&mut self) -> (BTreeSet<WorkerId>, BTreeSet<Sha256Digest>) {
        let workers = std::mem::take(&mut self.workers);
        let workers = workers.into_values().flat_map(BTreeMap::into_keys).collect();
        (workers, std::mem::take(&mut self.stored))
    }
}
