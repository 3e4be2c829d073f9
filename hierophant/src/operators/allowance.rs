//! How often something may happen for each of many: a few times at once, then again and again after a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Counts for each key, for as many keys as it was made for.
#[derive(Debug)]
pub struct Allowance<K> {
    /// How often at once.
    burst: u32,
    /// After which time once more.
    every: Duration,
    most: usize,
    /// When everything that a key has spent is forgotten.
    spent: Mutex<BTreeMap<K, Instant>>,
}

impl<K: Ord + Clone> Allowance<K> {
    /// `burst` times at once, and once more after each `every`; `most` keys are remembered, and of more those
    /// that would be remembered longest.
    #[must_use]
    pub const fn new(burst: u32, every: Duration, most: usize) -> Self {
        Self { burst, every, most, spent: Mutex::new(BTreeMap::new()) }
    }

    /// Whether anything is left for this key.
    ///
    /// # Errors
    ///
    /// The time until there is.
    pub fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let full_at = self.spent().get(key).copied().unwrap_or(now);
        let owed = full_at.saturating_duration_since(now);
        match owed.checked_sub(self.every * (self.burst - 1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    /// Spends one of what is left for this key.
    pub fn spend(&self, key: K, now: Instant) {
        let mut spent = self.spent();
        if spent.len() >= self.most && !spent.contains_key(&key) {
            spent.retain(|_, full_at| *full_at > now);
            let least =
                spent.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| key.clone());
            if let Some(least) = least.filter(|_| spent.len() >= self.most) {
                spent.remove(&least);
            }
        }
        let full_at = spent.entry(key).or_insert(now);
        *full_at = (*full_at).max(now) + self.every;
    }

    fn spent(&self) -> MutexGuard<'_, BTreeMap<K, Instant>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_the_burst_one_more_comes_each_time() {
        let allowance = Allowance::new(3, SECOND, 10);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(allowance.look(&1, now), Ok(()));
            allowance.spend(1, now);
        }
        assert_eq!(allowance.look(&1, now), Err(SECOND));
        assert_eq!(allowance.look(&2, now), Ok(()));
        assert_eq!(allowance.look(&1, now + SECOND / 2), Err(SECOND / 2));
        assert_eq!(allowance.look(&1, now + SECOND), Ok(()));
        allowance.spend(1, now + SECOND);
        assert_eq!(allowance.look(&1, now + SECOND), Err(SECOND));
        assert_eq!(allowance.look(&1, now + SECOND * 10), Ok(()));
    }

    #[test]
    fn no_more_keys_are_remembered_than_may_be() {
        let allowance = Allowance::new(2, SECOND, 100);
        let now = Instant::now();
        for _ in 0..2 {
            allowance.spend(0, now);
        }
        for key in 1..=10_000 {
            allowance.spend(key, now);
        }
        assert_eq!(allowance.spent().len(), 100);
        assert_eq!(
            allowance.look(&0, now),
            Err(SECOND),
            "who has spent most is remembered longest"
        );
        allowance.spend(10_001, now + SECOND * 5);
        assert_eq!(allowance.spent().len(), 1, "what is over is forgotten");
    }
}
