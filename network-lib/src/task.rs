//! The only place that starts tasks, so that each keeps the span it was started in and has a name
//! in its panic report.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument;

/// Starts `future` on the current runtime inside a span called `task` with the given name.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may call it")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::debug_span!("task", name)))
}
