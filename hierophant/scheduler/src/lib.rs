//! The decisions of the coordinator: which job goes to which worker, who is connected, what a failure means.
//!
//! Nothing here reads a clock, draws at random or does I/O: time and ids come in as arguments, and what is to be
//! done comes out as data. So everything is tested by plain calls, and the crate builds without a prover, a
//! database or TLS. The actors of `hierophant` carry the decisions out.

pub mod proofs;
pub mod registry;
mod session;

pub use session::SessionId;
