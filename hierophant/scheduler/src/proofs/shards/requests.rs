//! Requests for records: which worker was asked for what, and what waits because its holders were asked for enough.

use std::collections::{BTreeMap, BTreeSet};

use network_lib::ids::{LeaseId, Sha256Digest, WorkerId};

/// Greatest number of records that a worker is asked for at once. It hands in a few at a time, and the queue of its
/// messages is bounded.
pub(super) const MAX_REQUESTED: usize = 32;

/// Requests of one job.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Workers that were asked, by record.
    asked: BTreeMap<Sha256Digest, WorkerId>,
    /// Number of records that each of them was asked for.
    counts: BTreeMap<WorkerId, usize>,
    queue: BTreeMap<Sha256Digest, Queued>,
    /// Queued requests by the workers that can be asked, in the order of their arrival.
    by_holder: BTreeMap<WorkerId, BTreeSet<(u64, Sha256Digest)>>,
    /// Queued requests of which no holder is left.
    orphans: BTreeSet<(u64, Sha256Digest)>,
    arrivals: u64,
}

/// A request that waits.
#[derive(Debug)]
struct Queued {
    arrival: u64,
    /// The attempt that needs the record.
    lease: LeaseId,
    /// Its worker.
    except: WorkerId,
    /// Workers that can be asked.
    holders: BTreeSet<WorkerId>,
}

impl Requests {
    pub(super) fn is_asked(&self, blob: Sha256Digest) -> bool {
        self.asked.contains_key(&blob)
    }

    pub(super) fn is_queued(&self, blob: Sha256Digest) -> bool {
        self.queue.contains_key(&blob)
    }

    /// Chooses one of the holders to ask for the record that an attempt of the worker `except` needs. `None` if there is
    /// none, or if all were asked for many others: then the request is queued.
    pub(super) fn choose(
        &mut self,
        blob: Sha256Digest,
        (lease, except): (LeaseId, WorkerId),
        holders: impl Iterator<Item = WorkerId>,
    ) -> Option<WorkerId> {
        let others: BTreeSet<_> = holders.filter(|holder| *holder != except).collect();
        if let Some(holder) = others.iter().find(|holder| !self.is_busy(**holder)).copied() {
            self.dequeue(blob);
            self.asked.insert(blob, holder);
            *self.counts.entry(holder).or_default() += 1;
            return Some(holder);
        }
        if !others.is_empty() && !self.is_queued(blob) {
            let arrival = self.arrivals;
            self.arrivals += 1;
            for holder in &others {
                self.by_holder.entry(*holder).or_default().insert((arrival, blob));
            }
            self.queue.insert(blob, Queued { arrival, lease, except, holders: others });
        }
        None
    }

    /// The record was handed in, or is not asked for any longer. Returns whether it was asked for.
    pub(super) fn end(&mut self, blob: Sha256Digest) -> bool {
        self.dequeue(blob);
        let Some(worker) = self.asked.remove(&blob) else { return false };
        if let Some(count) = self.counts.get_mut(&worker) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&worker);
            }
        }
        true
    }

    /// A worker has the record.
    pub(super) fn holder_added(&mut self, blob: Sha256Digest, worker: WorkerId) {
        let Some(queued) = self.queue.get_mut(&blob) else { return };
        if worker != queued.except && queued.holders.insert(worker) {
            self.orphans.remove(&(queued.arrival, blob));
            self.by_holder.entry(worker).or_default().insert((queued.arrival, blob));
        }
    }

    /// A worker does not have the record any longer.
    pub(super) fn holder_removed(&mut self, blob: Sha256Digest, worker: WorkerId) {
        if self.asked.get(&blob) == Some(&worker) {
            self.end(blob);
        }
        let Some(queued) = self.queue.get_mut(&blob) else { return };
        let place = (queued.arrival, blob);
        if queued.holders.remove(&worker) && queued.holders.is_empty() {
            self.orphans.insert(place);
        }
        self.remove_place(worker, place);
    }

    /// The next attempt whose queued request can be made now, or has no holder any longer.
    pub(super) fn next_queued(&mut self) -> Option<LeaseId> {
        let of_holders = self.by_holder.iter().filter(|(holder, _)| !self.is_busy(**holder));
        let mut first = of_holders.filter_map(|(_, places)| places.first());
        let (_, blob) = *self.orphans.first().or_else(|| first.next())?;
        self.dequeue(blob).map(|queued| queued.lease)
    }

    /// Whether the worker was asked for as many records as is allowed.
    fn is_busy(&self, worker: WorkerId) -> bool {
        self.counts.get(&worker).is_some_and(|count| *count >= MAX_REQUESTED)
    }

    fn dequeue(&mut self, blob: Sha256Digest) -> Option<Queued> {
        let queued = self.queue.remove(&blob)?;
        let place = (queued.arrival, blob);
        self.orphans.remove(&place);
        queued.holders.iter().for_each(|holder| self.remove_place(*holder, place));
        Some(queued)
    }

    fn remove_place(&mut self, holder: WorkerId, place: (u64, Sha256Digest)) {
        if let Some(places) = self.by_holder.get_mut(&holder) {
            places.remove(&place);
            if places.is_empty() {
                self.by_holder.remove(&holder);
            }
        }
    }
}
