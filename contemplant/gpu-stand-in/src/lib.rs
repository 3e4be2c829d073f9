//! Stands in for `sp1-gpu-server` where there is no GPU: a program with the same socket, protocol and
//! log, which executes programs for real and answers with recorded or mock proofs, or, if asked to, with real
//! ones made on the CPU.
//!
//! Its faults are set by a file, [`Behaviour`], which can be written at any time, also through a folder that a container
//! shares with its host. The file is beside the socket, or where the variable [`BEHAVIOUR_VARIABLE`] says.

pub mod behaviour;
mod prover;
mod server;
pub mod times;

pub use crate::behaviour::{Behaviour, behaviour_file};
pub use crate::prover::Source;
pub use crate::server::{serve, serve_with};

/// Variable with the path of the file that sets the faults of the program `gpu-stand-in`.
pub const BEHAVIOUR_VARIABLE: &str = "GPU_STAND_IN_BEHAVIOUR";
