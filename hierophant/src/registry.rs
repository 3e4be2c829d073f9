//! Owner of the workers' connections: identity, liveness, and the reason of each removal.
//!
//! It reports facts (joined, changed, draining, away, removed) to `proofs` in order, without waiting for an answer.

pub mod actor;
pub mod credential;
pub mod handle;
pub mod keys;
pub mod local;
pub mod message;
pub mod session;

pub use handle::RegistryHandle;
pub use message::{Admitted, KeyHolder, Place};
