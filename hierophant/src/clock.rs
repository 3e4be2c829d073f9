//! Detection of changes to the wall clock.
//!
//! Deadlines and records use wall-clock time, as clients and operators do. Elapsed times must not be measured by a
//! clock that was set in between. An actor that keeps points in time in memory therefore reads its time here and
//! shifts those points when the clock was set. The monotonic clock alone would not suffice: it is unrelated to
//! deadlines, and it stands still while the machine sleeps.

use std::time::Duration;

use hierophant_model::records::Millis;
use tokio::time::Instant;

/// Minimum difference between the clocks, in milliseconds, that counts as a change. Smaller ones are rounding and
/// corrections by a time service.
const JUMP: i64 = 1000;

/// Wall clock compared with the monotonic clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// Reading of the wall clock at `start`, adjusted for detected changes.
    wall_start: i64,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), wall_start: Millis::now().0 }
    }

    /// Current time, and the number of milliseconds by which the wall clock was set forward (negative: back) since
    /// the previous call. The latter is 0 unless the clock was set.
    pub(crate) fn read(&mut self) -> (Millis, i64) {
        let now = Millis::now();
        (now, self.compare(now, Instant::now()))
    }

    fn compare(&mut self, wall: Millis, steady: Instant) -> i64 {
        let passed = steady.saturating_duration_since(self.start).as_millis();
        let expected = self.wall_start.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        let jump = wall.0.saturating_sub(expected);
        if jump.saturating_abs() < JUMP {
            return 0;
        }
        self.wall_start = self.wall_start.saturating_add(jump);
        jump
    }
}

/// Timer of periodic checks, which notices that it was late: the program was stopped, its machine paused, or its actor
/// waited for the store. What happened meanwhile is not handled yet then, and no peer may be judged by it.
#[derive(Debug)]
pub(crate) struct Sweeps {
    interval: Duration,
    last: Instant,
}

impl Sweeps {
    /// A timer of this interval that starts now.
    pub(crate) fn start(interval: Duration) -> Self {
        Self { interval, last: Instant::now() }
    }

    /// Records a check. Returns the time for which it is late, if it is later than two intervals after the previous
    /// one.
    pub(crate) fn late(&mut self) -> Option<Duration> {
        let passed = self.last.elapsed();
        self.last = Instant::now();
        (passed > 2 * self.interval).then(|| passed.saturating_sub(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_reported_once_and_drift_is_not_reported() {
        let start = Instant::now();
        let mut clock = Clock { start, wall_start: 5_000_000 };
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clock.compare(Millis(5_000_000), start), 0);
        assert_eq!(clock.compare(Millis(5_010_900), after(10)), 0, "drift");
        assert_eq!(clock.compare(Millis(8_611_000), after(11)), 3_600_000);
        assert_eq!(clock.compare(Millis(8_612_000), after(12)), 0);
        assert_eq!(clock.compare(Millis(1_413_000), after(13)), -7_200_000);
        assert_eq!(clock.compare(Millis(1_414_500), after(14)), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_was_held_up_is_late_and_the_next_one_is_not() {
        let mut sweeps = Sweeps::start(Duration::from_secs(1));
        for (passed, late) in [(1, None), (2, None), (26, Some(25)), (0, None), (1, None)] {
            tokio::time::advance(Duration::from_secs(passed)).await;
            assert_eq!(sweeps.late(), late.map(Duration::from_secs), "after {passed} s");
        }
    }
}
