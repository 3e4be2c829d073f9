//! Log of a failed run, written by the peers, not by Hierophant.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Shared by all hosts of a run. Holds no random ids, so that the same seed tells the same story.
#[derive(Clone, Default)]
pub struct Story(Arc<Mutex<Vec<String>>>);

impl Story {
    /// Adds a line, from within a host.
    pub fn tell(&self, line: impl AsRef<str>) {
        self.tell_at(turmoil::sim_elapsed().unwrap_or_default(), line);
    }

    /// Adds a line, from outside.
    pub fn tell_at(&self, time: Duration, line: impl AsRef<str>) {
        let line = format!("{:>9.3} {}", time.as_secs_f64(), line.as_ref());
        self.0.lock().push(line);
    }

    /// The last `lines` lines.
    pub fn last(&self, lines: usize) -> String {
        let story = self.0.lock();
        story[story.len().saturating_sub(lines)..].join("\n")
    }
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Story")
    }
}
