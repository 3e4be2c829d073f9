//! What was measured: as records for JSON, and as tables for people.

use std::fmt;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::measure::Summary;
use crate::observe::{Sample, Usage};

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Commit of the sources, as far as it is known.
    pub commit: String,
    /// When it was begun, RFC 3339.
    pub begun: String,
    /// What it ran on.
    pub machine: Machine,
    /// How thorough it was.
    pub scale: String,
    /// Where Hierophant kept its records.
    pub store: String,
    /// What was measured, in the order of the run.
    pub scenarios: Vec<Scenario>,
}

/// A machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Model of its processor.
    pub processor: String,
    /// Processors that it has.
    pub cores: usize,
    /// Bytes of its memory.
    pub memory: u64,
    /// Kernel.
    pub system: String,
}

/// What one scenario found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Seconds that it took, with everything around.
    pub seconds: f64,
    /// Load of the machine before and after, over a minute each: what else went on.
    pub load: (f64, f64),
    /// The figures.
    pub figures: Vec<Figure>,
    /// How long things took.
    pub latencies: Vec<Summary>,
    /// What Hierophant used, by part of the scenario.
    pub usage: Vec<(String, Usage)>,
    /// Hierophant over time, by part of the scenario.
    pub samples: Vec<(String, Vec<Sample>)>,
    /// Why its figures do not count, if so.
    pub fault: Option<String>,
}

/// A number that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// What it says.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// What it should be.
    pub target: Option<Target>,
    /// Whether a larger number is better.
    pub more_is_better: bool,
}

/// A bound that a figure should hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// At least this value.
    AtLeast(f64),
    /// At most this value.
    AtMost(f64),
}

impl Target {
    /// Whether a value holds it.
    #[must_use]
    pub fn held_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {}", short(*bound)),
            Self::AtMost(bound) => write!(f, "≤ {}", short(*bound)),
        }
    }
}

impl Figure {
    /// A number of which less is better.
    #[must_use]
    pub fn cost(name: impl Into<String>, value: f64, unit: &str) -> Self {
        let (name, unit) = (name.into(), unit.to_owned());
        Self { name, value, unit, target: None, more_is_better: false }
    }

    /// A number of which more is better.
    #[must_use]
    pub fn gain(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self { more_is_better: true, ..Self::cost(name, value, unit) }
    }

    /// The same figure with a target: an upper bound of a cost, a lower bound of a gain.
    #[must_use]
    pub fn within(self, bound: f64) -> Self {
        let target =
            if self.more_is_better { Target::AtLeast(bound) } else { Target::AtMost(bound) };
        Self { target: Some(target), ..self }
    }

    /// Whether it holds its bound, if it has one.
    #[must_use]
    pub fn held(&self) -> Option<bool> {
        self.target.map(|target| target.held_by(self.value))
    }
}

impl Scenario {
    /// Takes note of a figure.
    pub fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Whether all of its figures count and hold their bounds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.fault.is_none() && self.figures.iter().all(|figure| figure.held() != Some(false))
    }
}

impl Report {
    /// Whether every scenario counted right.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.scenarios.iter().all(|scenario| scenario.fault.is_none())
    }

    /// Whether every bound is held, too.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.scenarios.iter().all(Scenario::holds)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.load;
        writeln!(
            f,
            "{}: {:.0} s, load {before:.1} before, {after:.1} after",
            self.name, self.seconds
        )?;
        if let Some(fault) = &self.fault {
            return writeln!(f, "  FAILED: {fault}");
        }
        let mut table = table(&["figure", "value", "unit", "wanted", ""]);
        for figure in &self.figures {
            let wanted = figure.target.map(|target| target.to_string()).unwrap_or_default();
            let held = figure.held().map_or("", |held| if held { "held" } else { "MISSED" });
            let value = short(figure.value);
            table.add_row([&figure.name, &value, &figure.unit, &wanted, held]);
        }
        right(&mut table, &[1, 3]);
        writeln!(f, "{table}")?;
        if !self.latencies.is_empty() {
            let mut table =
                self::table(&["latency, ms", "count", "p50", "p90", "p99", "p99.9", "max"]);
            for of in &self.latencies {
                let numbers = [of.p50, of.p90, of.p99, of.p999, of.max].map(short);
                let head = [of.name.clone(), of.count.to_string()];
                table.add_row(head.into_iter().chain(numbers));
            }
            right(&mut table, &[1, 2, 3, 4, 5, 6]);
            writeln!(f, "{table}")?;
        }
        let mut table = self::table(&[
            "Hierophant",
            "CPU s",
            "RSS MiB",
            "peak MiB",
            "disk MiB",
            "loopback MiB",
        ]);
        for (part, usage) in &self.usage {
            let bytes = [usage.rss, usage.peak_rss, usage.disk_written, usage.loopback];
            let bytes = bytes.map(|bytes| short(mebibytes(bytes)));
            table.add_row([part.clone(), short(usage.cpu_seconds)].into_iter().chain(bytes));
        }
        right(&mut table, &[1, 2, 3, 4, 5]);
        writeln!(f, "{table}")
    }
}

/// Bytes in MiB.
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A number with as many digits as matter.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(heads.iter().copied());
    table
}

fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_held_or_missed_by_the_kind_of_figure() {
        assert_eq!(Figure::cost("p50", 2.0, "ms").within(2.0).held(), Some(true));
        assert_eq!(Figure::cost("p50", 2.1, "ms").within(2.0).held(), Some(false));
        assert_eq!(Figure::gain("rate", 499.0, "/s").within(500.0).held(), Some(false));
        assert_eq!(Figure::gain("rate", 499.0, "/s").held(), None);
    }

    #[test]
    fn a_fault_makes_a_run_unsound_whatever_its_figures_say() {
        let good = Scenario { name: "good".into(), ..Scenario::default() };
        let bad = Scenario { fault: Some("one was lost".into()), ..good.clone() };
        assert!(good.holds() && !bad.holds());
        assert!(bad.to_string().contains("FAILED: one was lost"));
    }
}
