//! Owner of the workers' connections: identity, liveness, and the reason of each departure.
//!
//! It reports the facts (joined, changed, draining, away, lost) to `proofs`, in order, and waits for no answer.

pub mod actor;
pub mod credential;
pub mod handle;
pub mod keys;
pub mod message;
pub mod session;

pub use handle::RegistryHandle;
pub use message::{Admitted, KeyHolder};
