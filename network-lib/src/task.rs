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
    // Where spans of this level are not wanted, the one outside must be kept by its own right.
    tokio::spawn(future.instrument(tracing::debug_span!("task", name)).in_current_span())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_task_keeps_the_span_that_it_was_started_in_at_every_level() {
        for level in [tracing::Level::INFO, tracing::Level::DEBUG] {
            let log = tempfile::NamedTempFile::new().expect("writes");
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(level)
                .with_writer(Arc::new(log.reopen().expect("writes")))
                .with_ansi(false)
                .finish();
            let guard = tracing::subscriber::set_default(subscriber);
            let task = tracing::info_span!("job", lease = "5b5b").in_scope(|| {
                spawn("outer", async { spawn("inner", async { tracing::info!("said") }).await })
            });
            task.await.expect("ends").expect("ends");
            drop(guard);
            let text = std::fs::read_to_string(log.path()).expect("reads");
            assert!(
                text.contains("said") && text.contains(r#"job{lease="5b5b"}"#),
                "{level}: {text}"
            );
        }
    }
}
