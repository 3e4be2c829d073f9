//! The requests that have not ended, and how many each requester has.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use network_lib::ids::{JobId, RequestId};

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
    pub(super) fn of(&self, requester: Address) -> u64 {
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
    fn what_is_open_is_counted_once_and_forgotten_at_its_end() {
        let (alice, bob) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let (first, second) = (RequestId([1; 32]), RequestId([2; 32]));
        let mut open = OpenRequests::default();
        open.insert(first, JobId([1; 16]), alice);
        open.insert(second, JobId([1; 16]), bob);
        open.insert(first, JobId([2; 16]), alice);
        assert_eq!((open.of(alice), open.of(bob), open.len()), (1, 1, 2));
        assert_eq!(open.remove(first), Some(JobId([2; 16])));
        assert_eq!(open.remove(first), None);
        assert_eq!((open.of(alice), open.by_requester.len()), (0, 1));
    }
}
