//! Requests of a job.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use hierophant_model::records::{Millis, RequestRecord};
use network_lib::ids::RequestId;

/// Open requests of a job, by id. Most jobs have one, which takes no map; the requester of the oldest and the earliest
/// deadline of many are found without a walk.
#[derive(Debug, Default)]
pub(super) struct JoinedRequests {
    /// The only one.
    one: Option<Box<RequestRecord>>,
    /// All of them, once there were several.
    many: Option<Box<Many>>,
}

#[derive(Debug, Default)]
struct Many {
    all: BTreeMap<RequestId, Box<RequestRecord>>,
    ages: BTreeSet<(Millis, RequestId)>,
    deadlines: BTreeSet<(u64, RequestId)>,
}

impl Many {
    fn insert(&mut self, request: Box<RequestRecord>) {
        self.remove(&request.id);
        self.ages.insert((request.created_at, request.id));
        self.deadlines.insert((request.deadline, request.id));
        self.all.insert(request.id, request);
    }

    fn remove(&mut self, id: &RequestId) -> Option<Box<RequestRecord>> {
        let request = self.all.remove(id)?;
        self.ages.remove(&(request.created_at, request.id));
        self.deadlines.remove(&(request.deadline, request.id));
        Some(request)
    }
}

impl JoinedRequests {
    /// Adds or replaces a request.
    pub(super) fn insert(&mut self, request: RequestRecord) {
        let request = Box::new(request);
        if let Some(many) = &mut self.many {
            return many.insert(request);
        }
        match self.one.take() {
            Some(other) if other.id != request.id => {
                let many = self.many.insert(Box::default());
                many.insert(other);
                many.insert(request);
            }
            _ => self.one = Some(request),
        }
    }

    /// Removes a request.
    pub(super) fn remove(&mut self, id: &RequestId) -> Option<Box<RequestRecord>> {
        match &mut self.many {
            Some(many) => many.remove(id),
            None => self.one.take_if(|request| request.id == *id),
        }
    }

    /// Removes the request with the smallest id.
    pub(super) fn pop(&mut self) -> Option<Box<RequestRecord>> {
        let id = *self.keys().next()?;
        self.remove(&id)
    }

    /// A request by its id.
    pub(super) fn get(&self, id: &RequestId) -> Option<&RequestRecord> {
        match &self.many {
            Some(many) => many.all.get(id).map(Box::as_ref),
            None => self.one.as_deref().filter(|request| request.id == *id),
        }
    }

    /// Number of requests.
    pub(super) fn len(&self) -> usize {
        self.many.as_ref().map_or(usize::from(self.one.is_some()), |many| many.all.len())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All requests, by id.
    pub(super) fn values(&self) -> impl Iterator<Item = &RequestRecord> + '_ {
        let many = self.many.iter().flat_map(|many| many.all.values());
        self.one.iter().chain(many).map(Box::as_ref)
    }

    /// Their ids.
    pub(super) fn keys(&self) -> impl Iterator<Item = &RequestId> + '_ {
        self.values().map(|request| &request.id)
    }

    /// Requester of the oldest request.
    pub(super) fn requester(&self) -> Option<Address> {
        let oldest = match &self.many {
            Some(many) => many.all.get(&many.ages.first()?.1),
            None => self.one.as_ref(),
        };
        oldest.map(|request| request.requester)
    }

    /// Earliest deadline, Unix seconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.many {
            Some(many) => many.deadlines.first().map(|(deadline, _)| *deadline),
            None => self.one.as_ref().map(|request| request.deadline),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use arbtest::arbtest;
    use hierophant_model::records::{NetworkMode, RequestState};
    use network_lib::ids::JobId;

    use super::*;

    /// A request of an open job.
    pub(in super::super) fn request(
        id: u8,
        requester: u8,
        created_at: i64,
        deadline: u64,
    ) -> RequestRecord {
        RequestRecord {
            id: RequestId([id; 32]),
            job: JobId([1; 16]),
            requester: Address::repeat_byte(requester),
            client: None,
            token: None,
            stated_digest: None,
            network_mode: NetworkMode::Reserved,
            strategy: 1,
            version: String::new(),
            stdin_uri: String::new(),
            stdin_private: false,
            deadline,
            min_auction_period: 0,
            whitelist: Vec::new(),
            state: RequestState::Open,
            created_at: Millis(created_at),
            updated_at: Millis(created_at),
            fulfilled_at: None,
        }
    }

    #[test]
    fn the_oldest_requester_and_the_earliest_deadline_are_those_of_a_walk() {
        arbtest(|input| {
            let (mut joined, mut expected) = (JoinedRequests::default(), BTreeMap::new());
            for _ in 0..input.int_in_range(0..=12)? {
                let id = RequestId([input.int_in_range(1..=5)?; 32]);
                if input.ratio(1, 3)? {
                    assert_eq!(joined.remove(&id).map(|it| *it), expected.remove(&id));
                } else {
                    let (age, deadline) = (input.int_in_range(1..=3)?, input.int_in_range(1..=3)?);
                    let new = request(id.0[0], input.int_in_range(1..=3)?, age, deadline);
                    joined.insert(new.clone());
                    expected.insert(id, new);
                }
                let oldest = expected.values().min_by_key(|it| (it.created_at, it.id));
                assert_eq!(joined.requester(), oldest.map(|it| it.requester));
                assert_eq!(joined.deadline(), expected.values().map(|it| it.deadline).min());
                assert_eq!(joined.len(), expected.len());
                assert!(joined.keys().eq(expected.keys()) && joined.values().eq(expected.values()));
                assert_eq!(joined.get(&id), expected.get(&id));
            }
            assert_eq!(joined.pop().map(|it| *it), expected.pop_first().map(|(_, it)| it));
            Ok(())
        });
    }
}
