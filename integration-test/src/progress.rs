//! The line that shows what is going on now: it moves on a terminal, and is a plain line now and then
//! anywhere else.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Pause between two plain lines about the same stage.
const PLAIN_PAUSE: Duration = Duration::from_secs(15);

/// Shows stages of a run on standard error.
#[derive(Debug)]
pub struct Progress {
    line: Line,
    stage: String,
    started: Instant,
}

#[derive(Debug)]
enum Line {
    Moving(ProgressBar),
    Plain { written: Instant },
}

impl Progress {
    /// A line that moves if standard error is a terminal.
    #[must_use]
    pub fn start() -> Self {
        let started = Instant::now();
        let line = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(120));
            Line::Moving(bar)
        } else {
            Line::Plain { written: started }
        };
        Self { line, stage: String::new(), started }
    }

    /// Shows `stage` with `detail`. Only the detail may change from call to call within a stage;
    /// plain lines follow the stages.
    pub fn show(&mut self, stage: &str, detail: &str) {
        let separator = if detail.is_empty() { "" } else { ", " };
        let text = format!("{stage}{separator}{detail}");
        let is_new = self.stage != stage;
        stage.clone_into(&mut self.stage);
        match &mut self.line {
            Line::Moving(bar) => bar.set_message(text),
            Line::Plain { written } => {
                if is_new || written.elapsed() >= PLAIN_PAUSE {
                    *written = Instant::now();
                    eprintln!("[{:>4} s] {text}", self.started.elapsed().as_secs());
                }
            }
        }
    }

    /// The stage shown last.
    #[must_use]
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// Writes a line that stays.
    pub fn note(&self, text: &str) {
        match &self.line {
            Line::Moving(bar) => bar.suspend(|| eprintln!("{text}")),
            Line::Plain { .. } => {
                eprintln!("[{:>4} s] {text}", self.started.elapsed().as_secs());
            }
        }
    }

    /// Takes the moving line away.
    pub fn finish(&self) {
        if let Line::Moving(bar) = &self.line {
            bar.finish_and_clear();
        }
    }
}
