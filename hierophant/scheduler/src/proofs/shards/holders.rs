//! Which workers hold which records.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::records::Millis;
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};

use super::requests::Requests;

/// Places of the records of one job. It is in memory only: workers list their depots after each welcome.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Workers by record, with the times at which they last reported that they hold it.
    workers: BTreeMap<Sha256Digest, BTreeMap<WorkerId, Millis>>,
    /// Records by worker.
    records: BTreeMap<WorkerId, BTreeSet<Sha256Digest>>,
    /// Records that Hierophant has received from their makers.
    stored: BTreeSet<Sha256Digest>,
    requests: Requests,
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
        self.records.entry(worker).or_default().insert(blob);
        self.requests.holder_added(blob, worker);
    }

    /// Removes a worker from the holders of a blob.
    pub(super) fn remove(&mut self, blob: Sha256Digest, worker: WorkerId) {
        if let Some(workers) = self.workers.get_mut(&blob) {
            workers.remove(&worker);
            if workers.is_empty() {
                self.workers.remove(&blob);
            }
        }
        self.remove_record(blob, worker);
    }

    /// Removes a worker from the holders of everything.
    pub(super) fn remove_worker(&mut self, worker: WorkerId) {
        let held: Vec<_> = self.held_by(worker).collect();
        held.into_iter().for_each(|blob| self.remove(blob, worker));
    }

    fn remove_record(&mut self, blob: Sha256Digest, worker: WorkerId) {
        if let Some(records) = self.records.get_mut(&worker) {
            records.remove(&blob);
            if records.is_empty() {
                self.records.remove(&worker);
            }
        }
        self.requests.holder_removed(blob, worker);
    }

    /// Blobs that the worker holds.
    pub(super) fn held_by(&self, worker: WorkerId) -> impl Iterator<Item = Sha256Digest> {
        self.records.get(&worker).into_iter().flatten().copied()
    }

    /// Whether the worker holds any blob.
    pub(super) fn holds_any(&self, worker: WorkerId) -> bool {
        self.records.contains_key(&worker)
    }

    /// Hierophant has the blob since before the start.
    pub(super) fn restore(&mut self, blob: Sha256Digest) {
        self.stored.insert(blob);
    }

    /// Hierophant has received the blob, and `true` if it was requested.
    pub(super) fn store(&mut self, blob: Sha256Digest) -> bool {
        let was_requested = self.requests.is_asked(blob);
        if was_requested {
            self.requests.end(blob);
            self.stored.insert(blob);
        }
        was_requested
    }

    /// Chooses a worker to ask for the blob that an attempt of the worker `except` needs. `None` if one was asked before,
    /// if no other worker has the blob, or if those that have it were asked for many others: then the request is queued.
    pub(super) fn request(
        &mut self,
        blob: Sha256Digest,
        lease: LeaseId,
        except: WorkerId,
    ) -> Option<WorkerId> {
        if self.stored.contains(&blob) || self.requests.is_asked(blob) {
            return None;
        }
        let holders = self.workers.get(&blob)?.keys().copied();
        self.requests.choose(blob, (lease, except), holders)
    }

    /// The next attempt whose queued request can be made now, or has no holder any longer.
    pub(super) fn next_queued(&mut self) -> Option<LeaseId> {
        self.requests.next_queued()
    }

    /// The request for the blob is over: nothing needs it now, or it is repeated for another task.
    pub(super) fn withdraw(&mut self, blob: Sha256Digest) {
        self.requests.end(blob);
    }

    /// Whether the blob may arrive: a holder was asked for it or will be, or may still return after the start.
    pub(super) fn is_expected(&self, blob: Sha256Digest) -> bool {
        self.requests.is_asked(blob)
            || self.requests.is_queued(blob)
            || self.may_return && !self.has(blob)
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
        self.withdraw(blob);
        let workers: BTreeSet<_> =
            self.workers.remove(&blob).unwrap_or_default().into_keys().collect();
        workers.iter().for_each(|worker| self.remove_record(blob, *worker));
        (workers, self.stored.remove(&blob))
    }

    /// A blob could not be had anywhere by an attempt that began at `since`. Workers that have reported it later are not
    /// meant: another execution may have made it again. Returns whether Hierophant stored it.
    pub(super) fn lose(&mut self, blob: Sha256Digest, since: Millis) -> bool {
        let is_stored = self.lose_stored(blob);
        let holders = self.workers.get(&blob).into_iter().flatten();
        let meant = holders.filter(|(_, reported)| **reported <= since);
        for worker in meant.map(|(worker, _)| *worker).collect::<Vec<_>>() {
            self.remove(blob, worker);
        }
        is_stored
    }

    /// Hierophant does not have a blob, whether it was received or expected. Returns whether it counted as received.
    pub(super) fn lose_stored(&mut self, blob: Sha256Digest) -> bool {
        self.withdraw(blob);
        self.stored.remove(&blob)
    }

    /// All workers that hold anything, and all that Hierophant stores.
    pub(super) fn drain(&mut self) -> (BTreeSet<WorkerId>, BTreeSet<Sha256Digest>) {
        let Self { records, stored, .. } = std::mem::take(self);
        (records.into_keys().collect(), stored)
    }
}

