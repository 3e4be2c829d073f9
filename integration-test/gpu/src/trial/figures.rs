//! The figures of a trial: what is written as JSON, and its tables for the documentation.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Where the tables begin in the documentation.
const BEGIN: &str = "<!-- figures of a real GPU -->";

/// Where they end.
const END: &str = "<!-- end of figures -->";

/// Everything that a trial has found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// The day, such as `2026-01-31`.
    pub(crate) date: String,
    /// What proved.
    pub(crate) server: String,
    /// Whether that was the stand-in, whose figures say nothing about GPUs.
    pub(crate) stand_in: bool,
    /// The GPU, as the driver reports it; none without a driver.
    pub(crate) gpu: Option<Gpu>,
    /// Model of the processor.
    pub(crate) processor: String,
    /// Number of its threads.
    pub(crate) threads: usize,
    /// Main memory in bytes.
    pub(crate) memory_bytes: u64,
    /// Seconds of the whole trial.
    pub(crate) seconds: f64,
    /// Limit for them.
    pub(crate) limit_seconds: u64,
    /// The steps in their order.
    pub(crate) steps: Vec<Step>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gpu {
    /// Model.
    pub(crate) model: String,
    /// Version of the driver.
    pub(crate) driver: String,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// Compute capability, such as `9.0`.
    pub(crate) compute_capability: String,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Its name.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Why it failed or was left out, else what it reports.
    pub(crate) note: String,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// What it measured.
    pub(crate) figures: Vec<Figure>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It held.
    Held,
    /// It fell short.
    Failed,
    /// It was not tried: no time was left, or what it needs had failed.
    LeftOut,
}

impl Outcome {
    /// The word in tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "FELL SHORT",
            Self::LeftOut => "left out",
        }
    }
}

/// A measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// The value.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: String,
}

impl Figures {
    /// Whether every step held.
    pub(crate) fn hold(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.outcome == Outcome::Held)
    }

    /// Reads the JSON file of a trial.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is not one.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} has no figures of a trial", file.display()))
    }

    /// Writes them as JSON. A reader sees the earlier file or this one.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let new = file.with_extension("new");
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The tables, in Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut text = format!("On {}, with {}, ", self.date, self.server);
        match &self.gpu {
            Some(Gpu { model, driver, memory_mib, compute_capability }) => {
                let _ = write!(
                    text,
                    "on one {model} ({memory_mib} MiB, compute capability {compute_capability}, driver {driver})"
                );
            }
            None => text.push_str("without a GPU"),
        }
        let memory = self.memory_bytes >> 30;
        let _ = write!(
            text,
            ", {}, {} threads, {memory} GiB of main memory. The trial took {:.0} s of {} s.\n\n",
            self.processor, self.threads, self.seconds, self.limit_seconds
        );
        text.push_str("| Step | Outcome | Time | Note |\n|---|---|---|---|\n");
        for Step { name, outcome, note, seconds, .. } in &self.steps {
            let note = cell(note);
            let _ = writeln!(text, "| `{name}` | {} | {seconds:.1} s | {note} |", outcome.as_str());
        }
        text.push_str("\n| Figure | Value |\n|---|---|\n");
        for Figure { what, value, unit } in self.steps.iter().flat_map(|step| &step.figures) {
            let value = format!("{value:.2} {unit}");
            let _ = writeln!(text, "| {what} | {} |", value.trim_end());
        }
        text
    }

    /// Puts the tables into a page of the documentation, between its two markers.
    ///
    /// # Errors
    ///
    /// When they are not of a real GPU, the page lacks its markers, or it cannot be written.
    pub(crate) fn publish(&self, page: &Path) -> Result<()> {
        ensure!(
            !self.stand_in && self.gpu.is_some(),
            "these are not figures of a real GPU: expected those of a trial with SP1's server on a machine with one"
        );
        let text = std::fs::read_to_string(page);
        let text = text.with_context(|| format!("cannot read {}", page.display()))?;
        let text = between_markers(&text, &self.tables())
            .with_context(|| format!("{} lacks the lines {BEGIN} and {END}", page.display()))?;
        std::fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
    }
}

/// The page with this between its markers.
fn between_markers(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim_end()))
}

/// A text in a cell of a table: its first line, which ends no cell.
fn cell(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let gpu = Gpu {
            model: "NVIDIA H200".to_owned(),
            driver: "580.1".to_owned(),
            memory_mib: 143_771,
            compute_capability: "9.0".to_owned(),
        };
        let figure =
            Figure { what: "Core proof, direct".to_owned(), value: 1.234, unit: "s".to_owned() };
        let held = Step {
            name: "core-direct".to_owned(),
            outcome: Outcome::Held,
            note: String::new(),
            seconds: 2.0,
            figures: vec![figure],
        };
        Figures { gpu: Some(gpu), steps: vec![held], ..Figures::default() }
    }

    #[test]
    fn a_page_keeps_all_but_what_is_between_its_markers() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("gpu.md");
        std::fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).expect("written");
        figures().publish(&page).expect("published");
        let text = std::fs::read_to_string(&page).expect("read");
        assert!(text.starts_with(&format!("before\n{BEGIN}\n\nOn ")), "{text}");
        assert!(text.ends_with(&format!("\n\n{END}\nafter\n")), "{text}");
        assert!(text.contains("| Core proof, direct | 1.23 s |"), "{text}");
        assert!(!text.contains("old"), "{text}");
        figures().publish(&page).expect("published again");
        assert_eq!(std::fs::read_to_string(&page).expect("read"), text);
    }

    #[test]
    fn only_figures_of_a_gpu_are_published() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("gpu.md");
        let text = format!("{BEGIN}\nnone yet\n{END}\n");
        std::fs::write(&page, &text).expect("written");
        let of_stand_in = Figures { stand_in: true, ..figures() };
        let without_gpu = Figures { gpu: None, ..figures() };
        for wrong in [of_stand_in, without_gpu] {
            let error = wrong.publish(&page).expect_err("must be refused");
            assert!(error.to_string().starts_with("these are not figures of a real GPU"));
            assert_eq!(std::fs::read_to_string(&page).expect("read"), text);
        }
        std::fs::write(&page, "no markers").expect("written");
        assert!(figures().publish(&page).is_err());
    }

    #[test]
    fn the_page_of_this_repository_has_the_markers() {
        let page = include_str!("../../../../docs/gpu.md");
        assert!(between_markers(page, "").is_some());
    }

    #[test]
    fn a_trial_holds_only_if_every_step_does() {
        assert!(figures().hold());
        assert!(!Figures::default().hold(), "a trial without steps has shown nothing");
        for outcome in [Outcome::Failed, Outcome::LeftOut] {
            let mut wrong = figures();
            wrong.steps[0].outcome = outcome;
            assert!(!wrong.hold());
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("figures.json");
        figures().write(&file).expect("written");
        let read = Figures::read(&file).expect("read");
        assert_eq!((read.gpu, read.steps), (figures().gpu, figures().steps));
    }

    #[test]
    fn a_note_stays_in_its_cell() {
        assert_eq!(cell("a | b\nmore"), "a \\| b");
    }
}
