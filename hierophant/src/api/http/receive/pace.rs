//! How slow a sender may be.

use std::time::Duration;

/// Measures a sender by the time that is spent waiting for it: what it has sent while we were busy counts, the
/// time that we were busy does not.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Bytes that each window must bring.
    needed: u64,
    window: Duration,
    /// Waited in this window.
    waited: Duration,
    /// Waited since the last byte.
    silent: Duration,
    /// Bytes of this window.
    received: u64,
}

/// The sender is slower than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow;

impl Pace {
    /// A sender that must send so many bytes a second on average over each window, and never be silent for all
    /// of such a time.
    pub(super) fn new(bytes_per_second: u64, window: Duration) -> Self {
        let needed = u128::from(bytes_per_second) * window.as_millis() / 1000;
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        Self { needed, window, waited: Duration::ZERO, silent: Duration::ZERO, received: 0 }
    }

    /// How long to wait for more before [`Self::waited`] is to be told.
    pub(super) fn patience(&self) -> Duration {
        self.window - self.waited.max(self.silent)
    }

    /// So long was waited, and so much came.
    pub(super) fn waited(&mut self, time: Duration, bytes: usize) -> Result<(), TooSlow> {
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

    /// For how long a sender is heard that sends so much each second; an hour at most.
    fn lasts(pace: &mut Pace, bytes: usize) -> Duration {
        (1..3600)
            .map(|n| SECOND * n)
            .find(|_| pace.waited(SECOND.min(pace.patience()), bytes).is_err())
            .unwrap_or(MINUTE * 60)
    }

    #[test]
    fn a_sender_below_the_floor_is_cut_after_a_window_and_one_on_it_never() {
        assert_eq!(lasts(&mut Pace::new(1000, MINUTE), 999), MINUTE);
        assert_eq!(lasts(&mut Pace::new(1000, MINUTE), 1000), MINUTE * 60);
        assert_eq!(lasts(&mut Pace::new(u64::MAX, MINUTE), 1000), MINUTE);
    }

    #[test]
    fn a_window_may_have_pauses() {
        let mut pace = Pace::new(1000, MINUTE);
        for _ in 0..100 {
            pace.waited(SECOND * 59, 0).expect("a pause");
            pace.waited(SECOND, 60_000).expect("it has caught up");
        }
    }

    #[test]
    fn without_a_floor_silence_is_cut_and_nothing_else() {
        assert_eq!(lasts(&mut Pace::new(0, MINUTE), 1), MINUTE * 60);
        let mut pace = Pace::new(0, MINUTE);
        pace.waited(SECOND * 30, 1).expect("a byte");
        assert_eq!(pace.patience(), SECOND * 30);
        pace.waited(SECOND * 30, 0).expect("half a minute of silence, a window over");
        assert_eq!(pace.patience(), SECOND * 30);
        assert_eq!(pace.waited(SECOND * 30, 0), Err(TooSlow));
    }

    #[test]
    fn time_in_which_nobody_waits_for_the_sender_does_not_count() {
        let mut pace = Pace::new(1000, MINUTE);
        for _ in 0..1000 {
            pace.waited(Duration::ZERO, 1).expect("it was there when asked for");
        }
        assert_eq!(pace.patience(), MINUTE);
    }
}
