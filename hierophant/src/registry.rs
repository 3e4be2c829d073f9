//! Owner of who is connected: identity, liveness, the departed and why; supervisor of one session
//! actor for each worker socket.
//!
//! It tells `proofs` the facts (joined, changed, draining, away, lost) in order and never asks it anything.

pub mod actor;
pub mod credential;
pub mod handle;
pub mod keys;
pub mod message;

pub use handle::RegistryHandle;
pub use message::{KeyHolder, SessionEnd};
