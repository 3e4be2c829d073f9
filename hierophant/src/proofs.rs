//! Owner of every request and job: the queue, the leases, attempts, retries, deadlines, cancellation.
//!
//! [`core`] decides, without clock, randomness or I/O; [`actor`] carries the decisions out in a fixed
//! order (store, then workers, then the reply); everybody else holds a [`ProofsHandle`].

pub mod actor;
pub mod assign;
pub mod core;
pub mod handle;
pub mod lease;
pub(crate) mod log;
pub mod memory;
pub mod message;
pub mod pace;
pub mod queue;

pub use core::Arrival;
pub use handle::ProofsHandle;
pub use message::{CancelError, LeaseAccess, NewRequest, SubmitError};
