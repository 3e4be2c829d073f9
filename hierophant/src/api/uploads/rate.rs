//! The minimum rate of an upload.

use std::time::Duration;

/// Minimum rate of one sender, over the time spent waiting for it. Time in which the receiver is busy does not
/// count against the sender, so a slow disk here cuts no upload.
#[derive(Debug, Clone)]
pub struct MinRate {
    /// Minimum bytes in each window.
    needed: u64,
    /// Length of a window.
    window: Duration,
    /// Time waited in this window.
    waited: Duration,
    /// Time waited since the last byte.
    silent: Duration,
    /// Bytes received in this window.
    received: u64,
}

/// The sender is below its minimum rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow;

impl MinRate {
    /// A minimum average rate over each window. Silence for a whole window is too slow at any rate.
    #[must_use]
    pub fn new(bytes_per_second: u64, window: Duration) -> Self {
        let needed = u128::from(bytes_per_second) * window.as_millis() / 1000;
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        Self { needed, window, waited: Duration::ZERO, silent: Duration::ZERO, received: 0 }
    }

    /// Maximum wait for more bytes before the next call of [`Self::record`].
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.window - self.waited.max(self.silent)
    }

    /// Records a wait and the bytes received at its end.
    ///
    /// # Errors
    ///
    /// [`TooSlow`] at the end of a window with too few bytes.
    pub fn record(&mut self, time: Duration, bytes: usize) -> Result<(), TooSlow> {
        self.waited += time;
        self.silent = if bytes == 0 { self.silent + time } else { Duration::ZERO };
        self.received += bytes as u64;
        if self.silent >= self.window {
            return Err(TooSlow);
        }
        if self.waited < self.window {
            return Ok(());
        }
        if self.received < self.needed {
            return Err(TooSlow);
        }
        (self.waited, self.received) = (Duration::ZERO, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Time until a sender of this many bytes a second is cut off; an hour at most.
    fn lasts(rate: &mut MinRate, bytes: usize) -> Duration {
        (1..3600)
            .map(|n| SECOND * n)
            .find(|_| rate.record(SECOND.min(rate.patience()), bytes).is_err())
            .unwrap_or(MINUTE * 60)
    }

    #[test]
    fn a_sender_below_the_floor_is_cut_after_a_window_and_one_on_it_never() {
        assert_eq!(lasts(&mut MinRate::new(1000, MINUTE), 999), MINUTE);
        assert_eq!(lasts(&mut MinRate::new(1000, MINUTE), 1000), MINUTE * 60);
        assert_eq!(lasts(&mut MinRate::new(u64::MAX, MINUTE), 1000), MINUTE);
    }

    #[test]
    fn a_window_may_have_pauses() {
        let mut rate = MinRate::new(1000, MINUTE);
        for _ in 0..100 {
            rate.record(SECOND * 59, 0).expect("a pause");
            rate.record(SECOND, 60_000).expect("it has caught up");
        }
    }

    #[test]
    fn without_a_floor_silence_is_cut_and_nothing_else() {
        assert_eq!(lasts(&mut MinRate::new(0, MINUTE), 1), MINUTE * 60);
        let mut rate = MinRate::new(0, MINUTE);
        rate.record(SECOND * 30, 1).expect("a byte");
        assert_eq!(rate.patience(), SECOND * 30);
        rate.record(SECOND * 30, 0).expect("half a minute of silence, a window over");
        assert_eq!(rate.patience(), SECOND * 30);
        assert_eq!(rate.record(SECOND * 30, 0), Err(TooSlow));
    }

    #[test]
    fn time_in_which_the_receiver_is_busy_does_not_count() {
        let mut rate = MinRate::new(1000, MINUTE);
        for _ in 0..1000 {
            rate.record(Duration::ZERO, 1).expect("it was there when asked for");
        }
        assert_eq!(rate.patience(), MINUTE);
    }
}
