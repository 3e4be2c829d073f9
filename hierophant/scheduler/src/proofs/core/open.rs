//! Open requests and recent requests, counted by requester.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::Address;
use hierophant_model::records::Millis;
use network_lib::ids::{JobId, RequestId};

/// A minute, in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// Acceptance times of each requester's requests within the last minute. Kept only for requesters with a quota for
/// it.
#[derive(Debug, Default)]
pub(super) struct RecentRequests(BTreeMap<Address, VecDeque<Millis>>);

impl RecentRequests {
    /// Records an accepted request.
    pub(super) fn record(&mut self, requester: Address, at: Millis) {
        self.0.entry(requester).or_default().push_back(at);
    }

    /// Number of requests of this address accepted within a minute before `now`.
    pub(super) fn count(&self, requester: Address, now: Millis) -> u64 {
        let times = self.0.get(&requester).into_iter().flatten();
        times.filter(|at| is_recent(**at, now)).count() as u64
    }

    /// Removes entries older than a minute.
    pub(super) fn forget(&mut self, now: Millis) {
        self.0.retain(|_, times| {
            while times.front().is_some_and(|at| !is_recent(*at, now)) {
                times.pop_front();
            }
            !times.is_empty()
        });
    }

    /// Adjusts all times to a clock that was set by `by` milliseconds.
    pub(super) fn shift(&mut self, by: i64) {
        self.0.values_mut().flatten().for_each(|at| at.shift(by));
    }
}

/// Whether `at` is less than a minute from `now`. A time further in the future, left by a clock that was set back,
/// does not count.
pub(super) fn is_recent(at: Millis, now: Millis) -> bool {
    now.0.abs_diff(at.0) < MINUTE_MS
}

/// Open requests with their jobs and requesters.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    requests: BTreeMap<RequestId, (JobId, Address)>,
    by_requester: BTreeMap<Address, u64>,
}

impl OpenRequests {
    /// Adds a request of a job.
    pub(super) fn insert(&mut self, id: RequestId, job: JobId, requester: Address) {
        self.remove(id);
        self.requests.insert(id, (job, requester));
        *self.by_requester.entry(requester).or_default() += 1;
    }

    /// Removes a request and returns its job.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<JobId> {
        let (job, requester) = self.requests.remove(&id)?;
        if let Some(open) = self.by_requester.get_mut(&requester) {
            *open -= 1;
            if *open == 0 {
                self.by_requester.remove(&requester);
            }
        }
        Some(job)
    }

    /// Job of an open request.
    pub(super) fn job(&self, id: RequestId) -> Option<JobId> {
        self.requests.get(&id).map(|(job, _)| *job)
    }

    /// Number of open requests of this address.
    pub(super) fn count(&self, requester: Address) -> u64 {
        self.by_requester.get(&requester).copied().unwrap_or_default()
    }

    /// Number of open requests.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_remembered_and_no_longer() {
        let (alice, bob) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let mut recent = RecentRequests::default();
        recent.record(alice, Millis(0));
        recent.record(alice, Millis(30_000));
        recent.record(bob, Millis(1000));
        assert_eq!(recent.count(alice, Millis(59_999)), 2);
        assert_eq!(recent.count(alice, Millis(60_000)), 1);
        recent.shift(100_000);
        assert_eq!(recent.count(alice, Millis(159_999)), 2, "as long ago as before");
        recent.forget(Millis(161_000));
        assert_eq!((recent.count(alice, Millis(161_000)), recent.0.len()), (1, 1));
        recent.forget(Millis(190_000));
        assert!(recent.0.is_empty());
    }

    #[test]
    fn what_is_open_is_counted_once_and_forgotten_at_its_end() {
        let (alice, bob) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let (first, second) = (RequestId([1; 32]), RequestId([2; 32]));
        let mut open = OpenRequests::default();
        open.insert(first, JobId([1; 16]), alice);
        open.insert(second, JobId([1; 16]), bob);
        open.insert(first, JobId([2; 16]), alice);
        assert_eq!((open.count(alice), open.count(bob), open.len()), (1, 1, 2));
        assert_eq!(open.remove(first), Some(JobId([2; 16])));
        assert_eq!(open.remove(first), None);
        assert_eq!((open.count(alice), open.by_requester.len()), (0, 1));
    }
}
