//! Log of failed authentication: who was refused where and why, at a bounded rate, so that an alert can see guesses
//! and a flood of them cannot fill the disk.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hierophant_model::subscriber::subscriber;
use tokio::time::Instant;

use crate::rate_limit::KeyedRateLimiter;

/// Maximum number of lines about one address at once.
const MAX_EACH: u32 = 5;

/// Time after which one more line about an address is written.
const EACH_PERIOD: Duration = Duration::from_secs(60);

/// Maximum number of lines about all addresses at once.
const MAX_ALL: u32 = 200;

/// Time after which one more line about any address is written.
const ALL_PERIOD: Duration = Duration::from_secs(1);

/// Maximum number of addresses that are tracked.
const MAX_ADDRESSES: usize = 10_000;

/// Longest logged text in characters.
const MAX_TEXT: usize = 200;

/// Log of failed authentication. Clones share its limits.
#[derive(Debug, Clone)]
pub struct Denials(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    each: KeyedRateLimiter<IpAddr>,
    all: KeyedRateLimiter<()>,
    /// Failures since the last line that have none.
    unlogged: AtomicU64,
}

impl Default for Denials {
    fn default() -> Self {
        Self(Arc::new(Inner {
            each: KeyedRateLimiter::new(MAX_EACH, EACH_PERIOD, MAX_ADDRESSES),
            all: KeyedRateLimiter::new(MAX_ALL, ALL_PERIOD, 1),
            unlogged: AtomicU64::new(0),
        }))
    }
}

impl Denials {
    /// Logs that a call from `peer` to `path` was refused, unless too many were logged. `path` and `reason` must not
    /// contain secrets.
    pub fn log(&self, peer: IpAddr, kind: &str, path: &str, reason: &str) {
        if !self.may_log(peer, Instant::now()) {
            self.0.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unlogged = self.0.unlogged.swap(0, Ordering::Relaxed);
        let [path, reason] =
            [path, reason].map(|text| text.chars().take(MAX_TEXT).collect::<String>());
        let peer = peer.to_canonical();
        tracing::warn!(%peer, kind, ?path, ?reason, unlogged, "authentication failed");
    }

    fn may_log(&self, peer: IpAddr, now: Instant) -> bool {
        let Inner { each, all, .. } = &*self.0;
        each.try_spend(subscriber(peer), now).is_ok() && all.try_spend((), now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_for_each_address_and_for_all_together() {
        let (denials, now) = (Denials::default(), Instant::now());
        let logged = |number: u32| denials.may_log(IpAddr::V4(number.into()), now);
        assert_eq!((0..20).filter(|_| logged(1)).count(), 5);
        let others = (2..10_000).filter(|number| logged(*number)).count();
        assert_eq!(others, 195, "five lines were about the first address");
        assert!(denials.may_log(IpAddr::V4(1.into()), now + EACH_PERIOD));
    }
}
