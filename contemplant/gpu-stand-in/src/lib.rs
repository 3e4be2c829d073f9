//! Stands in for `sp1-gpu-server` where there is no GPU: a program with the same socket, protocol and
//! log, which executes programs for real and answers with recorded or mock proofs, or, if asked to, with real
//! ones made on the CPU.
//!
//! Its faults are set by a file beside the socket, [`Behaviour`], which can be written at any time, also through
//! the folder that a container shares with its host.

pub mod behaviour;
mod prover;
mod server;

pub use crate::behaviour::{Behaviour, behaviour_file};
pub use crate::prover::Source;
pub use crate::server::serve;
