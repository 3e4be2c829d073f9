//! Decisions about requests and jobs: queue, leases, attempts, retries, deadlines, cancellation.

pub mod assign;
pub mod core;
pub mod duration;
pub mod fleet;
pub mod lease;
pub mod memory;
pub mod need;
pub mod queue;
mod request;
pub mod rest;
pub mod shards;
mod task_bytes;
mod views;

pub use request::{CancelError, NewRequest, SubmitError};
pub use task_bytes::{
    Assembly, AssemblyError, Doubt, DoubtedPart, HandIn, PartCheck, PartKind, PartVerdict,
    ShardingLimits, TaskBlob,
};
pub use views::{
    DividedProof, LeaseAccess, Overview, QueuedJob, RunningProof, RunningTask, TaskNumbers,
    WaitingTask, Why, WorkerJoined, WorkerWork,
};
