//! Points in time and their clock.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clock of [`Millis::now`] instead of the system clock.
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

    /// Replaces the clock of the whole process, for a simulation. Only the first call has an effect.
    pub fn live_by(clock: fn() -> SystemTime) {
        let _ = OTHER_CLOCK.set(clock);
    }

    /// Whole seconds, the unit of the client contract.
    #[must_use]
    pub fn seconds(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// From whole seconds, saturating, because clients may send any 64-bit number.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// Shifts the time by `by` milliseconds.
    pub fn shift(&mut self, by: i64) {
        self.0 = self.0.saturating_add(by);
    }

    /// Milliseconds since `earlier`; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// Duration in milliseconds, saturating.
impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}
