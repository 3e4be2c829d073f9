//! The whole network under test: the real programs as child processes, driven by an
//! unmodified client.
//!
//! Every other test looks at a part from within. This crate stands where a user stands: it starts
//! `hierophant` and `contemplant` as an operator would ([`network`]), talks to them only through
//! `sp1-sdk` ([`client`]) and the status pages ([`status`]), and believes a proof only after the SDK
//! has verified it ([`verify`]). The binary `integration-test` is the main story ([`scenario`]); the
//! tests in `tests/` tell others with the same parts, and the program `overhead` ([`overhead`]) measures.

pub mod client;
pub mod keep;
pub mod network;
pub mod options;
pub mod overhead;
pub mod progress;
pub mod scenario;
pub mod signer;
pub mod status;
pub mod timeline;
pub mod verify;
