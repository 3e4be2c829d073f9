//! Installing SP1's GPU prover server: `contemplant prover fetch` and `contemplant prover build`.
//!
//! Either way the new program first lies in a temporary file, in the folder that it is for. It must report the SP1 version
//! of this Contemplant before it takes the place of the old one, in one step. After a failure the old one is unchanged.

mod archive;
pub mod build;
pub mod commands;
mod download;
mod fault;
pub mod fetch;
mod place;
mod prerequisites;
pub mod program;
mod release;
