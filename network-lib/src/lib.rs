//! What Hierophant and Contemplant share: identifiers, the job model, the worker protocol and the
//! few habits (configuration, tasks, signals, logs, metrics, traces) that both programs follow.
//!
//! Nothing here depends on a prover, a database or a web framework, so both programs build without each
//! other. The protocol is described for people in `docs/worker-protocol.md`; its messages are
//! [`wire::FromWorker`] and [`wire::ToWorker`].

pub mod codec;
#[cfg(feature = "runtime")]
pub mod config;
pub mod handshake;
pub mod ids;
pub mod job;
pub mod local_secret;
#[cfg(feature = "runtime")]
pub mod logging;
#[cfg(feature = "runtime")]
pub mod metrics;
pub mod named;
pub mod processor;
pub mod secret;
pub mod shard;
#[cfg(feature = "runtime")]
pub mod signal;
#[cfg(feature = "runtime")]
pub mod task;
#[cfg(feature = "runtime")]
pub mod trace;
#[cfg(feature = "runtime")]
pub mod upload;
pub mod wire;
