//! Real programs as child processes of a test: found or built, configured, started, watched, killed.
//!
//! Every suite that starts `hierophant` and `contemplant` does it with this crate. It knows neither SP1 nor the
//! wire protocols, so that it costs a suite nothing to build.

pub mod binaries;
pub mod config;
mod contemplant;
mod hierophant;
mod process;
pub mod wait;

pub use contemplant::contemplant;
pub use hierophant::Hierophant;
pub use process::{Process, STOP_LIMIT, Signal, log_tails, log_text};
