//! Limits of concurrent connections, uploads or bytes, in total and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use hierophant_model::subscriber::subscriber;
use parking_lot::{Mutex, MutexGuard};

/// A limit of connections, or of another amount, at the same time. Clones share the counts.
#[derive(Debug, Clone)]
pub struct ConnectionLimiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    /// 0 = no limit.
    max_per_address: usize,
    /// Whether no address may hold more than what is left for all others.
    is_fair: bool,
    /// What each address may hold even if nothing is left, as far as [`Shared::max_extra`] allows.
    guaranteed: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    /// What is held because it was guaranteed, beyond the total that is allowed.
    extra: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The exceeded limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitExceeded {
    /// The total.
    All,
    /// The limit per address.
    Address,
}

/// Permission for one connection or another amount; returned when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    shared: Arc<Shared>,
    address: IpAddr,
    amount: usize,
    /// Whether it was granted because it is guaranteed.
    is_extra: bool,
}

impl ConnectionLimiter {
    /// A limit of `max` in total and `max_per_address` for each address, 0 = unlimited.
    #[must_use]
    pub fn new(max: usize, max_per_address: usize) -> Self {
        Self::of(max, max_per_address, false, 0)
    }

    /// As [`Self::new`], but while addresses are limited, none may hold more than what is left. However many take as much
    /// as they get, some is left for the next one: among `n` of them an equal part of `n + 1`.
    #[must_use]
    pub fn fair(max: usize, max_per_address: usize) -> Self {
        Self::of(max, max_per_address, true, 0)
    }

    /// As [`Self::fair`], but each address may hold an amount of `guaranteed` even if nothing is left. What is held in
    /// this way by all addresses together is at most a quarter of `max`, so that many addresses cannot exceed it much.
    #[must_use]
    pub fn guaranteeing(max: usize, max_per_address: usize, guaranteed: usize) -> Self {
        Self::of(max, max_per_address, true, guaranteed)
    }

    fn of(max: usize, max_per_address: usize, is_fair: bool, guaranteed: usize) -> Self {
        let counts = Mutex::default();
        Self(Arc::new(Shared { max, max_per_address, is_fair, guaranteed, counts }))
    }

    /// Permits one more connection from `address`.
    ///
    /// # Errors
    ///
    /// The exceeded limit.
    pub fn take(&self, address: IpAddr) -> Result<ConnectionPermit, LimitExceeded> {
        self.take_amount(address, 1)
    }

    /// Permits `amount` more from `address`.
    ///
    /// # Errors
    ///
    /// The exceeded limit.
    pub fn take_amount(
        &self,
        address: IpAddr,
        amount: usize,
    ) -> Result<ConnectionPermit, LimitExceeded> {
        let address = subscriber(address);
        let mut counts = self.0.counts();
        let taken = counts.by_address.get(&address).copied().unwrap_or_default();
        let wanted = taken.saturating_add(amount);
        let exceeded = self.0.exceeded(counts.total, amount, wanted);
        let is_extra = exceeded.is_some();
        if let Some(limit) = exceeded {
            let extra = counts.extra.saturating_add(amount);
            if wanted > self.0.guaranteed || extra > self.0.max_extra() {
                return Err(limit);
            }
            counts.extra = extra;
        }
        counts.add(address, amount);
        drop(counts);
        Ok(ConnectionPermit { shared: Arc::clone(&self.0), address, amount, is_extra })
    }

    /// Counts `amount` more from `address` even if that exceeds a limit.
    pub(super) fn take_anyway(&self, address: IpAddr, amount: usize) -> ConnectionPermit {
        let address = subscriber(address);
        self.0.counts().add(address, amount);
        ConnectionPermit { shared: Arc::clone(&self.0), address, amount, is_extra: false }
    }

    /// Current number of connections, or current amount.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.counts().total
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }

    /// Maximum of what is held because it was guaranteed, by all addresses together.
    fn max_extra(&self) -> usize {
        self.max / 4
    }

    /// The limit that `amount` more would exceed, where `total` is held in all and the address would hold `wanted`.
    fn exceeded(&self, total: usize, amount: usize, wanted: usize) -> Option<LimitExceeded> {
        if total.saturating_add(amount) > self.max {
            return Some(LimitExceeded::All);
        }
        let most = self.max_per_address;
        let left = if self.is_fair { self.max - total } else { most };
        (most > 0 && wanted > most.min(left)).then_some(LimitExceeded::Address)
    }
}

