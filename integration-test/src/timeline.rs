//! What happened when: the table at the end of a run.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// A step on the way to a proof, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The programs run and the coordinator is ready.
    NetworkReady,
    /// The client has derived the program's keys and run it once.
    ClientReady,
    /// A Contemplant offers the wanted kind of proof.
    ProverReady,
    /// The network holds the program.
    Registered,
    /// The network holds the input.
    Uploaded,
    /// The client holds the id of its request.
    Requested,
    /// A Contemplant holds the job.
    Assigned,
    /// The prover is at work.
    Proving,
    /// The client holds the proof.
    Proved,
    /// The client believes the proof.
    Verified,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 10] = [
        Self::NetworkReady,
        Self::ClientReady,
        Self::ProverReady,
        Self::Registered,
        Self::Uploaded,
        Self::Requested,
        Self::Assigned,
        Self::Proving,
        Self::Proved,
        Self::Verified,
    ];

    /// Name in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NetworkReady => "network ready",
            Self::ClientReady => "client ready",
            Self::ProverReady => "prover ready",
            Self::Registered => "registered",
            Self::Uploaded => "uploaded",
            Self::Requested => "requested",
            Self::Assigned => "assigned",
            Self::Proving => "proving",
            Self::Proved => "proved",
            Self::Verified => "verified",
        }
    }
}

/// The moments at which steps were reached; each is noted once, the first time.
#[derive(Debug, Clone)]
pub struct Timeline {
    started: Instant,
    started_at: SystemTime,
    reached: Vec<(Step, Duration)>,
}

impl Default for Timeline {
    #[allow(
        clippy::disallowed_methods,
        reason = "other programs' wall clocks are compared with it"
    )]
    fn default() -> Self {
        Self { started: Instant::now(), started_at: SystemTime::now(), reached: Vec::new() }
    }
}

impl Timeline {
    /// A timeline that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self::default()
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes that `step` was reached now.
    pub fn mark(&mut self, step: Step) {
        self.note(step, self.elapsed());
    }

    /// Notes that `step` was reached at `moment`.
    pub fn mark_at(&mut self, step: Step, moment: Instant) {
        self.note(step, moment.saturating_duration_since(self.started));
    }

    /// Notes that `step` was reached at a moment of another program's clock, in Unix seconds.
    pub fn mark_unix(&mut self, step: Step, unix_seconds: f64) {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(unix_seconds.max(0.0));
        self.note(step, moment.duration_since(self.started_at).unwrap_or_default());
    }

    /// When `step` was reached, counted from the start.
    #[must_use]
    pub fn reached(&self, step: Step) -> Option<Duration> {
        self.reached.iter().find(|(s, _)| *s == step).map(|(_, at)| *at)
    }

    fn note(&mut self, step: Step, at: Duration) {
        if self.reached(step).is_none() {
            self.reached.push((step, at));
        }
    }
}

/// One line for each step: seconds since the start, and since the step before.
impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}{:>12}{:>12}", "timeline", "at", "took")?;
        let mut before = Duration::ZERO;
        for step in Step::ALL {
            match self.reached(step) {
                Some(at) => {
                    let took = at.saturating_sub(before);
                    before = before.max(at);
                    let (at, took) = (at.as_secs_f64(), took.as_secs_f64());
                    write!(f, "\n  {:<14}{at:>10.2} s{took:>10.2} s", step.as_str())?;
                }
                None => write!(f, "\n  {:<14}{:>12}", step.as_str(), "not seen")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_reached_once_and_steps_nobody_saw_say_so() {
        let mut timeline = Timeline::start();
        timeline.mark_at(Step::Requested, timeline.started + Duration::from_secs(2));
        timeline.mark_at(Step::Requested, timeline.started + Duration::from_secs(9));
        timeline.mark_at(Step::Proved, timeline.started + Duration::from_secs(5));
        let table = timeline.to_string();
        assert!(table.contains("\n  requested           2.00 s      2.00 s"), "{table}");
        assert!(table.contains("\n  proved              5.00 s      3.00 s"), "{table}");
        assert!(table.contains("\n  assigned          not seen"), "{table}");
    }
}
