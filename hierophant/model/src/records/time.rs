//! Points in time, and the clock that they are read from.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What [`Millis::now`] reads instead of the system's clock.
static OTHER_CLOCK: OnceLock<fn() -> SystemTime> = OnceLock::new();

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// The current time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        let now = OTHER_CLOCK.get().map_or_else(SystemTime::now, |clock| clock());
        let elapsed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    /// From now on this whole process lives by another clock: that of a simulation. Only the first call
    /// counts.
    pub fn live_by(clock: fn() -> SystemTime) {
        let _ = OTHER_CLOCK.set(clock);
    }

    /// Whole seconds, as clients count time.
    #[must_use]
    pub fn seconds(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// From whole seconds, saturating: clients may send any 64-bit number.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// Moves it by so many milliseconds.
    pub fn shift(&mut self, by: i64) {
        self.0 = self.0.saturating_add(by);
    }

    /// Milliseconds from `earlier` to this, 0 if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// A duration in milliseconds; one that is too long for them is the longest there is.
impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}