impl Counts {
    fn add(&mut self, address: IpAddr, amount: usize) {
        self.total = self.total.saturating_add(amount);
        let count = self.by_address.entry(address).or_default();
        *count = count.saturating_add(amount);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.shared.counts();
        counts.total = counts.total.saturating_sub(self.amount);
        if self.is_extra {
            counts.extra = counts.extra.saturating_sub(self.amount);
        }
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(self.amount);
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn there_are_never_more_than_allowed_and_what_is_dropped_is_free_again() {
        let limiter = ConnectionLimiter::new(3, 2);
        let first = limiter.take(ip("10.0.0.1")).expect("free");
        let _second = limiter.take(ip("::ffff:10.0.0.1")).expect("free");
        assert_eq!(limiter.take(ip("10.0.0.1")).expect_err("full"), LimitExceeded::Address);
        let _third = limiter.take(ip("10.0.0.2")).expect("free");
        assert_eq!(limiter.take(ip("10.0.0.3")).expect_err("full"), LimitExceeded::All);
        drop(first);
        assert_eq!(limiter.count(), 2);
        drop(limiter.take(ip("10.0.0.1")).expect("free again"));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_zero_is_no_limit() {
        let limiter = ConnectionLimiter::new(10, 1);
        let _one = limiter.take(ip("2001:db8::1")).expect("free");
        assert_eq!(limiter.take(ip("2001:db8::ffff")).expect_err("full"), LimitExceeded::Address);
        let _other = limiter.take(ip("2001:db8:0:1::1")).expect("another network");
        let open = ConnectionLimiter::new(3, 0);
        let all: Vec<ConnectionPermit> =
            (0..3).map(|_| open.take(ip("::1")).expect("free")).collect();
        assert_eq!((all.len(), open.count()), (3, 3));
    }

    #[test]
    fn however_many_addresses_take_what_they_get_some_is_left_for_the_next() {
        for hogs in [1, 4, 20, 200] {
            let limiter = ConnectionLimiter::fair(10_000, 2_500);
            let mut held = Vec::new();
            let address = |hog: u8| ip(&format!("10.0.0.{hog}"));
            let mut is_growing = true;
            while is_growing {
                let before = held.len();
                held.extend((0..hogs).filter_map(|hog| limiter.take(address(hog)).ok()));
                is_growing = held.len() > before;
            }
            let left = 10_000 - limiter.count();
            assert!(left + 1 >= 10_000 / (usize::from(hogs) + 1), "{hogs}: {left}");
            assert!(limiter.take(ip("10.0.1.1")).is_ok());
        }
        let open = ConnectionLimiter::fair(3, 0);
        let all: Vec<_> = (0..3).map(|_| open.take(ip("::1")).expect("free")).collect();
        assert_eq!(all.len(), 3, "addresses are not limited");
    }

    #[test]
    fn each_address_may_hold_its_guaranteed_amount_even_if_nothing_is_left() {
        let limiter = ConnectionLimiter::guaranteeing(100, 50, 10);
        let _all = limiter.take_anyway(ip("10.0.0.1"), 120);
        let honest = limiter.take_amount(ip("10.0.0.2"), 10).expect("guaranteed");
        let more = limiter.take_amount(ip("10.0.0.2"), 1);
        assert_eq!(more.expect_err("full"), LimitExceeded::All);
        let greedy = limiter.take_amount(ip("10.0.0.1"), 1);
        assert_eq!(greedy.expect_err("full"), LimitExceeded::All);
        drop(honest);
        assert!(limiter.take_amount(ip("10.0.0.2"), 10).is_ok());
    }

    #[test]
    fn guarantees_of_many_addresses_are_bounded_together() {
        let limiter = ConnectionLimiter::guaranteeing(100, 50, 10);
        let _all = limiter.take_anyway(ip("10.0.0.1"), 100);
        let take = |hog: u8| limiter.take_amount(ip(&format!("10.0.1.{hog}")), 10);
        let held: Vec<_> = (0..200).filter_map(|hog| take(hog).ok()).collect();
        assert_eq!((held.len(), limiter.count()), (2, 120));
        assert_eq!(take(201).expect_err("full"), LimitExceeded::All);
        drop(held);
        assert!(take(201).is_ok(), "what was dropped is free again");
    }

    #[test]
    fn amounts_are_counted_whole() {
        let limiter = ConnectionLimiter::new(100, 60);
        let first = limiter.take_amount(ip("10.0.0.1"), 60).expect("free");
        let more = limiter.take_amount(ip("10.0.0.1"), 1);
        assert_eq!(more.expect_err("full"), LimitExceeded::Address);
        let more = limiter.take_amount(ip("10.0.0.2"), 41);
        assert_eq!(more.expect_err("full"), LimitExceeded::All);
        let beyond = limiter.take_anyway(ip("10.0.0.1"), 50);
        assert_eq!(limiter.count(), 110);
        drop((first, beyond));
        assert_eq!(limiter.count(), 0);
        assert!(limiter.0.counts().by_address.is_empty());
        assert!(limiter.take_amount(ip("10.0.0.1"), usize::MAX).is_err());
    }

    #[test]
    fn addresses_that_have_left_are_forgotten() {
        let limiter = ConnectionLimiter::new(10, 1);
        for last in 0..=255 {
            drop(limiter.take(ip(&format!("10.0.0.{last}"))).expect("free"));
        }
        assert!(limiter.0.counts().by_address.is_empty());
    }
}
