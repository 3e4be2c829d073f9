//! Requests of a job.

use std::collections::{BTreeMap, BTreeSet};

use hierophant_model::clients::ClientKey;
use hierophant_model::records::{Millis, RequestRecord};
use network_lib::ids::RequestId;

/// Open requests of a job, by id. Most jobs have one, which takes no map; the client of the oldest and the earliest
/// deadline of many are found without a walk.
#[derive(Debug, Default)]
pub(super) struct JoinedRequests {
    /// The only one.
    one: Option<Box<Joined>>,
    /// All of them, once there were several.
    many: Option<Box<Many>>,
}

#[derive(Debug)]
struct Joined {
    request: RequestRecord,
    client: ClientKey,
}

#[derive(Debug, Default)]
struct Many {
    all: BTreeMap<RequestId, Box<Joined>>,
    ages: BTreeSet<(Millis, RequestId)>,
    deadlines: BTreeSet<(u64, RequestId)>,
    /// Those with a private input.
    private: BTreeSet<(Millis, RequestId)>,
}

impl Many {
    fn insert(&mut self, joined: Box<Joined>) {
        let RequestRecord { id, created_at, deadline, stdin_private, .. } = joined.request;
        self.remove(&id);
        if stdin_private {
            self.private.insert((created_at, id));
        }
        self.ages.insert((created_at, id));
        self.deadlines.insert((deadline, id));
        self.all.insert(id, joined);
    }

    fn remove(&mut self, id: &RequestId) -> Option<Box<Joined>> {
        let joined = self.all.remove(id)?;
        self.ages.remove(&(joined.request.created_at, *id));
        self.deadlines.remove(&(joined.request.deadline, *id));
        self.private.remove(&(joined.request.created_at, *id));
        Some(joined)
    }
}

impl JoinedRequests {
    /// Adds or replaces a request of this client.
    pub(super) fn insert(&mut self, request: RequestRecord, client: ClientKey) {
        let joined = Box::new(Joined { request, client });
        if let Some(many) = &mut self.many {
            return many.insert(joined);
        }
        match self.one.take() {
            Some(other) if other.request.id != joined.request.id => {
                let many = self.many.insert(Box::default());
                many.insert(other);
                many.insert(joined);
            }
            _ => self.one = Some(joined),
        }
    }

    /// Removes a request.
    pub(super) fn remove(&mut self, id: &RequestId) -> Option<RequestRecord> {
        let joined = match &mut self.many {
            Some(many) => many.remove(id),
            None => self.one.take_if(|joined| joined.request.id == *id),
        };
        joined.map(|joined| joined.request)
    }

    /// Removes the request with the smallest id.
    pub(super) fn pop(&mut self) -> Option<RequestRecord> {
        let id = *self.keys().next()?;
        self.remove(&id)
    }

    /// A request by its id.
    pub(super) fn get(&self, id: &RequestId) -> Option<&RequestRecord> {
        match &self.many {
            Some(many) => many.all.get(id).map(|joined| &joined.request),
            None => self.one.as_ref().map(|joined| &joined.request).filter(|it| it.id == *id),
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
        self.one.iter().chain(many).map(|joined| &joined.request)
    }

    /// Their ids.
    pub(super) fn keys(&self) -> impl Iterator<Item = &RequestId> + '_ {
        self.values().map(|request| &request.id)
    }

    /// Client of the oldest request.
    pub(super) fn requester(&self) -> Option<ClientKey> {
        let oldest = match &self.many {
            Some(many) => many.all.get(&many.ages.first()?.1),
            None => self.one.as_ref(),
        };
        oldest.map(|joined| joined.client)
    }

    /// Creation time of the oldest request with a private input; `None` if there is none.
    pub(super) fn private_since(&self) -> Option<Millis> {
        match &self.many {
            Some(many) => many.private.first().map(|(created_at, _)| *created_at),
            None => self
                .one
                .as_ref()
                .filter(|joined| joined.request.stdin_private)
                .map(|joined| joined.request.created_at),
        }
    }

    /// Earliest deadline, Unix seconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.many {
            Some(many) => many.deadlines.first().map(|(deadline, _)| *deadline),
            None => self.one.as_ref().map(|joined| joined.request.deadline),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloy_primitives::Address;
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
                    assert_eq!(joined.remove(&id), expected.remove(&id));
                } else {
                    let (age, deadline) = (input.int_in_range(1..=3)?, input.int_in_range(1..=3)?);
                    let mut new = request(id.0[0], input.int_in_range(1..=3)?, age, deadline);
                    new.stdin_private = input.ratio(1, 3)?;
                    joined.insert(new.clone(), new.requester.into());
                    expected.insert(id, new);
                }
                let oldest = expected.values().min_by_key(|it| (it.created_at, it.id));
                assert_eq!(joined.requester(), oldest.map(|it| it.requester.into()));
                assert_eq!(joined.deadline(), expected.values().map(|it| it.deadline).min());
                let private = expected.values().filter(|it| it.stdin_private);
                assert_eq!(joined.private_since(), private.map(|it| it.created_at).min());
                assert_eq!(joined.len(), expected.len());
                assert!(joined.keys().eq(expected.keys()) && joined.values().eq(expected.values()));
                assert_eq!(joined.get(&id), expected.get(&id));
            }
            assert_eq!(joined.pop(), expected.pop_first().map(|(_, it)| it));
            Ok(())
        });
    }
}
