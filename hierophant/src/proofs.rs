//! Owner of every request and job: the queue, the leases, attempts, retries, deadlines, cancellation.
//!
//! [`core`] decides, without clock, randomness or I/O; [`actor`] carries the decisions out in a fixed
//! order (store, then workers, then the reply); everybody else holds a [`ProofsHandle`].

pub mod actor;
pub mod handle;
pub(crate) mod log;
pub mod message;

pub use handle::ProofsHandle;
