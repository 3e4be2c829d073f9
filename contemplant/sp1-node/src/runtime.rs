//! The prover's own tokio runtime.
//!
//! SP1 computes for seconds inside asynchronous tasks. On the runtime that keeps the connection, that
//! would delay heartbeats until Hierophant declares the worker lost.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument;

/// A runtime that belongs to one prover. Dropping it lets running computations end in the background.
pub struct ProverRuntime(Option<Runtime>);

impl ProverRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When the operating system gives none.
    pub fn start() -> std::io::Result<Self> {
        // SP1 fills some threads with computations that others wait for, so a few are needed even on
        // a small machine.
        let threads = std::thread::available_parallelism().map_or(4, usize::from).max(4);
        Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("prover")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    /// Runs `future` on the prover's threads; the caller's own thread stays free. A panic comes back
    /// as its message.
    ///
    /// # Errors
    ///
    /// The panic's message.
    pub async fn run<F>(&self, future: F) -> Result<F::Output, String>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned = {
            let _guard = self.0.as_ref().expect("taken out only by drop").enter();
            AbortOnDrop(spawn(future))
        };
        spawned.outcome().await
    }
}

impl Drop for ProverRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts `future` on the current runtime, inside the span of the caller.
#[allow(clippy::disallowed_methods, reason = "the one place of this crate that may call it")]
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.in_current_span())
}

/// Runs `future` as a separate task on the current runtime. A panic is returned as its message. If the call is
/// dropped, the task stops.
pub(crate) async fn caught<F>(future: F) -> Result<F::Output, String>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    AbortOnDrop(spawn(future)).outcome().await
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    async fn outcome(mut self) -> Result<T, String> {
        (&mut self.0).await.map_err(panic_message)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The message of a panic.
#[must_use]
pub fn panic_message(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "the task was stopped".to_owned() };
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "panic without a message".to_owned())
}
