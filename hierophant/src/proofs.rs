//! Owner of all requests and jobs: queue, leases, attempts, retries, deadlines, cancellation.
//!
//! `hierophant_scheduler` decides, without clock, randomness or I/O. [`actor`] executes the decisions in a fixed
//! order: store, then workers, then the answer. All other modules hold a [`ProofsHandle`].

pub mod actor;
mod assembly;
pub mod handle;
pub(crate) mod log;
pub mod lookup;
pub mod message;

pub use handle::ProofsHandle;
