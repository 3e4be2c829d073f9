//! The parcel of an attempt: results to hand in and messages to send, in order.

use network_lib::codec::{MAX_FRAME_BYTES, encode};
use network_lib::job::BlobInfo;
use network_lib::shard::{MAX_SHARDS_PER_MESSAGE, NewShard, TaskFromWorker};

use crate::depot::results::Delivery;
use crate::finished::Kept;

/// Bytes of shards in one message: a frame, without the rest of the message.
const MAX_SHARD_BYTES: usize = MAX_FRAME_BYTES - 4 * 1024;

/// Results to hand in and messages to send.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// The common input of all shards of an execution.
    pub(super) common: Option<Kept>,
    /// The execution's shards, each with the length of its JSON.
    shards: Vec<(NewShard, usize)>,
    /// Deliveries after the shards.
    pub(super) deliveries: Vec<Delivery>,
    /// The end of an attempt that has failed. From then on nothing else is delivered.
    pub(super) failure: Option<TaskFromWorker>,
}

/// How far a parcel is delivered.
#[derive(Debug, Default)]
pub(super) struct Position {
    has_common: bool,
    shards: usize,
    deliveries: usize,
    has_failure: bool,
}

/// The next part of a parcel.
#[derive(Debug)]
pub(super) enum Step {
    /// Bytes to hand in.
    HandIn(Kept),
    /// Shards to announce.
    Announce { common: BlobInfo, shards: Vec<NewShard> },
    /// Bytes to hand in, and a message to send then.
    Deliver(Delivery),
}

impl Parcel {
    /// Adds a shard. Returns whether it fits in a message.
    pub(super) fn add_shard(&mut self, shard: NewShard) -> bool {
        let length = encode(&shard).len() + 1;
        self.shards.push((shard, length));
        length <= MAX_SHARD_BYTES
    }

    /// The next part after `at`, which is moved.
    pub(super) fn next(&self, at: &mut Position) -> Option<Step> {
        if let Some(failure) = &self.failure {
            let is_new = !std::mem::replace(&mut at.has_failure, true);
            let delivery = Delivery { blobs: Vec::new(), message: failure.clone() };
            return is_new.then_some(Step::Deliver(delivery));
        }
        if let Some(common) = self.common.as_ref().filter(|_| at.shards < self.shards.len()) {
            if !std::mem::replace(&mut at.has_common, true) {
                return Some(Step::HandIn(common.clone()));
            }
            let mut bytes = 0;
            let fits = |(_, length): &&(NewShard, usize)| {
                bytes += length;
                bytes <= MAX_SHARD_BYTES
            };
            let waiting = self.shards[at.shards..].iter().take(MAX_SHARDS_PER_MESSAGE);
            let shards: Vec<NewShard> =
                waiting.take_while(fits).map(|(shard, _)| shard.clone()).collect();
            at.shards += shards.len();
            return (!shards.is_empty()).then_some(Step::Announce { common: common.info, shards });
        }
        let delivery = self.deliveries.get(at.deliveries)?.clone();
        at.deliveries += 1;
        Some(Step::Deliver(delivery))
    }
}

#[cfg(test)]
mod tests {
    use network_lib::ids::{LeaseId, Sha256Digest};
    use network_lib::job::{Failure, FailureClass};
    use network_lib::shard::{Named, TaskUsage};
    use shard_plan::{ShardKind, ShardRange};

    use super::*;
    use crate::finished::KeptBytes;

    fn info() -> BlobInfo {
        BlobInfo { size: 1, sha256: Sha256Digest([1; 32]) }
    }

    fn shard(no: u32, named: usize) -> NewShard {
        let named = vec![Named { id: "e".repeat(40), blob: info() }; named];
        NewShard {
            no,
            key: Sha256Digest([2; 32]),
            kind: ShardKind::Core,
            range: ShardRange::PRECOMPILE,
            record: info(),
            named,
        }
    }

    fn parcel(shards: u32, named: usize) -> Parcel {
        let common = Kept { info: info(), bytes: KeptBytes::Memory(vec![1].into()) };
        let mut parcel = Parcel { common: Some(common), ..Parcel::default() };
        assert!((0..shards).all(|no| parcel.add_shard(shard(no, named))));
        parcel
    }

    /// Numbers of shards in each message, and whether bytes come first.
    fn sizes(parcel: &Parcel, at: &mut Position) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Some(step) = parcel.next(at) {
            match step {
                Step::HandIn(_) => assert!(sizes.is_empty()),
                Step::Announce { common, shards } => {
                    sizes.push(shards.len());
                    let lease_id = LeaseId([3; 16]);
                    let message = TaskFromWorker::Shards { lease_id, common, shards };
                    assert!(encode(&message).len() <= MAX_FRAME_BYTES);
                }
                Step::Deliver(_) => sizes.push(0),
            }
        }
        sizes
    }

    #[test]
    fn messages_are_bounded_in_number_and_length() {
        assert_eq!(sizes(&parcel(250, 0), &mut Position::default()), [100, 100, 50]);
        // About 130 bytes each: four such shards exceed a frame.
        let long = sizes(&parcel(7, 600), &mut Position::default());
        assert_eq!(long.iter().sum::<usize>(), 7);
        assert!(long.iter().all(|count| (1..=3).contains(count)), "{long:?}");
        assert!(!parcel(0, 0).add_shard(shard(0, 3_000)));
    }

    #[test]
    fn what_follows_comes_after_all_shards_and_a_failure_instead_of_all() {
        let mut parcel = parcel(1, 0);
        let (lease_id, output) = (LeaseId([3; 16]), info());
        let message = TaskFromWorker::TaskDone { lease_id, output, used: TaskUsage::default() };
        parcel.deliveries.push(Delivery { blobs: Vec::new(), message });
        let mut at = Position::default();
        assert_eq!(sizes(&parcel, &mut at), [1, 0]);
        assert!(parcel.add_shard(shard(1, 0)));
        assert_eq!(sizes(&parcel, &mut at), [1]);
        let failure = Failure::new(FailureClass::Worker, "no");
        let (lost, suspect) = (Vec::new(), Vec::new());
        parcel.failure = Some(TaskFromWorker::TaskFailed { lease_id, failure, lost, suspect });
        assert_eq!(sizes(&parcel, &mut at), [0]);
        assert_eq!(sizes(&parcel, &mut Position::default()), [0]);
    }
}
