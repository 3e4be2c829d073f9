//! Leaving after an idle time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Idle time of this worker: connected, ready, and without an attempt.
///
/// Time without a connection, or without an offer, neither counts nor starts the idle time again: no attempt can come
/// then, and a connection that breaks now and then must not keep a machine running.
#[derive(Debug)]
pub(super) struct IdleClock {
    limit: Option<Duration>,
    /// Idle time before `since`.
    before: Duration,
    /// Start of the period that is counted now; none if none is.
    since: Option<Instant>,
}

impl IdleClock {
    /// A clock that is over after `limit`; without one, never.
    pub(super) const fn new(limit: Option<Duration>) -> Self {
        Self { limit, before: Duration::ZERO, since: None }
    }

    /// Records the state of a connected worker.
    pub(super) fn observe(&mut self, has_attempts: bool, is_ready: bool) {
        if has_attempts {
            (self.before, self.since) = (Duration::ZERO, None);
        } else if is_ready {
            self.since.get_or_insert_with(Instant::now);
        } else {
            self.pause();
        }
    }

    /// Stops to count, because the connection has ended.
    pub(super) fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            self.before = self.before.saturating_add(since.elapsed());
        }
    }

    /// The limit, if the worker was idle for that time.
    pub(super) fn reached(&self) -> Option<Duration> {
        self.limit.filter(|_| self.end().is_some_and(|end| end <= Instant::now()))
    }

    /// Waits until the limit is reached, if the worker stays idle.
    pub(super) async fn over(&self) {
        match self.end() {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    fn end(&self) -> Option<Instant> {
        let left = self.limit?.saturating_sub(self.before);
        // A limit beyond the clock's range is never reached.
        self.since?.checked_add(left)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn only_time_that_is_connected_ready_and_without_an_attempt_counts() {
        let mut clock = IdleClock::new(Some(LIMIT));
        clock.observe(false, false);
        advance(2 * LIMIT).await;
        assert_eq!(clock.reached(), None, "it was never ready");
        clock.observe(false, true);
        advance(LIMIT / 2).await;
        clock.pause();
        advance(2 * LIMIT).await;
        clock.observe(false, true);
        advance(LIMIT / 2 - Duration::from_secs(1)).await;
        clock.observe(false, true);
        assert_eq!(clock.reached(), None);
        advance(Duration::from_secs(1)).await;
        assert_eq!(clock.reached(), Some(LIMIT));

        clock.observe(true, true);
        assert_eq!(clock.reached(), None, "an attempt starts the time again");
        advance(2 * LIMIT).await;
        clock.observe(false, true);
        assert_eq!(clock.reached(), None);
        advance(LIMIT).await;
        assert_eq!(clock.reached(), Some(LIMIT));
        clock.over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_or_with_one_beyond_all_time_it_is_never_over() {
        for limit in [None, Some(Duration::MAX)] {
            let mut clock = IdleClock::new(limit);
            clock.observe(false, true);
            advance(1_000_000 * LIMIT).await;
            assert_eq!(clock.reached(), None);
            let waited = tokio::time::timeout(LIMIT, clock.over()).await;
            assert!(waited.is_err(), "{limit:?}");
        }
    }
}