#[cfg(test)]
mod tests {
    use super::super::requests::MAX_REQUESTED;
    use super::*;

    const HOLDER: WorkerId = WorkerId([1; 16]);
    const OTHER: WorkerId = WorkerId([2; 16]);

    fn blob(number: usize) -> Sha256Digest {
        Sha256Digest([u8::try_from(number).expect("few"); 32])
    }

    fn lease(number: usize) -> LeaseId {
        LeaseId([u8::try_from(number).expect("few"); 16])
    }

    /// A worker that holds fifty records, of which as many as allowed are requested for another one.
    fn busy() -> Holders {
        let mut holders = Holders::default();
        for number in 0..50 {
            holders.add(Millis(1), blob(number), HOLDER);
            let asked = holders.request(blob(number), lease(number), OTHER);
            assert_eq!(asked.is_some(), number < MAX_REQUESTED, "{number}");
            assert!(holders.is_expected(blob(number)));
        }
        assert_eq!(holders.next_queued(), None);
        holders
    }

    #[test]
    fn a_queued_request_follows_when_a_record_has_arrived_or_is_not_needed() {
        let mut holders = busy();
        assert!(holders.store(blob(0)));
        assert_eq!(holders.next_queued(), Some(lease(MAX_REQUESTED)));
        assert_eq!(holders.request(blob(MAX_REQUESTED), lease(MAX_REQUESTED), OTHER), Some(HOLDER));
        assert_eq!(holders.next_queued(), None);
        holders.withdraw(blob(MAX_REQUESTED + 1));
        holders.withdraw(blob(1));
        assert_eq!(holders.next_queued(), Some(lease(MAX_REQUESTED + 2)));
    }

    #[test]
    fn requests_to_a_worker_that_is_lost_are_over() {
        let mut holders = busy();
        holders.remove_worker(HOLDER);
        let queued = (MAX_REQUESTED..50).map(|number| {
            assert_eq!(holders.next_queued(), Some(lease(number)));
            holders.request(blob(number), lease(number), OTHER)
        });
        assert!(queued.into_iter().all(|asked| asked.is_none()));
        assert!((0..50).all(|number| !holders.is_expected(blob(number))));
    }

    #[test]
    fn an_attempt_loses_only_what_was_held_when_it_began() {
        let mut holders = Holders::default();
        holders.add(Millis(1), blob(0), HOLDER);
        holders.add(Millis(3), blob(0), OTHER);
        assert!(!holders.lose(blob(0), Millis(2)));
        assert_eq!(holders.holder(blob(0)), Some(OTHER));
        assert!(!holders.lose(blob(0), Millis(3)) && holders.is_lost(blob(0)));
    }
}
