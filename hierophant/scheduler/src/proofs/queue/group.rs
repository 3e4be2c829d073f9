//! Positions in the queue, and groups of jobs in this order.

use std::collections::BTreeSet;

use hierophant_model::clients::ClientKey;
use hierophant_model::records::Millis;
use network_lib::ids::{JobId, VkHash};

use crate::proofs::need::SharedNeed;

/// Sort key among the jobs of one requester: deadline, age, id.
pub type QueueKey = (u64, Millis, JobId);

/// The smallest key.
const FIRST: QueueKey = (0, Millis(i64::MIN), JobId([0; 16]));

/// The largest key.
const LAST: QueueKey = (u64::MAX, Millis(i64::MAX), JobId([u8::MAX; 16]));

/// Position of a requester in its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// Number of its running jobs.
    pub busy: usize,
    /// Round in which it takes part next.
    pub round: u64,
    /// Key of its first job, whether or not it can be assigned.
    pub first: QueueKey,
    /// Its key.
    pub requester: ClientKey,
}

impl Turn {
    /// Lower bound of the positions of requesters with this number of running jobs.
    #[must_use]
    pub const fn lowest(busy: usize) -> Self {
        Self { busy, round: 0, first: FIRST, requester: ClientKey::LOWEST }
    }
}

/// Position of a waiting job in the order of assignment of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Position of its requester.
    pub turn: Turn,
    /// Position among the jobs of its requester.
    pub key: QueueKey,
}

impl Place {
    /// The job.
    #[must_use]
    pub const fn job(&self) -> JobId {
        self.key.2
    }

    /// Client of its oldest request.
    #[must_use]
    pub const fn requester(&self) -> ClientKey {
        self.turn.requester
    }
}

/// Which jobs of a need a group contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Those that may go to any fitting worker and are leased ahead, or are not; of all programs, or of one.
    Open(bool, Option<VkHash>),
    /// Those that avoid a worker.
    Choosy,
}

impl Part {
    /// Those that may go to any fitting worker and are not leased ahead.
    pub(super) const NOT_AHEAD: Self = Self::Open(false, None);
}

/// Name of a group.
pub(super) type GroupKey = (SharedNeed, Part);

/// Jobs that the same workers can take, in the order of assignment.
#[derive(Debug, Default)]
pub struct Group {
    pub(super) jobs: BTreeSet<(ClientKey, QueueKey)>,
    pub(super) order: BTreeSet<Turn>,
    /// The order if jobs that are leased ahead count as running; kept for jobs that are not leased ahead.
    pub(super) by_engaged: BTreeSet<Turn>,
}

impl Group {
    /// Jobs of a requester.
    pub(super) fn of(&self, requester: ClientKey) -> impl Iterator<Item = QueueKey> + '_ {
        let all = self.jobs.range((requester, FIRST)..);
        all.take_while(move |(theirs, _)| *theirs == requester).map(|(_, key)| *key)
    }

    pub(super) fn move_turn(&mut self, from: Option<Turn>, to: Option<Turn>) {
        if let Some(from) = &from {
            self.order.remove(from);
        }
        self.order.extend(to);
    }

    /// First job of a requester.
    #[must_use]
    pub fn first_of(&self, requester: ClientKey) -> Option<QueueKey> {
        self.of(requester).next()
    }

    /// Last job of a requester.
    pub(super) fn last_of(&self, requester: ClientKey) -> Option<QueueKey> {
        let theirs = (requester, FIRST)..=(requester, LAST);
        self.jobs.range(theirs).next_back().map(|(_, key)| *key)
    }

    /// The first job if those that are leased ahead count as running, and its position in this order.
    #[must_use]
    pub fn first_by_engaged(&self) -> Option<Place> {
        let turn = *self.by_engaged.first()?;
        self.first_of(turn.requester).map(|key| Place { turn, key })
    }

    /// Requesters from this position on.
    pub fn turns(&self, from: Turn) -> impl Iterator<Item = Turn> + '_ {
        self.order.range(from..).copied()
    }

    /// All jobs in the order of assignment.
    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.order
            .iter()
            .flat_map(|turn| self.of(turn.requester).map(|key| Place { turn: *turn, key }))
    }

    pub(super) fn first(&self) -> Option<Place> {
        self.iter().next()
    }
}
