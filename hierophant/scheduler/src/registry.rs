//! Decisions about workers: admission, liveness, and the reason of each removal.

pub mod core;
mod credential;
mod views;

pub use credential::Credential;
pub use views::{KnownWorker, RemovedWorker};
