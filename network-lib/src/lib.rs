//! What Hierophant and Contemplant share: identifiers, the job model, the worker protocol and the
//! few habits (configuration, tasks, signals, logs, metrics, traces) that both programs follow.
//!
//! Nothing here depends on a prover, a database or a web framework, so both programs build without each
//! other. The protocol is described for people in `docs/worker-protocol.md`; its messages are
//! [`wire::FromWorker`] and [`wire::ToWorker`].

pub mod codec;
pub mod config;
pub mod handshake;
pub mod ids;
pub mod job;
pub mod logging;
pub mod metrics;
pub mod named;
pub mod secret;
pub mod signal;
pub mod task;
pub mod trace;
pub mod upload;
pub mod wire;
