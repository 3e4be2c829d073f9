//! Running steps, each within its own limit and all within that of the trial, whatever becomes of the others.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::time::timeout;

use super::figures::{Figure, Figures, Outcome, Step};

/// Less time than this is not worth a try.
const LEAST: Duration = Duration::from_secs(1);

/// The steps of a trial. Their figures are in a file after each of them.
pub(super) struct Steps {
    began: Instant,
    limit: Duration,
    file: PathBuf,
    pub(super) figures: Figures,
}

/// What a step reports while it runs.
#[derive(Debug, Default)]
pub(super) struct Report {
    figures: Vec<Figure>,
    note: String,
}

impl Report {
    /// Adds a figure.
    pub(super) fn figure(&mut self, what: impl Into<String>, value: f64, unit: &str) {
        let what = what.into();
        println!("    {what:<52} {value:>9.2} {unit}");
        self.figures.push(Figure { what, value, unit: unit.to_owned() });
    }

    /// Sets the note beside the outcome.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }
}

impl Steps {
    /// None was run yet. `limit` is for all of them.
    pub(super) fn new(limit: Duration, file: PathBuf, figures: Figures) -> Self {
        Self { began: Instant::now(), limit, file, figures }
    }

    /// Runs a step. Its value is none if it failed or no time was left.
    ///
    /// # Errors
    ///
    /// When the file cannot be written: a trial without figures would be for nothing.
    pub(super) async fn run<T>(
        &mut self,
        name: &str,
        limit: Duration,
        step: impl AsyncFnOnce(&mut Report) -> Result<T>,
    ) -> Result<Option<T>> {
        let left = self.limit.saturating_sub(self.began.elapsed());
        if left < LEAST {
            self.add(name, Outcome::LeftOut, 0.0, "no time was left".to_owned(), Vec::new())?;
            return Ok(None);
        }
        let limit = limit.min(left);
        let (start, mut report) = (Instant::now(), Report::default());
        let outcome = timeout(limit, step(&mut report)).await;
        let outcome = outcome
            .unwrap_or_else(|_| Err(anyhow!("not over within {:.0} s", limit.as_secs_f64())));
        let seconds = start.elapsed().as_secs_f64();
        let Report { figures, note } = report;
        match outcome {
            Ok(value) => {
                self.add(name, Outcome::Held, seconds, note, figures)?;
                Ok(Some(value))
            }
            Err(error) => {
                self.add(name, Outcome::Failed, seconds, format!("{error:#}"), figures)?;
                Ok(None)
            }
        }
    }

    /// Notes that a step was not tried because another one failed.
    ///
    /// # Errors
    ///
    /// Those of [`Self::run`].
    pub(super) fn leave_out(&mut self, name: &str, needs: &str) -> Result<()> {
        self.add(name, Outcome::LeftOut, 0.0, format!("needs {needs}"), Vec::new())
    }

    fn add(
        &mut self,
        name: &str,
        outcome: Outcome,
        seconds: f64,
        note: String,
        figures: Vec<Figure>,
    ) -> Result<()> {
        println!("{name:<24} {:<10} {seconds:>6.1} s", outcome.as_str());
        note.lines().for_each(|line| println!("    {line}"));
        self.figures.steps.push(Step { name: name.to_owned(), outcome, note, seconds, figures });
        self.figures.seconds = self.began.elapsed().as_secs_f64();
        self.figures.write(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn steps(limit: Duration, folder: &tempfile::TempDir) -> Steps {
        Steps::new(limit, folder.path().join("figures.json"), Figures::default())
    }

    async fn endless(_: &mut Report) -> Result<()> {
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_failed_step_stops_no_other_and_keeps_its_figures() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut steps = steps(LONG, &folder);
        let failed = steps.run("first", LONG, async |report: &mut Report| {
            report.figure("half way", 1.0, "s");
            Err::<(), _>(anyhow!("reason"))
        });
        assert_eq!(failed.await.expect("written"), None);
        steps.leave_out("second", "first").expect("written");
        let value = steps.run("third", LONG, async |_: &mut Report| Ok(7)).await;
        assert_eq!(value.expect("written"), Some(7));

        let read = Figures::read(&folder.path().join("figures.json")).expect("figures");
        let seen: Vec<_> =
            read.steps.iter().map(|step| (step.outcome, step.note.as_str())).collect();
        let expected =
            [(Outcome::Failed, "reason"), (Outcome::LeftOut, "needs first"), (Outcome::Held, "")];
        assert_eq!(seen, expected);
        assert_eq!(read.steps[0].figures.len(), 1);
        assert!(!read.hold());
    }

    #[tokio::test]
    async fn a_step_ends_at_its_limit_or_that_of_the_trial() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut steps = steps(Duration::from_millis(1200), &folder);
        steps.run("its own", Duration::from_millis(50), endless).await.expect("written");
        let start = Instant::now();
        steps.run("of the trial", LONG, endless).await.expect("written");
        assert!(start.elapsed() < LONG / 2);
        steps.run("too late", LONG, async |_: &mut Report| Ok(())).await.expect("written");
        let outcomes: Vec<Outcome> = steps.figures.steps.iter().map(|step| step.outcome).collect();
        assert_eq!(outcomes, [Outcome::Failed, Outcome::Failed, Outcome::LeftOut]);
    }
}
