//! What came out: a table for people, JSON for programs.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::case::Case;

/// Outcome of one case.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// The fault's name.
    pub(crate) fault: &'static str,
    /// Its group.
    pub(crate) group: &'static str,
    /// What the clients saw.
    pub(crate) clients_saw: String,
    /// Requests that were made.
    pub(crate) requests: usize,
    /// Requests that did not end as they must, or whose proof was bad.
    pub(crate) lost: usize,
    /// From the fault to the last of its consequences.
    pub(crate) seconds_to_recover: Option<f64>,
    /// How long the case took.
    pub(crate) seconds: f64,
    /// What fell short, if anything did.
    pub(crate) fell_short: Option<String>,
}

/// Outcomes in the order of the cases.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// One for each case and round.
    pub(crate) outcomes: Vec<Outcome>,
}

impl Report {
    /// Whether nothing fell short.
    pub(crate) fn all_held(&self) -> bool {
        self.outcomes.iter().all(Outcome::held)
    }

    /// For programs.
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl Outcome {
    /// Of a case that could not begin.
    pub(crate) fn not_begun(case: &Case, why: String) -> Self {
        Self {
            fault: case.name,
            group: case.group,
            clients_saw: "nothing".into(),
            requests: 0,
            lost: 0,
            seconds_to_recover: None,
            seconds: 0.0,
            fell_short: Some(why),
        }
    }

    /// Whether nothing fell short.
    pub(crate) const fn held(&self) -> bool {
        self.fell_short.is_none()
    }

    /// The outcome in one word.
    pub(crate) const fn verdict(&self) -> &'static str {
        if self.held() { "held" } else { "FELL SHORT" }
    }
}

/// Seconds with one decimal.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// Longest text in a column of the table; the JSON has everything.
const WIDEST: usize = 76;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WIDEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |length: fn(&Outcome) -> usize, least: usize| {
            self.outcomes.iter().map(length).max().unwrap_or(0).max(least)
        };
        let name = widest(|outcome| outcome.fault.len(), 5);
        let saw = widest(|outcome| shortened(&outcome.clients_saw).chars().count(), 12);
        writeln!(f, "{:name$}  {:saw$}  lost  recovered  verdict", "fault", "clients saw")?;
        for outcome in &self.outcomes {
            let recovered = outcome
                .seconds_to_recover
                .map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"));
            writeln!(
                f,
                "{:name$}  {:saw$}  {:>4}  {recovered:>9}  {}",
                outcome.fault,
                shortened(&outcome.clients_saw),
                outcome.lost,
                outcome.verdict()
            )?;
        }
        let held = self.outcomes.iter().filter(|outcome| outcome.held()).count();
        let lost: usize = self.outcomes.iter().map(|outcome| outcome.lost).sum();
        let requests: usize = self.outcomes.iter().map(|outcome| outcome.requests).sum();
        write!(f, "\n{held} of {} held; {lost} of {requests} requests lost", self.outcomes.len())?;
        for outcome in &self.outcomes {
            if let Some(why) = &outcome.fell_short {
                write!(f, "\n  {}: {}", outcome.fault, why.replace('\n', "\n    "))?;
            }
        }
        Ok(())
    }
}
