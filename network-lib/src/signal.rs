//! Turns SIGINT and SIGTERM into cancelled tokens.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How a program is asked to stop: in good order, and then at once.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled at the first signal: finish what runs, within limits.
    pub requested: CancellationToken,
    /// Cancelled at the second signal: end without waiting.
    pub at_once: CancellationToken,
}

/// A shutdown that is requested and never hurried.
impl From<CancellationToken> for Shutdown {
    fn from(requested: CancellationToken) -> Self {
        Self { requested, at_once: CancellationToken::new() }
    }
}

/// A token that is cancelled at the first SIGINT or SIGTERM.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub fn shutdown_token() -> std::io::Result<CancellationToken> {
    shutdown().map(|shutdown| shutdown.requested)
}

/// Tokens that are cancelled at the first and the second SIGINT or SIGTERM.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub fn shutdown() -> std::io::Result<Shutdown> {
    let shutdown = Shutdown::default();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let told = shutdown.clone();
    crate::task::spawn("signals", async move {
        let name = next(&mut interrupt, &mut terminate).await;
        tracing::info!(signal = name, "shutting down");
        told.requested.cancel();
        let name = next(&mut interrupt, &mut terminate).await;
        tracing::info!(signal = name, "signalled again");
        told.at_once.cancel();
    });
    Ok(shutdown)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
