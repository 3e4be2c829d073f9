//! Whether a job is proved as a whole or as tasks of many workers.

use std::fmt;

use network_lib::named_enum;
use serde::{Deserialize, Serialize};

/// Smallest number of shards for which tasks are worth their overhead.
pub const MIN_SHARDS: u64 = 4;

/// Smallest trace area of a shard that a worker may demand, in cells. All workers of a proof get shards that the weakest one
/// takes: one that claimed less would cut every proof to pieces.
pub const MIN_ELEMENTS: u64 = 1 << 20;

/// Smallest number of idle slots for which tasks are faster than a whole proof.
pub const MIN_IDLE_SLOTS: u32 = 2;

named_enum! {
    /// Configured mode.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    ShardingMode {
        /// As tasks if that is expected to be faster.
        Auto = "auto",
        /// Always as a whole.
        Never = "never",
        /// As tasks wherever a worker can.
        Always = "always",
    }
}

/// What the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Configured mode for the client and the kind of proof.
    pub mode: ShardingMode,
    /// Greatest number of slots of one engine, idle or not, whose workers take tasks.
    pub slots: u32,
    /// Of these, idle ones.
    pub idle_slots: u32,
    /// Expected number of shards, from earlier executions of the program; `None` if there were none.
    pub expected_shards: Option<u64>,
    /// Whether a whole proof is expected to miss the deadline.
    pub is_late: bool,
}

/// Decision, with the reason that `why` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// One worker makes the whole proof.
    Whole(WholeReason),
    /// Many workers make it.
    Sharded(ShardedReason),
}

/// Why a proof is made as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WholeReason {
    /// The configuration excludes tasks.
    Configured,
    /// No connected worker takes tasks.
    NoWorkers,
    /// Too few slots of one engine are idle.
    FewIdleSlots(u32),
    /// The length of the execution is unknown: this proof tells it for later ones.
    UnknownLength,
    /// The execution is short.
    FewShards(u64),
}

/// Why a proof is made as tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardedReason {
    /// The configuration demands it.
    Configured,
    /// Idle slots can share the shards.
    Faster {
        /// Idle slots.
        slots: u32,
        /// Expected shards.
        shards: u64,
    },
    /// A whole proof would miss the deadline.
    Deadline,
}

/// Decides about a job that is about to be assigned.
#[must_use]
pub fn decide(situation: &Situation) -> Decision {
    let Situation { mode, slots, idle_slots, .. } = *situation;
    if mode == ShardingMode::Never {
        return Decision::Whole(WholeReason::Configured);
    }
    if slots == 0 {
        return Decision::Whole(WholeReason::NoWorkers);
    }
    if mode == ShardingMode::Always {
        return Decision::Sharded(ShardedReason::Configured);
    }
    if slots < MIN_IDLE_SLOTS {
        return Decision::Whole(WholeReason::FewIdleSlots(idle_slots));
    }
    if situation.is_late {
        return Decision::Sharded(ShardedReason::Deadline);
    }
    if idle_slots < MIN_IDLE_SLOTS {
        return Decision::Whole(WholeReason::FewIdleSlots(idle_slots));
    }
    match situation.expected_shards {
        None => Decision::Whole(WholeReason::UnknownLength),
        Some(shards) if shards < MIN_SHARDS => Decision::Whole(WholeReason::FewShards(shards)),
        Some(shards) => Decision::Sharded(ShardedReason::Faster { slots: idle_slots, shards }),
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(reason) => match reason {
                WholeReason::Configured => f.write_str("whole proof: `sharding.mode` is `never`"),
                WholeReason::NoWorkers => {
                    f.write_str("whole proof: no connected worker takes tasks")
                }
                WholeReason::FewIdleSlots(slots) => {
                    write!(
                        f,
                        "whole proof: {slots} idle slots of one engine, {MIN_IDLE_SLOTS} needed"
                    )
                }
                WholeReason::UnknownLength => {
                    f.write_str("whole proof: the length of the execution is not known yet")
                }
                WholeReason::FewShards(shards) => {
                    write!(f, "whole proof: {shards} shards expected, {MIN_SHARDS} needed")
                }
            },
            Self::Sharded(reason) => match reason {
                ShardedReason::Configured => f.write_str("tasks: `sharding.mode` is `always`"),
                ShardedReason::Faster { slots, shards } => {
                    write!(f, "tasks: {slots} idle slots share {shards} expected shards")
                }
                ShardedReason::Deadline => {
                    f.write_str("tasks: a whole proof would miss the deadline")
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Situation = Situation {
        mode: ShardingMode::Auto,
        slots: 4,
        idle_slots: 2,
        expected_shards: Some(12),
        is_late: false,
    };

    fn whole(situation: Situation) -> WholeReason {
        match decide(&situation) {
            Decision::Whole(reason) => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn idle_slots_share_a_long_proof() {
        let reason = ShardedReason::Faster { slots: 2, shards: 12 };
        assert_eq!(decide(&MANY), Decision::Sharded(reason));
        assert_eq!(whole(Situation { idle_slots: 1, ..MANY }), WholeReason::FewIdleSlots(1));
        assert_eq!(
            whole(Situation { expected_shards: Some(3), ..MANY }),
            WholeReason::FewShards(3)
        );
        let unknown = Situation { expected_shards: None, ..MANY };
        assert_eq!(whole(unknown), WholeReason::UnknownLength);
    }

    #[test]
    fn the_configuration_decides_first() {
        let never = Situation { mode: ShardingMode::Never, is_late: true, ..MANY };
        assert_eq!(whole(never), WholeReason::Configured);
        let always = Situation { mode: ShardingMode::Always, slots: 1, idle_slots: 0, ..MANY };
        assert_eq!(decide(&always), Decision::Sharded(ShardedReason::Configured));
        assert_eq!(whole(Situation { slots: 0, ..always }), WholeReason::NoWorkers);
    }

    #[test]
    fn a_deadline_that_one_worker_would_miss_is_met_by_several() {
        let late = Situation { is_late: true, idle_slots: 0, expected_shards: None, ..MANY };
        assert_eq!(decide(&late), Decision::Sharded(ShardedReason::Deadline));
        assert_eq!(whole(Situation { slots: 1, ..late }), WholeReason::FewIdleSlots(0));
    }

    #[test]
    fn every_reason_is_shown_as_a_sentence() {
        assert_eq!(decide(&MANY).to_string(), "tasks: 2 idle slots share 12 expected shards");
        assert_eq!(
            Decision::Whole(WholeReason::FewIdleSlots(1)).to_string(),
            "whole proof: 1 idle slots of one engine, 2 needed"
        );
    }
}
