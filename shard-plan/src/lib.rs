//! How one SP1 proof is divided into tasks: their keys, the order of shards, the tree of reduces.
//!
//! Nothing here reads a clock, draws random numbers, performs I/O or knows a type of SP1's. Both programs use it:
//! Hierophant for a proof over many machines, Contemplant for one on its own. The same facts always lead to the same
//! decisions, so that either can be restarted from what it has stored.
//!
//! - [`Key`]: a task's name by its content. The same shard of a repeated execution has the same key.
//! - [`ShardRange`]: which part of the execution a proof covers, and which proofs may follow each other.
//! - [`Plan`]: which finished proofs are reduced to one, until a single proof is left.
//! - [`MarkerOrder`]: the order in which the precompile events of core shards are handed to the execution, so that
//!   it packs them in the same way each time.

mod key;
mod kind;
mod markers;
mod plan;
mod range;

pub use key::{Key, KeyError, Single, Slice};
pub use kind::ShardKind;
pub use markers::{MarkerError, MarkerOrder};
pub use plan::{ARITY, Plan, PlanError, Reduce, StoredLeaf, StoredReduce};
pub use range::{RangeError, ShardBoundary, ShardRange, chain};
