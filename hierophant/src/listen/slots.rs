//! Bounded numbers of something, in all and by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hierophant_model::subscriber::subscriber;

/// How many there are at most, and how many there are. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    /// 0 = no limit.
    most_each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of all.
    All,
    /// That of the address.
    Address,
}

/// One of them; given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Slots {
    /// `most` in all, `most_each` for each address; 0 of the latter is no limit.
    #[must_use]
    pub fn new(most: usize, most_each: usize) -> Self {
        Self(Arc::new(Shared { most, most_each, taken: Mutex::default() }))
    }

    /// Takes one for `address`.
    ///
    /// # Errors
    ///
    /// When there are too many already.
    pub fn take(&self, address: IpAddr) -> Result<Slot, Full> {
        let address = subscriber(address);
        let mut taken = self.0.taken();
        if taken.all >= self.0.most {
            return Err(Full::All);
        }
        if self.0.most_each > 0 {
            let count = taken.each.entry(address).or_default();
            if *count >= self.0.most_each {
                return Err(Full::Address);
            }
            *count += 1;
        }
        taken.all += 1;
        Ok(Slot { shared: Arc::clone(&self.0), address })
    }

    /// How many there are now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken().all
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.shared.taken();
        taken.all -= 1;
        if let Some(count) = taken.each.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.each.remove(&self.address);
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
        let slots = Slots::new(3, 2);
        let first = slots.take(ip("10.0.0.1")).expect("free");
        let _second = slots.take(ip("::ffff:10.0.0.1")).expect("free");
        assert_eq!(slots.take(ip("10.0.0.1")).expect_err("full"), Full::Address);
        let _third = slots.take(ip("10.0.0.2")).expect("free");
        assert_eq!(slots.take(ip("10.0.0.3")).expect_err("full"), Full::All);
        drop(first);
        assert_eq!(slots.taken(), 2);
        drop(slots.take(ip("10.0.0.1")).expect("free again"));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_zero_is_no_limit() {
        let slots = Slots::new(10, 1);
        let _one = slots.take(ip("2001:db8::1")).expect("free");
        assert_eq!(slots.take(ip("2001:db8::ffff")).expect_err("full"), Full::Address);
        let _other = slots.take(ip("2001:db8:0:1::1")).expect("another network");
        let open = Slots::new(3, 0);
        let all: Vec<Slot> = (0..3).map(|_| open.take(ip("::1")).expect("free")).collect();
        assert_eq!((all.len(), open.taken()), (3, 3));
    }

    #[test]
    fn addresses_that_have_left_are_forgotten() {
        let slots = Slots::new(10, 1);
        for last in 0..=255 {
            drop(slots.take(ip(&format!("10.0.0.{last}"))).expect("free"));
        }
        assert!(slots.0.taken().each.is_empty());
    }
}
