//! Bounded waits on a condition.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Calls `check` until it gives a value, and returns that.
///
/// # Errors
///
/// The first error of `check`, or one that names `what` if there is no value within `limit`.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        if started.elapsed() >= limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// [`until`] for tests that panic when something is missing.
///
/// # Panics
///
/// When there is no value within `limit`; the message names `what`.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    match until(what, limit, async || Ok(check().await)).await {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_value_ends_the_wait() {
        let mut looks = 0;
        let value = until("three looks", Duration::from_secs(10), async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        })
        .await
        .expect("a value");
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn a_wait_in_vain_names_what_was_missing() {
        let error = until("the moon", Duration::ZERO, async || Ok(None::<()>)).await;
        assert_eq!(error.expect_err("must end").to_string(), "the moon: not within 0 s");
    }
}
