//! Decisions about workers: who is admitted, who is connected, who has left and why.

pub mod core;
mod credential;
mod views;

pub use credential::Credential;
pub use views::{KnownWorker, RemovedWorker, WorkerState};
