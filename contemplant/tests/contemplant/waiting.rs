//! Waits with a time limit: a test fails instead of hanging.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

/// Longer than anything here should take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Interval between two checks of a condition.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until a condition holds, for [`PATIENCE`] at most.
pub(crate) async fn until(holds: impl Fn() -> bool) -> Result<(), Elapsed> {
    let wait = async {
        while !holds() {
            sleep(INTERVAL).await;
        }
    };
    timeout(PATIENCE, wait).await
}

/// Waits until a server accepts connections at a Unix socket.
pub(crate) async fn until_listening(socket: &Path) {
    let wait = async {
        while UnixStream::connect(socket).await.is_err() {
            sleep(INTERVAL).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the server does not listen");
}
