//! The known state of the network, and the state of the user interface.

use std::collections::BTreeMap;

use hierophant_model::records::{JobState, Millis};
use termion::event::Key;

use hierophant_admin_model::{Changes, Job, Overview, Running, Worker};

/// Maximum number of ended jobs in memory, and of failed ones.
pub(super) const MAX_ENDED: usize = 100;

/// Number of lines that a page key scrolls.
const PAGE: usize = 10;

/// Update of the known state.
#[derive(Debug)]
pub(super) enum Update {
    /// All data.
    Snapshot(Box<Snapshot>),
    /// Changes since the previous update.
    Changes {
        /// Data of the event.
        changes: Box<Changes>,
        /// The queue, if it may have changed.
        queue: Option<Vec<Job>>,
    },
    /// The connection is lost, for this reason.
    Lost(String),
}

/// All data that are shown.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// State of the network at a glance.
    pub(super) overview: Overview,
    /// Workers.
    pub(super) workers: Vec<Worker>,
    /// Queued jobs, next one first.
    pub(super) queue: Vec<Job>,
    /// Jobs that have ended.
    pub(super) ended: Vec<Job>,
    /// Jobs that have failed.
    pub(super) failed: Vec<Job>,
}

/// State of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// No data have arrived yet.
    Connecting,
    /// The data are current.
    Live,
    /// The data are outdated.
    Lost {
        /// Time of the loss.
        since: Millis,
        /// Reason for the loss.
        reason: String,
    },
}

/// A list on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    /// Proofs in progress.
    Running,
    /// Queued jobs.
    Waiting,
    /// Jobs that have ended.
    Ended,
    /// Jobs that have failed.
    Failed,
}

impl Pane {
    /// All lists, in their order on the screen.
    pub(super) const ALL: [Self; 4] = [Self::Running, Self::Waiting, Self::Ended, Self::Failed];
}

/// The known state of the network, and the state of the user interface.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: Millis,
    pub(super) link: Link,
    pub(super) overview: Option<Overview>,
    /// Time at which the overview arrived.
    pub(super) overview_at: Millis,
    pub(super) workers: BTreeMap<String, Worker>,
    pub(super) queue: Vec<Job>,
    pub(super) ended: Vec<Job>,
    pub(super) failed: Vec<Job>,
    /// The selected list.
    pub(super) pane: Pane,
    /// Number of lines scrolled past, in the order of [`Pane::ALL`].
    pub(super) scrolled: [usize; 4],
}

impl Model {
    /// A model without data.
    pub(super) const fn new(now: Millis) -> Self {
        Self {
            now,
            link: Link::Connecting,
            overview: None,
            overview_at: now,
            workers: BTreeMap::new(),
            queue: Vec::new(),
            ended: Vec::new(),
            failed: Vec::new(),
            pane: Pane::Running,
            scrolled: [0; 4],
        }
    }

    /// Applies an update.
    pub(super) fn apply(&mut self, now: Millis, update: Update) {
        self.now = now;
        match update {
            Update::Snapshot(snapshot) => {
                let Snapshot { overview, workers, queue, ended, failed } = *snapshot;
                self.link = Link::Live;
                (self.overview, self.overview_at) = (Some(overview), now);
                self.workers = workers.into_iter().map(|it| (it.id.clone(), it)).collect();
                (self.queue, self.ended, self.failed) = (queue, ended, failed);
                sort(&mut self.ended);
                sort(&mut self.failed);
            }
            Update::Changes { changes, queue } => {
                let Changes { overview, jobs, workers, workers_gone, .. } = *changes;
                (self.overview, self.overview_at) = (Some(overview), now);
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
                if let Some(queue) = queue {
                    self.queue = queue;
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

    /// Applies a key that selects or scrolls a list.
    pub(super) fn press(&mut self, key: Key) {
        let index = self.pane as usize;
        let last = self.len(self.pane).saturating_sub(1);
        let scrolled = self.scrolled[index].min(last);
        let panes = Pane::ALL.len();
        match key {
            Key::Char('\t') | Key::Right => self.pane = Pane::ALL[(index + 1) % panes],
            Key::BackTab | Key::Left => self.pane = Pane::ALL[(index + panes - 1) % panes],
            Key::Down | Key::Char('j') => self.scrolled[index] = (scrolled + 1).min(last),
            Key::Up | Key::Char('k') => self.scrolled[index] = scrolled.saturating_sub(1),
            Key::PageDown => self.scrolled[index] = (scrolled + PAGE).min(last),
            Key::PageUp => self.scrolled[index] = scrolled.saturating_sub(PAGE),
            Key::Home => self.scrolled[index] = 0,
            Key::End => self.scrolled[index] = last,
            _ => {}
        }
    }

    /// Proofs in progress with the names of their workers, oldest first. One that several workers make has no name.
    pub(super) fn running(&self) -> Vec<(&str, &Running)> {
        let mut running: Vec<(&str, &Running)> = Vec::new();
        for worker in self.workers.values() {
            running.extend(worker.running.iter().map(|proof| (worker.name.as_str(), proof)));
        }
        let divided = self.overview.iter().flat_map(|overview| &overview.divided);
        running.extend(divided.map(|proof| ("", proof)));
        running.sort_by_key(|(name, proof)| (proof.started_at, *name));
        running
    }

    /// Number of entries of a list.
    pub(super) fn len(&self, pane: Pane) -> usize {
        match pane {
            Pane::Running => self.running().len(),
            Pane::Waiting => self.queue.len(),
            Pane::Ended => self.ended.len(),
            Pane::Failed => self.failed.len(),
        }
    }
}

/// Removes changed jobs from a list, and adds those that belong to it.
fn merge(list: &mut Vec<Job>, changed: &[Job], added: Vec<Job>) {
    list.retain(|job| changed.iter().all(|other| other.id != job.id));
    list.extend(added);
    sort(list);
}

/// Sorts ended jobs, latest first, and drops the oldest beyond the maximum.
fn sort(list: &mut Vec<Job>) {
    list.sort_by_key(|job| std::cmp::Reverse((job.finished_at, job.created_at)));
    list.truncate(MAX_ENDED);
}
