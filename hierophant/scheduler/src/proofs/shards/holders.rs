//! Which workers hold which records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hierophant_model::records::Millis;
use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};

/// Greatest number of records that a worker is asked for at once. It hands in a few at a time, and the queue of its
/// messages is bounded.
const MAX_REQUESTED: usize = 32;

/// Places of the records of one job. It is in memory only: workers list their depots after each welcome.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Workers by record, with the times at which they last reported that they hold it.
    workers: BTreeMap<Sha256Digest, BTreeMap<WorkerId, Millis>>,
    /// Records that Hierophant has received from their makers.
    stored: BTreeSet<Sha256Digest>,
    /// Records that were requested, with the workers that were asked.
    requested: BTreeMap<Sha256Digest, WorkerId>,
    /// Requests that are made once the holders have handed in other records.
    queued: VecDeque<Queued>,
    /// Whether workers may still return after a start and list what they hold.
    may_return: bool,
}

/// A request that waits.
#[derive(Debug)]
struct Queued {
    blob: Sha256Digest,
    /// The attempt that needs the blob.
    lease: LeaseId,
    /// Its worker.
    except: WorkerId,
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
        if self.requested.get(&blob) == Some(&worker) {
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
        let was_requested = self.requested.remove(&blob).is_some();
        if was_requested {
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
        if self.stored.contains(&blob) || self.requested.contains_key(&blob) {
            return None;
        }
        let mut others = self.workers.get(&blob)?.keys().filter(|worker| **worker != except);
        let busy = self.busy();
        let Some(holder) = others.clone().find(|worker| !busy.contains(*worker)).copied() else {
            if others.next().is_some() && !self.is_queued(blob) {
                self.queued.push_back(Queued { blob, lease, except });
            }
            return None;
        };
        self.requested.insert(blob, holder);
        Some(holder)
    }

    /// The next attempt whose queued request can be made now, or has no holder any longer.
    pub(super) fn next_queued(&mut self) -> Option<LeaseId> {
        if self.queued.is_empty() {
            return None;
        }
        let busy = self.busy();
        let can_leave = |queued: &Queued| {
            let holders = self.workers.get(&queued.blob).into_iter().flat_map(BTreeMap::keys);
            let mut others = holders.filter(|worker| **worker != queued.except).peekable();
            others.peek().is_none() || others.any(|worker| !busy.contains(worker))
        };
        let next = self.queued.iter().position(can_leave)?;
        self.queued.remove(next).map(|queued| queued.lease)
    }

    /// Workers that are asked for as many records as is allowed.
    fn busy(&self) -> BTreeSet<WorkerId> {
        let mut asked = BTreeMap::<WorkerId, usize>::new();
        for worker in self.requested.values() {
            *asked.entry(*worker).or_default() += 1;
        }
        asked.into_iter().filter(|(_, asked)| *asked >= MAX_REQUESTED).map(|it| it.0).collect()
    }

    fn is_queued(&self, blob: Sha256Digest) -> bool {
        self.queued.iter().any(|queued| queued.blob == blob)
    }

    /// The request for the blob is over: nothing needs it now, or it is repeated for another task.
    pub(super) fn withdraw(&mut self, blob: Sha256Digest) {
        self.requested.remove(&blob);
        self.queued.retain(|queued| queued.blob != blob);
    }

    /// Whether the blob may arrive: a holder was asked for it or will be, or may still return after the start.
    pub(super) fn is_expected(&self, blob: Sha256Digest) -> bool {
        self.requested.contains_key(&blob)
            || self.is_queued(blob)
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
        self.withdraw(blob);
        self.stored.remove(&blob)
    }

    /// All workers that hold anything, and all that Hierophant stores.
    pub(super) fn drain(&mut self) -> (BTreeSet<WorkerId>, BTreeSet<Sha256Digest>) {
        let workers = std::mem::take(&mut self.workers);
        let workers = workers.into_values().flat_map(BTreeMap::into_keys).collect();
        (workers, std::mem::take(&mut self.stored))
    }
}

#[cfg(test)]
mod tests {
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
