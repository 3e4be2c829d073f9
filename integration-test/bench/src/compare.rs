//! Two runs beside each other: what has become better, and what worse.

use std::fmt;

use crate::report::{Report, short};

/// A difference smaller than this is taken for chance: timings scatter from run to run.
pub const CHANCE: f64 = 0.15;

/// What has become of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is better by more than chance.
    Better,
    /// It is much the same.
    Same,
    /// It is worse by more than chance.
    Worse,
}

/// A figure in two runs.
#[derive(Debug, Clone)]
pub struct Change {
    /// Scenario and figure.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What it was.
    pub before: f64,
    /// What it is.
    pub after: f64,
    /// What that means.
    pub verdict: Verdict,
}

/// The figures that are in both runs.
#[must_use]
pub fn compare(before: &Report, after: &Report) -> Vec<Change> {
    let figures = |report: &Report| {
        let scenarios = report.scenarios.clone().into_iter();
        let all = scenarios.flat_map(|scenario| {
            let name = scenario.name;
            let figures = scenario.figures.into_iter();
            figures.map(move |figure| (format!("{name}: {}", figure.name), figure))
        });
        all.collect::<Vec<_>>()
    };
    let new = figures(after);
    let pairs = figures(before).into_iter().filter_map(|(name, old)| {
        let (_, figure) = new.iter().find(|(other, _)| *other == name)?;
        let verdict = judge(old.value, figure.value, figure.more_is_better);
        let (before, after, unit) = (old.value, figure.value, old.unit);
        Some(Change { name, unit, before, after, verdict })
    });
    pairs.collect()
}

fn judge(before: f64, after: f64, more_is_better: bool) -> Verdict {
    let (good, bad) = if more_is_better { (after, before) } else { (before, after) };
    if good > bad * (1.0 + CHANCE) {
        Verdict::Better
    } else if bad > good * (1.0 + CHANCE) {
        Verdict::Worse
    } else {
        Verdict::Same
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Better => "better",
            Verdict::Same => "",
            Verdict::Worse => "WORSE",
        };
        let (before, after) = (short(self.before), short(self.after));
        write!(f, "{:<78} {before:>9} → {after:>9} {:<12} {mark}", self.name, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_is_less_of_a_gain_and_more_of_a_cost() {
        assert_eq!(judge(100.0, 80.0, true), Verdict::Worse);
        assert_eq!(judge(100.0, 80.0, false), Verdict::Better);
        assert_eq!(judge(100.0, 90.0, true), Verdict::Same);
        assert_eq!(judge(0.0, 0.0, false), Verdict::Same);
    }
}
