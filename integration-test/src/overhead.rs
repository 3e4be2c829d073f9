//! Options and report of the program `overhead`, which compares proofs through the network with direct ones.
//!
//! The measurement itself is in `src/bin/overhead.rs`: that program alone instantiates SP1's prover.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Parser;
use serde::Serialize;

/// How many times the direct time a proof through the network may take.
const WANTED: f64 = 1.02;

/// Makes the same real Core proofs with sp1-sdk directly and through a network on this machine, and compares
/// their times. Takes some three minutes for each round and six to warm up, on two cores.
#[derive(Debug, Clone, Parser)]
#[command(name = "overhead", version)]
pub struct Options {
    /// Pairs of proofs.
    #[arg(long, default_value = "3")]
    pub rounds: NonZeroU32,

    /// Input of the Fibonacci program in the first round; each further one takes the next number.
    #[arg(long, default_value_t = 1000)]
    pub n: u32,

    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// End with an error if the target is missed, too.
    #[arg(long)]
    pub strict: bool,
}

/// One pair of proofs of the same input, in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// By the SDK's prover in this process: from the call to the proof.
    pub direct: f64,
    /// Through the network: from the SDK's call, upload included, until it has downloaded the proof. It looks
    /// every two seconds whether there is one.
    pub network: f64,
    /// Of that, the Contemplant's work by Hierophant's clock: fetching, proving, handing in.
    pub contemplant: f64,
}

/// All pairs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The pairs in their order.
    pub rounds: Vec<Round>,
}

impl Report {
    /// The median of network by direct.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.network / round.direct))
    }

    /// Whether that is as good as wanted.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.ratio() <= WANTED
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "round   direct     network    of it the Contemplant   ratio")?;
        for (number, round) in self.rounds.iter().enumerate() {
            let Round { direct, network, contemplant } = round;
            let ratio = network / direct;
            writeln!(
                f,
                "{:<5} {direct:>7.2} s  {network:>8.2} s  {contemplant:>18.2} s   {ratio:.3}",
                number + 1
            )?;
        }
        let outside = median(self.rounds.iter().map(|round| round.network - round.contemplant));
        writeln!(f, "outside the Contemplant, median: {outside:.2} s")?;
        let (ratio, verdict) = (self.ratio(), if self.holds() { "held" } else { "MISSED" });
        write!(
            f,
            "network against direct, median: {ratio:.3} times (wanted: at most {WANTED}): {verdict}"
        )
    }
}

/// Median of at least one number.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len() % 2) {
        (Some(upper), 0) => f64::midpoint(sorted[sorted.len() / 2 - 1], *upper),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_round_decides_nothing() {
        let round = |direct, network| Round { direct, network, contemplant: network - 1.0 };
        let mut report = Report { rounds: vec![round(100.0, 101.0)] };
        assert!(report.holds(), "{report}");
        report.rounds.extend([round(100.0, 150.0), round(100.0, 101.9)]);
        assert!((report.ratio() - 1.019).abs() < 1e-9, "{report}");
        report.rounds.push(round(100.0, 102.9));
        assert!(!report.holds(), "{report}");
        assert!(report.to_string().contains("MISSED"), "{report}");
    }
}
