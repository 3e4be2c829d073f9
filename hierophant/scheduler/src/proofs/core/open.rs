//! Open requests and recent requests, counted by client.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hierophant_model::clients::Client;
use hierophant_model::records::{Millis, RequestRecord};
use network_lib::ids::{JobId, RequestId};

/// A minute, in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// Acceptance times of each client's requests within the last minute. Kept only for clients with a quota for it.
#[derive(Debug, Default)]
pub(super) struct RecentRequests(BTreeMap<Client, VecDeque<Millis>>);

impl RecentRequests {
    /// Records an accepted request.
    pub(super) fn record(&mut self, client: Client, at: Millis) {
        self.0.entry(client).or_default().push_back(at);
    }

    /// Number of requests of this client accepted within a minute before `now`.
    pub(super) fn count(&self, client: &Client, now: Millis) -> u64 {
        let times = self.0.get(client).into_iter().flatten();
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

/// Acceptance times of the last minute, of all requesters together that are not configured.
#[derive(Debug, Default)]
pub(super) struct LastMinute(VecDeque<Millis>);

impl LastMinute {
    /// Records an accepted request.
    pub(super) fn record(&mut self, at: Millis) {
        self.0.push_back(at);
    }

    /// Number of requests accepted within a minute before `now`.
    pub(super) fn count(&mut self, now: Millis) -> u64 {
        while self.0.front().is_some_and(|at| !is_recent(*at, now)) {
            self.0.pop_front();
        }
        self.0.len() as u64
    }

    /// Adjusts all times to a clock that was set by `by` milliseconds.
    pub(super) fn shift(&mut self, by: i64) {
        self.0.iter_mut().for_each(|at| at.shift(by));
    }
}

/// Whether `at` is less than a minute from `now`. A time further in the future, left by a clock that was set back,
/// does not count.
pub(super) fn is_recent(at: Millis, now: Millis) -> bool {
    now.0.abs_diff(at.0) < MINUTE_MS
}

/// Open requests with their jobs, clients and deadlines.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    requests: BTreeMap<RequestId, Open>,
    by_client: BTreeMap<Client, u64>,
    by_deadline: BTreeSet<(u64, RequestId)>,
}

/// Open request.
#[derive(Debug)]
struct Open {
    job: JobId,
    client: Client,
    deadline: u64,
}

impl OpenRequests {
    /// Adds a request of a job.
    pub(super) fn insert(&mut self, request: &RequestRecord, job: JobId, client: Client) {
        let RequestRecord { id, deadline, .. } = *request;
        self.remove(id);
        self.by_deadline.insert((deadline, id));
        *self.by_client.entry(client.clone()).or_default() += 1;
        self.requests.insert(id, Open { job, client, deadline });
    }

    /// Removes a request and returns its job.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<JobId> {
        let Open { job, client, deadline } = self.requests.remove(&id)?;
        self.by_deadline.remove(&(deadline, id));
        if let Some(open) = self.by_client.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                self.by_client.remove(&client);
            }
        }
        Some(job)
    }

    /// The request with the earliest deadline, if that has passed.
    pub(super) fn past_deadline(&self, now: Millis) -> Option<RequestId> {
        let (deadline, id) = *self.by_deadline.first()?;
        (Millis::from_seconds(deadline) < now).then_some(id)
    }

    /// Job of an open request.
    pub(super) fn job(&self, id: RequestId) -> Option<JobId> {
        self.requests.get(&id).map(|open| open.job)
    }

    /// Number of open requests of this client.
    pub(super) fn count(&self, client: &Client) -> u64 {
        self.by_client.get(client).copied().unwrap_or_default()
    }

    /// Number of open requests.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::super::joined::tests::request as joined;
    use super::*;

    fn client(byte: u8) -> Client {
        Client::Address(Address::repeat_byte(byte))
    }

    fn request(id: RequestId, deadline: u64) -> RequestRecord {
        RequestRecord { id, ..joined(1, 1, 1, deadline) }
    }

    #[test]
    fn a_minute_is_remembered_and_no_longer() {
        let (alice, bob) = (client(1), client(2));
        let mut recent = RecentRequests::default();
        recent.record(alice.clone(), Millis(0));
        recent.record(alice.clone(), Millis(30_000));
        recent.record(bob, Millis(1000));
        assert_eq!(recent.count(&alice, Millis(59_999)), 2);
        assert_eq!(recent.count(&alice, Millis(60_000)), 1);
        recent.shift(100_000);
        assert_eq!(recent.count(&alice, Millis(159_999)), 2, "as long ago as before");
        recent.forget(Millis(161_000));
        assert_eq!((recent.count(&alice, Millis(161_000)), recent.0.len()), (1, 1));
        recent.forget(Millis(190_000));
        assert!(recent.0.is_empty());
    }

    #[test]
    fn what_is_open_is_counted_once_and_forgotten_at_its_end() {
        let (alice, bob) = (client(1), client(2));
        let (first, second) = (RequestId([1; 32]), RequestId([2; 32]));
        let mut open = OpenRequests::default();
        open.insert(&request(first, 7), JobId([1; 16]), alice.clone());
        open.insert(&request(second, 9), JobId([1; 16]), bob.clone());
        open.insert(&request(first, 8), JobId([2; 16]), alice.clone());
        assert_eq!((open.count(&alice), open.count(&bob), open.len()), (1, 1, 2));
        assert_eq!(open.past_deadline(Millis(8000)), None);
        assert_eq!(open.past_deadline(Millis(9999)), Some(first));
        assert_eq!(open.remove(first), Some(JobId([2; 16])));
        assert_eq!(open.past_deadline(Millis(9000)), None);
        assert_eq!(open.past_deadline(Millis(9001)), Some(second));
        assert_eq!(open.remove(first), None);
        assert_eq!((open.count(&alice), open.by_client.len()), (0, 1));
    }
}
