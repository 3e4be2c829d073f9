//! What is known of the network, and where the user looks.

use std::collections::BTreeMap;

use hierophant_model::records::{JobState, Millis};
use termion::event::Key;

use hierophant_admin_model::{Changes, Job, Overview, Running, Worker};

/// Ended jobs that are remembered, and likewise failed ones.
pub(super) const REMEMBERED: usize = 100;

/// Lines that a page key moves.
const PAGE: usize = 10;

/// What is heard of the network.
#[derive(Debug)]
pub(super) enum Update {
    /// Everything anew.
    Everything(Box<Whole>),
    /// What has changed.
    Changes {
        /// As it was told.
        changes: Box<Changes>,
        /// The waiting jobs, if they may have changed.
        line: Option<Vec<Job>>,
    },
    /// The connection is lost, for this reason.
    Lost(String),
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Whole {
    /// The network at a glance.
    pub(super) overview: Overview,
    /// The Contemplants.
    pub(super) workers: Vec<Worker>,
    /// Waiting jobs, the next one first.
    pub(super) line: Vec<Job>,
    /// Jobs that have ended.
    pub(super) ended: Vec<Job>,
    /// Those among them that have failed.
    pub(super) failed: Vec<Job>,
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing is known yet.
    Connecting,
    /// What is shown is true.
    Live,
    /// What is shown was true then.
    Lost {
        /// Since when.
        since: Millis,
        /// Why.
        reason: String,
    },
}

/// A list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Running,
    Waiting,
    Ended,
    Failed,
}

impl Pane {
    /// All, in their order on the screen.
    pub(super) const ALL: [Self; 4] = [Self::Running, Self::Waiting, Self::Ended, Self::Failed];
}

/// What is known, and where the user looks.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Millis,
    pub(super) link: Link,
    pub(super) overview: Option<Overview>,
    /// When the overview was heard.
    pub(super) at: Millis,
    pub(super) workers: BTreeMap<String, Worker>,
    pub(super) line: Vec<Job>,
    pub(super) ended: Vec<Job>,
    pub(super) failed: Vec<Job>,
    pub(super) pane: Pane,
    /// Lines that are scrolled past, in the order of [`Pane::ALL`].
    pub(super) scrolled: [usize; 4],
}

impl Model {
    /// Nothing is known yet.
    pub(super) const fn new(now: Millis) -> Self {
        Self {
            now,
            link: Link::Connecting,
            overview: None,
            at: now,
            workers: BTreeMap::new(),
            line: Vec::new(),
            ended: Vec::new(),
            failed: Vec::new(),
            pane: Pane::Running,
            scrolled: [0; 4],
        }
    }

    /// Takes in what was heard.
    pub(super) fn apply(&mut self, now: Millis, update: Update) {
        self.now = now;
        match update {
            Update::Everything(whole) => {
                let Whole { overview, workers, line, ended, failed } = *whole;
                self.link = Link::Live;
                (self.overview, self.at) = (Some(overview), now);
                self.workers = workers.into_iter().map(|it| (it.id.clone(), it)).collect();
                (self.line, self.ended, self.failed) = (line, ended, failed);
                sort(&mut self.ended);
                sort(&mut self.failed);
            }
            Update::Changes { changes, line } => {
                let Changes { overview, jobs, workers, workers_gone, .. } = *changes;
                (self.overview, self.at) = (Some(overview), now);
                self.workers.extend(workers.into_iter().map(|it| (it.id.clone(), it)));
                for id in &workers_gone {
                    self.workers.remove(id);
                }
                let failed = |job: &&Job| {
                    job.state == JobState::Failed || job.state == JobState::Unexecutable
                };
                let failures: Vec<Job> = jobs.iter().filter(failed).cloned().collect();
                merge(&mut self.failed, &jobs, failures);
                let ends = jobs.iter().filter(|job| job.finished_at.is_some()).cloned().collect();
                merge(&mut self.ended, &jobs, ends);
                if let Some(line) = line {
                    self.line = line;
                }
            }
            Update::Lost(reason) => {
                let since = match self.link {
                    Link::Lost { since, .. } => since,
                    Link::Connecting | Link::Live => now,
                };
                self.link = Link::Lost { since, reason };
            }
        }
    }

    /// A key that does not end the program was pressed.
    pub(super) fn press(&mut self, key: Key) {
        let place = self.pane as usize;
        let last = self.len(self.pane).saturating_sub(1);
        let scrolled = self.scrolled[place].min(last);
        let panes = Pane::ALL.len();
        match key {
            Key::Char('\t') | Key::Right => self.pane = Pane::ALL[(place + 1) % panes],
            Key::BackTab | Key::Left => self.pane = Pane::ALL[(place + panes - 1) % panes],
            Key::Down | Key::Char('j') => self.scrolled[place] = (scrolled + 1).min(last),
            Key::Up | Key::Char('k') => self.scrolled[place] = scrolled.saturating_sub(1),
            Key::PageDown => self.scrolled[place] = (scrolled + PAGE).min(last),
            Key::PageUp => self.scrolled[place] = scrolled.saturating_sub(PAGE),
            Key::Home => self.scrolled[place] = 0,
            Key::End => self.scrolled[place] = last,
            _ => {}
        }
    }

    /// Proofs in the making with the names of who makes them, the oldest first.
    pub(super) fn running(&self) -> Vec<(&str, &Running)> {
        let mut running: Vec<(&str, &Running)> = Vec::new();
        for worker in self.workers.values() {
            running.extend(worker.running.iter().map(|proof| (worker.name.as_str(), proof)));
        }
        running.sort_by_key(|(name, proof)| (proof.started_at, *name));
        running
    }

    /// How many entries a list has.
    pub(super) fn len(&self, pane: Pane) -> usize {
        match pane {
            Pane::Running => self.workers.values().map(|worker| worker.running.len()).sum(),
            Pane::Waiting => self.line.len(),
            Pane::Ended => self.ended.len(),
            Pane::Failed => self.failed.len(),
        }
    }
}

/// Takes jobs that have changed out of a list and those that belong there in.
fn merge(list: &mut Vec<Job>, changed: &[Job], belong: Vec<Job>) {
    list.retain(|job| changed.iter().all(|other| other.id != job.id));
    list.extend(belong);
    sort(list);
}

/// The latest end first.
fn sort(list: &mut Vec<Job>) {
    list.sort_by_key(|job| std::cmp::Reverse((job.finished_at, job.created_at)));
    list.truncate(REMEMBERED);
}
