//! Limits of concurrent connections, in total and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use hierophant_model::subscriber::subscriber;
use parking_lot::{Mutex, MutexGuard};

/// A limit of concurrent connections. Clones share the counts.
#[derive(Debug, Clone)]
pub struct ConnectionLimiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    /// 0 = no limit.
    max_per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
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

/// Permission for one connection; returned when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl ConnectionLimiter {
    /// A limit of `max` in total and `max_per_address` for each address, 0 = unlimited.
    #[must_use]
    pub fn new(max: usize, max_per_address: usize) -> Self {
        Self(Arc::new(Shared { max, max_per_address, counts: Mutex::default() }))
    }

    /// Permits one more connection from `address`.
    ///
    /// # Errors
    ///
    /// The exceeded limit.
    pub fn take(&self, address: IpAddr) -> Result<ConnectionPermit, LimitExceeded> {
        let address = subscriber(address);
        let mut counts = self.0.counts();
        if counts.total >= self.0.max {
            return Err(LimitExceeded::All);
        }
        if self.0.max_per_address > 0 {
            let count = counts.by_address.entry(address).or_default();
            if *count >= self.0.max_per_address {
                return Err(LimitExceeded::Address);
            }
            *count += 1;
        }
        counts.total += 1;
        Ok(ConnectionPermit { shared: Arc::clone(&self.0), address })
    }

    /// Current number of connections.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.counts().total
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.shared.counts();
        counts.total -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
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
    fn addresses_that_have_left_are_forgotten() {
        let limiter = ConnectionLimiter::new(10, 1);
        for last in 0..=255 {
            drop(limiter.take(ip(&format!("10.0.0.{last}"))).expect("free"));
        }
        assert!(limiter.0.counts().by_address.is_empty());
    }
}
