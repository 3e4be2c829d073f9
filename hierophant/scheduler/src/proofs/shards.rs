//! Decisions about one proof that many workers make: its tasks, their leases, their ends.
//!
//! [`ShardedJob`] is the state of one such job, which [`ProofsCore`](super::core::ProofsCore) drives. As there, facts are method calls and decisions are [`Effect`]s: first all rows, in one
//! transaction, then messages and bytes. The end of the job is in the list of effects of the fact that causes it, so
//! that it is stored in the same transaction as the row of the last task.
//!
//! - [`policy`] decides whether a job is proved in this way at all.
//! - `execution` handles what the execution announces: shards, markers, its end.
//! - `choice` finds the next task for a worker, and leases it.
//! - `races` finds tasks of slow workers for second attempts.
//! - `ending` handles results and failures of tasks, and blame.
//! - `recovery` handles lost workers and bytes, and restores the state from rows.
//! - `holders` knows which worker holds which record, `requests` which of them was asked for what.
//! - `waiting` keeps waiting tasks in their order, apart from those that lack something.

mod choice;
mod effect;
mod ending;
mod execution;
mod holders;
mod job;
mod leases;
pub mod policy;
mod races;
mod recovery;
mod requests;
mod running;
mod times;
mod waiting;

pub use choice::{Offer, Peer, Place};
pub use effect::{Effect, JobEnd, Reason, Release};
pub use job::ShardedJob;
pub use recovery::{Rows, Unrestorable};
pub use running::Limits;

#[cfg(test)]
mod tests;
