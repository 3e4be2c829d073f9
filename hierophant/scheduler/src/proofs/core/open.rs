//! The requests that have not ended, and how many each requester has, and has made within a minute.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::Address;
use hierophant_model::records::Millis;
use network_lib::ids::{JobId, RequestId};

/// A minute, in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// When each requester's requests of the last minute were accepted. Kept only of who has a quota for it, and
/// no longer than that minute.
#[derive(Debug, Default)]
pub(super) struct RecentRequests(BTreeMap<Address, VecDeque<Millis>>);

impl RecentRequests {
    /// A request was accepted.
    pub(super) fn record(&mut self, requester: Address, at: Millis) {
        self.0.entry(requester).or_default().push_back(at);
    }

    /// How many requests of this address were accepted within a minute before `now`.
    pub(super) fn count(&self, requester: Address, now: Millis) -> u64 {
        let times = self.0.get(&requester).into_iter().flatten();
        times.filter(|at| is_recent(**at, now)).count() as u64
    }

    /// Forgets what is older than a minute.
    pub(super) fn forget(&mut self, now: Millis) {
        self.0.retain(|_, times| {
            while times.front().is_some_and(|at| !is_recent(*at, now)) {
                times.pop_front();
            }
            !times.is_empty()
        });
    }

    /// The clock was set by so many milliseconds.
    pub(super) fn shift(&mut self, by: i64) {
        self.0.values_mut().flatten().for_each(|at| at.shift(by));
    }
}

/// Whether it was less than a minute ago. A time that lies further ahead, as a clock that was set back leaves it,
/// does not count either.
pub(super) fn is_recent(at: Millis, now: Millis) -> bool {
    now.0.abs_diff(at.0) < MINUTE_MS
}

/// Every open request with its job and its requester.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    requests: BTreeMap<RequestId, (JobId, Address)>,
    by_requester: BTreeMap<Address, u64>,
}

impl OpenRequests {
    /// A request waits for a job now.
    pub(super) fn insert(&mut self, id: RequestId, job: JobId, requester: Address) {
        self.remove(id);
        self.requests.insert(id, (job, requester));
        *self.by_requester.entry(requester).or_default() += 1;
    }

    /// A request has ended. Returns the job that it waited for.
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

    /// The job that a request waits for.
    pub(super) fn job(&self, id: RequestId) -> Option<JobId> {
        self.requests.get(&id).map(|(job, _)| *job)
    }

    /// How many requests of this address are open.
    pub(super) fn count(&self, requester: Address) -> u64 {
        self.by_requester.get(&requester).copied().unwrap_or_default()
    }

    /// How many there are.
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
