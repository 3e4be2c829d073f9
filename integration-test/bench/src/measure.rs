//! Latencies: a histogram of all, and one of each second for the course of things.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Longest latency that is distinguished from longer ones, in microseconds: ten minutes.
const MOST: u64 = 600_000_000;

/// Significant digits that are kept.
const DIGITS: u8 = 3;

/// How long something took, each time.
#[derive(Debug)]
pub struct Latencies {
    name: String,
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    all: Histogram<u64>,
    seconds: Vec<Histogram<u64>>,
}

/// Summary of latencies, in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// What took so long.
    pub name: String,
    /// How often.
    pub count: u64,
    /// Half of them took at most so long.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// 999 of a thousand.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The same by second of the measurement.
    pub course: Vec<Moment>,
}

/// Latencies of one second, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Moment {
    /// Which second.
    pub second: u64,
    /// How many.
    pub count: u64,
    /// Half of them took at most so long.
    pub p50: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MOST, DIGITS).expect("the bounds are sound")
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

impl Latencies {
    /// None yet; the first second begins now.
    #[must_use]
    pub fn of(name: impl Into<String>) -> Self {
        let taken = Mutex::new(Taken { all: histogram(), seconds: Vec::new() });
        Self { name: name.into(), began: Instant::now(), taken }
    }

    /// Something took so long.
    pub fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(MOST).clamp(1, MOST);
        let second = usize::try_from(self.began.elapsed().as_secs()).unwrap_or(usize::MAX);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all.saturating_record(micros);
        while taken.seconds.len() <= second {
            taken.seconds.push(histogram());
        }
        taken.seconds[second].saturating_record(micros);
    }

    /// How many were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all.len()
    }

    /// Summary of all latencies.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile: f64| millis(taken.all.value_at_quantile(quantile));
        let course = (0..).zip(&taken.seconds).filter(|(_, of)| !of.is_empty());
        Summary {
            name: self.name.clone(),
            count: taken.all.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(taken.all.max()),
            course: course
                .map(|(second, of)| Moment {
                    second,
                    count: of.len(),
                    p50: millis(of.value_at_quantile(0.5)),
                    p99: millis(of.value_at_quantile(0.99)),
                    max: millis(of.max()),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_noted() {
        let latencies = Latencies::of("steps");
        for number in 1..=1000 {
            latencies.note(Duration::from_micros(1000 * number));
        }
        let told = latencies.summary();
        assert_eq!((told.count, latencies.count()), (1000, 1000));
        for (got, wanted) in [(told.p50, 500.0), (told.p99, 990.0), (told.max, 1000.0)] {
            assert!((got - wanted).abs() <= wanted / 500.0, "{got} is not {wanted}");
        }
        assert_eq!(told.course.iter().map(|moment| moment.count).sum::<u64>(), 1000);
    }
}
