//! One summary of the scheduler for several callers: it copies what is known of every worker.

use std::sync::Arc;
use std::time::Duration;

use hierophant_scheduler::proofs::Overview;
use tokio::time::Instant;

/// Age up to which a summary is given out again, as a multiple of the time that it took: all callers together take at
/// most a twentieth of the scheduler's time.
const AGE_FACTOR: u32 = 20;

/// Maximum age of a summary.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The latest summary.
#[derive(Debug, Default)]
pub(super) struct SharedOverview(Option<(Arc<Overview>, Instant)>);

impl SharedOverview {
    /// The latest summary, or another one if it is too old.
    pub(super) fn get(&mut self, make: impl FnOnce() -> Overview) -> Arc<Overview> {
        let now = Instant::now();
        if let Some((overview, until)) = &self.0
            && now < *until
        {
            return Arc::clone(overview);
        }
        // Time of the processor, which a simulation's clock does not show.
        let started = std::time::Instant::now();
        let overview = Arc::new(make());
        let age = (started.elapsed() * AGE_FACTOR).min(MAX_AGE);
        self.0 = Some((Arc::clone(&overview), now + age));
        overview
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dear_summary_is_shared_for_at_most_a_second_and_a_cheap_one_for_moments() {
        let mut shared = SharedOverview::default();
        let dear = || {
            std::thread::sleep(Duration::from_millis(60));
            Overview { waiting: 1, ..Overview::default() }
        };
        let first = shared.get(dear);
        tokio::time::advance(Duration::from_millis(900)).await;
        let second = shared.get(|| unreachable!("the first is not too old"));
        assert!(Arc::ptr_eq(&first, &second));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(shared.get(Overview::default).waiting, 0);
        tokio::time::advance(Duration::from_millis(100)).await;
        let cheap = || Overview { waiting: 2, ..Overview::default() };
        assert_eq!(shared.get(cheap).waiting, 2);
    }
}
