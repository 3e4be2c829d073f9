//! Waiting on a condition, never for a fixed time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Calls `check` until it gives a value.
///
/// Panics if there is none within `limit`, naming what was missing.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {} s", limit.as_secs());
        sleep(LOOK_AGAIN).await;
    }
}
