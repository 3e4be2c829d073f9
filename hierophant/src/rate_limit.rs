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

    /// Spends `count`, even if the key has less left. What it owes beyond its burst is at most `most_owed`.
    pub fn charge(&self, key: K, count: u32, most_owed: Duration, now: Instant) {
        let most = now + self.period * self.burst + most_owed;
        self.extend_in(&mut self.spent(), key, count, Some(most), now);
    }

    /// Time until the key owes at most `overdraft` beyond its burst; `None` if it does now.
    #[must_use]
    pub fn wait(&self, key: &K, overdraft: u32, now: Instant) -> Option<Duration> {
        self.wait_in(&self.spent(), key, overdraft, now)
    }

    /// Number of keys that are remembered.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.spent().full_at.len()
    }

    fn check_in(&self, spent: &Spent<K>, key: &K, now: Instant) -> Result<(), Duration> {
        self.wait_in(spent, key, 0, now).map_or(Ok(()), Err)
    }

    fn wait_in(&self, spent: &Spent<K>, key: &K, overdraft: u32, now: Instant) -> Option<Duration> {
        let owed = spent.full_at.get(key)?.saturating_duration_since(now);
        let most = self.burst.saturating_add(overdraft).saturating_sub(1);
        owed.checked_sub(self.period.saturating_mul(most)).filter(|wait| !wait.is_zero())
    }

    fn spend_in(&self, spent: &mut Spent<K>, key: K, now: Instant) {
        self.extend_in(spent, key, 1, None, now);
    }

    /// Moves the time at which the key has its whole burst again, at most to `most`.
    fn extend_in(
        &self,
        spent: &mut Spent<K>,
        key: K,
        count: u32,
        most: Option<Instant>,
        now: Instant,
    ) {
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
        let before = before.unwrap_or(now).max(now);
        let full_at = before + self.period * count;
        let full_at = most.map_or(full_at, |most| full_at.min(most.max(before)));
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
    fn who_goes_on_owes_more_up_to_a_limit() {
        let limiter = KeyedRateLimiter::new(3, SECOND, 10);
        let now = Instant::now();
        limiter.charge(1, 2, SECOND * 5, now);
        assert_eq!(limiter.wait(&1, 0, now), None);
        limiter.charge(1, 2, SECOND * 5, now);
        let wait = |overdraft, now| limiter.wait(&1, overdraft, now);
        assert_eq!(
            (wait(0, now), wait(1, now), wait(2, now)),
            (Some(SECOND * 2), Some(SECOND), None)
        );
        limiter.charge(1, 100, SECOND * 5, now);
        assert_eq!(
            wait(0, now),
            Some(SECOND * 6),
            "three of the burst, and five, until there is one"
        );
        assert_eq!(wait(0, now + SECOND * 6), None);
        assert_eq!(limiter.check(&1, now + SECOND * 6), Ok(()));
        limiter.charge(2, 0, SECOND * 5, now);
        assert_eq!(limiter.wait(&2, 0, now), None);
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
