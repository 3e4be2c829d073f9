//! Rate limits by key, such as an IP address: a burst, then one more per period.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Rate limiter with a separate allowance for each key and a bounded number of keys.
#[derive(Debug)]
pub struct KeyedRateLimiter<K> {
    burst: u32,
    period: Duration,
    max_keys: usize,
    spent: Mutex<Spent<K>>,
}

/// Time at which each key has its whole burst again. Keys that have it are not stored.
#[derive(Debug)]
struct Spent<K> {
    full_at: BTreeMap<K, Instant>,
    /// The same entries sorted by time.
    order: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> KeyedRateLimiter<K> {
    /// A limiter that allows `burst` at once and one more per `period`. Of more than `max_keys` keys, the one that
    /// has spent least is removed.
    #[must_use]
    pub const fn new(burst: u32, period: Duration, max_keys: usize) -> Self {
        let spent = Spent { full_at: BTreeMap::new(), order: BTreeSet::new() };
        Self { burst, period, max_keys, spent: Mutex::new(spent) }
    }

    /// Checks whether the key has anything left, without spending it.
    ///
    /// # Errors
    ///
    /// The time to wait.
    pub fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        self.check_in(&self.spent(), key, now)
    }

    /// Spends one of what the key has left.
    pub fn spend(&self, key: K, now: Instant) {
        self.spend_in(&mut self.spent(), key, now);
    }

    /// Spends one of what the key has left, if there is any.
    ///
    /// # Errors
    ///
    /// The time to wait.
    pub fn try_spend(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut spent = self.spent();
        self.check_in(&spent, &key, now)?;
        self.spend_in(&mut spent, key, now);
        Ok(())
    }

    /// Number of keys that are remembered.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.spent().full_at.len()
    }

    fn check_in(&self, spent: &Spent<K>, key: &K, now: Instant) -> Result<(), Duration> {
        let full_at = spent.full_at.get(key).copied().unwrap_or(now);
        let owed = full_at.saturating_duration_since(now);
        match owed.checked_sub(self.period * self.burst.saturating_sub(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    fn spend_in(&self, spent: &mut Spent<K>, key: K, now: Instant) {
        let before = spent.full_at.remove(&key);
        if let Some(before) = before {
            spent.order.remove(&(before, key.clone()));
        }
        while let Some((full_at, _)) = spent.order.first()
            && (*full_at <= now || spent.order.len() >= self.max_keys)
            && let Some((_, least)) = spent.order.pop_first()
        {
            spent.full_at.remove(&least);
        }
        let full_at = before.unwrap_or(now).max(now) + self.period;
        spent.full_at.insert(key.clone(), full_at);
        spent.order.insert((full_at, key));
    }

    fn spent(&self) -> MutexGuard<'_, Spent<K>> {
        self.spent.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_the_burst_one_more_comes_each_time() {
        let limiter = KeyedRateLimiter::new(3, SECOND, 10);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.check(&1, now), Ok(()));
            limiter.spend(1, now);
        }
        assert_eq!(limiter.check(&1, now), Err(SECOND));
        assert_eq!(limiter.check(&2, now), Ok(()));
        assert_eq!(limiter.try_spend(1, now + SECOND / 2), Err(SECOND / 2));
        assert_eq!(limiter.check(&1, now + SECOND), Ok(()));
        limiter.spend(1, now + SECOND);
        assert_eq!(limiter.check(&1, now + SECOND), Err(SECOND));
        assert_eq!(limiter.try_spend(1, now + SECOND * 10), Ok(()));
    }

    #[test]
    fn no_more_keys_are_remembered_than_may_be() {
        let limiter = KeyedRateLimiter::new(2, SECOND, 100);
        let now = Instant::now();
        for _ in 0..2 {
            limiter.spend(0, now);
        }
        for key in 1..=10_000 {
            limiter.spend(key, now);
        }
        let remembered = || (limiter.keys(), limiter.spent().order.len());
        assert_eq!(remembered(), (100, 100));
        assert_eq!(limiter.check(&0, now), Err(SECOND), "who has spent most is remembered longest");
        limiter.spend(10_001, now + SECOND * 5);
        assert_eq!(remembered(), (1, 1), "what is over is forgotten");
    }
}
