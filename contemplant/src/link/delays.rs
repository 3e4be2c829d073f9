//! Random pauses between attempts to connect.
//!
//! When Hierophant restarts, all workers of a fleet lose it at the same moment. Each pause is random, the first one
//! too, so that they do not all reconnect at the same moment.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use network_lib::ids::random_bytes;

/// Lower bound of the first pause, unless the longest is shorter.
const MIN_FIRST_DELAY: Duration = Duration::from_millis(500);

/// An endless series of pauses that grow to at most `longest`. Without a seed, backon's jitter would be the same in
/// every process.
pub(super) fn delays(longest: Duration) -> impl Iterator<Item = Duration> + use<> {
    // Jitter may double a pause, so the base is at most half of the longest.
    let half = longest / 2;
    ExponentialBuilder::new()
        .with_min_delay(MIN_FIRST_DELAY.min(half))
        .with_max_delay(half)
        .with_jitter()
        .with_jitter_seed(u64::from_le_bytes(random_bytes()))
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        let steps = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000];
        for _ in 0..1_000 {
            let drawn: Vec<Duration> = delays(LONGEST).take(steps.len()).collect();
            for (drawn, step) in drawn.into_iter().zip(steps.map(Duration::from_millis)) {
                assert!(
                    step <= drawn && drawn <= 2 * step,
                    "{drawn:?} is not within {step:?} and twice"
                );
                assert!(drawn <= LONGEST, "{drawn:?}");
            }
        }
        assert!(delays(Duration::from_millis(200)).take(20).all(|drawn| drawn.as_millis() <= 200));
        assert_eq!(delays(LONGEST).take(10_000).count(), 10_000, "it never gives up");
    }

    #[test]
    fn a_fleet_spreads_over_the_whole_first_pause() {
        let mut slots = [0; 10];
        for _ in 0..1_000 {
            let first = delays(LONGEST).next().expect("pauses never end");
            let place = (first - MIN_FIRST_DELAY).as_secs_f64() / MIN_FIRST_DELAY.as_secs_f64();
            slots[((place * 10.0) as usize).min(9)] += 1;
        }
        // A thousand Contemplants: about a hundred in each twentieth of a second.
        assert!(slots.iter().all(|count| (40..200).contains(count)), "{slots:?}");
    }
}
