//! Decisions of the coordinator: assignment of jobs, admission of workers, handling of failures.
//!
//! Nothing here reads a clock, draws random numbers or performs I/O: time and ids are arguments, and the effects of
//! a decision are returned as data. Plain function calls therefore test everything, and the crate builds without a
//! prover, a database or TLS. The actors of `hierophant` execute the effects.

pub mod proofs;
pub mod registry;
mod session;

pub use session::SessionId;
