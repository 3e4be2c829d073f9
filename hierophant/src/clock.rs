//! Whether somebody has set the wall clock.
//!
//! Deadlines and records are in wall-clock time, because clients and operators are. How long ago
//! something was must not be judged by a clock that was set in between: an owner of state that keeps
//! moments in memory reads its time here, and moves those moments along when it is told to. The
//! monotonic clock alone would not do: it says nothing about deadlines, and stands still while the
//! machine sleeps.

use hierophant_model::records::Millis;
use tokio::time::Instant;

/// From so many milliseconds on, a difference between the clocks is a jump; less is rounding and
/// the gentle corrections of a time service.
const JUMP: i64 = 1000;

/// The wall clock beside the monotonic one.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// What the wall clock read, or would have read, when the other start.
    wall_start: i64,
}

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), wall_start: Millis::now().0 }
    }

    /// The current time, and by how many milliseconds the wall clock was set forward (below 0: back)
    /// since the last look. That is 0 unless somebody has set it.
    pub(crate) fn look(&mut self) -> (Millis, i64) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_jump_is_told_once_and_drift_is_none() {
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
}
